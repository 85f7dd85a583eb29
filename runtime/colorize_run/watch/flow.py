"""A file's way through the watch: noticed, settled, claimed, worked on, written, done; or waiting, or quarantined.

The order of writing is what makes kills and power cuts harmless: (1) claim, (2) work, (3) write and fsync a temporary,
(4) its digest into the ledger, (5) rename, (6) fsync the folder, (7) done, (8) only then dispose of the input.
"""

import contextlib
import errno
import json
import os
import random
import sqlite3
import stat
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colorize_run.errors import ColorizeRunError, OutputError
from colorize_run.watch import arrival, dispose, durable, outbox
from colorize_run.watch.ledger import Ledger, Row, Work
from colorize_run.watch.outbox import Outbox
from colorize_run.watch.pending import Item, Pending
from colorize_run.watch.pool import Answer, Job
from colorize_run.watch.scan import Source, SourceLostError
from colorize_run.watch.settings import Settings, shortened
from colorize_run.watch.telemetry import Telemetry, shown

_MAX_STRIKES = 2
_MAX_INTERRUPTED = 20
_MANY = 100  # files that cannot be read, from which on they are tried less often
_PROBE_EVERY = 2.0  # seconds at most between two looks whether a fault has healed
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR, errno.EOPNOTSUPP)


class BlockedError(Exception):
    """The ledger cannot be written: all work is held up, and what was being done is done again later."""


@dataclass
class Block:
    """A fault that holds up all work: since when, its reason, when it is looked at again, and the bytes that did not fit."""

    since: float
    why: str
    due: float
    delay: float = 0.25
    need: int = 0


class Flow:
    """Folders, ledger, and the files between them. Errors: those of a start that must not go on."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.settings, self.telemetry = settings, telemetry
        self.source = Source(settings.inbox, recursive=settings.recursive, max_depth=settings.max_depth)
        if settings.inputs != "keep":
            outbox.lock(self.source.fd, f"the input folder {settings.inbox}")
        self.outbox = Outbox(settings.outbox, settings.max_depth)
        self._state_fd = self._locked_state()
        self.ledger = self._open_ledger()
        self.pending = Pending()
        self.flying: dict[bytes, Item] = {}
        self.settled: dict[bytes, int] = {}  # name -> hash of the generation that is done or quarantined
        self.blocks: dict[str, Block] = {}
        self.source_lost = ""
        self.waiting = self.unaccounted = self.quarantined_now = self._room = 0
        self.last_done: float | None = None
        self._leases = arrival.leases_count(settings.inbox)
        self._leftovers_due = 0.0
        self.recover()

    # -- start -------------------------------------------------------------------------------------------------

    def _locked_state(self) -> int:
        fd = durable.open_folder(str(self.settings.state))
        try:
            outbox.lock(fd, f"the state folder {self.settings.state}")
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_ledger(self) -> Ledger:
        ledger = Ledger(self.settings.state)
        inside = self.settings.state if self.settings.state.is_relative_to(self.settings.outbox) else self.settings.outbox
        if ledger.is_new and not self.settings.adopt and not self.outbox.is_empty(besides=inside):
            ledger.close()
            for tail in ("", "-wal", "-shm"):
                Path(f"{ledger.path}{tail}").unlink(missing_ok=True)
            raise OutputError(
                f"{self.settings.outbox} holds files that no ledger in {self.settings.state} knows of: choose an empty"
                " folder, or let them be replaced where names are the same with --adopt."
            )
        if ledger.rebuilt:
            self.telemetry.event("ledger_rebuilt", why=f"damaged, put aside as {ledger.rebuilt}; every input is done anew")
        return ledger

    def reload(self) -> None:
        """Read anew from the ledger what is settled: a person may have made it forget some. Errors: sqlite3.Error."""
        self.settled = {name: hash(gen) for name, gen in self.ledger.settled()}

    def recover(self) -> None:
        """Take up what an earlier run left: outputs that were published but not booked, claims, inputs half disposed of."""
        for row in list(self.ledger.rows("claimed")):
            if row.name in self.flying:
                continue
            if row.out and row.out_sha and self.outbox.digest(row.out) == row.out_sha:
                self.ledger.done(row.name)
            else:
                self.ledger.strike(row.name, row.strikes, row.interrupted + 1, "interrupted", "the watch itself was ended")
        self.reload()
        if self.settings.inputs != "keep" or self.settings.failed_dir:
            dispose.recover(self.source.fd, self.settings.max_depth if self.settings.recursive else 0, self.ledger.name_of)

    def close(self) -> None:
        """Give everything back."""
        self.ledger.close()
        self.outbox.close()
        self.source.close()
        os.close(self._state_fd)

    # -- faults of the surroundings -----------------------------------------------------------------------------

    def block(self, kind: str, why: str, need: int = 0) -> None:
        """Hold up all work until a look at ``kind`` (output, space, state, model) finds it healed."""
        now = time.monotonic()
        known = self.blocks.get(kind)
        if known:
            known.why, known.need = why, max(need, known.need)
            return
        self.blocks[kind] = Block(now, why, now + 0.25, need=need)
        self.telemetry.count("blocks", kind)
        self.telemetry.event("blocked", err_class="environment", why=kind, err=why)

    def probe(self, now: float) -> None:
        """Look at the faults whose turn it is."""
        for kind, block in list(self.blocks.items()):
            if now < block.due:
                continue
            try:
                self._heal(kind, block)
            except (OSError, sqlite3.Error, ColorizeRunError) as error:
                block.why = str(getattr(error, "strerror", None) or error)
                block.delay = min(_PROBE_EVERY, block.delay * 2)
                block.due = time.monotonic() + block.delay
            else:
                del self.blocks[kind]
                self.telemetry.event("healed", why=kind, seconds=round(now - block.since, 3))

    def _heal(self, kind: str, block: Block) -> None:
        if kind == "output":
            self.outbox.heal(block.need)
        elif kind == "space":
            if not self.has_space():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif kind == "state":
            self._heal_state()
        else:
            raise OutputError(block.why)  # a model: the worker that loads it says so

    def _heal_state(self) -> None:
        self.outbox.check()
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.settings.state)
        if not os.path.samestat(os.stat(self.settings.state), os.fstat(self._state_fd)):
            before, self._state_fd = self._state_fd, self._locked_state()
            os.close(before)
        fresh = self._open_ledger()
        with contextlib.suppress(sqlite3.Error):
            self.ledger.close()
        self.ledger = fresh
        self.outbox.sweep()
        self.recover()

    def has_space(self) -> bool:
        """Whether as much is free where outputs go as shall stay free."""
        free, size = self.outbox.free()
        return free >= min(self.settings.min_free, size // 20)

    @contextlib.contextmanager
    def _state(self) -> Iterator[None]:
        """Whatever the ledger raises holds up all work, not this file."""
        try:
            if self.ledger.is_lost():
                raise sqlite3.OperationalError("the ledger's file is gone")
            yield
        except sqlite3.Error as error:
            self.block("state", str(error))
            raise BlockedError from error

    # -- seeing -------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Look at the input folder: new files, new generations, files that are gone; then count whether none is missed."""
        seen: set[bytes] = set()
        self.waiting = 0
        active = sum(item.state not in ("incomplete", "retry") for item in self.pending.items.values())
        self._room = self.settings.max_pending - active
        try:
            for name, status in self.source.scan():
                seen.add(name)
                self._notice(name, status)
        except BlockedError:
            return
        except SourceLostError as error:
            if not self.source_lost:
                self.telemetry.event("source_lost", err_class="input", err=str(error))
            self.source_lost = str(error) or "gone"
            return
        if self.source.whole:
            self._infer_gone(seen)
        known = sum(name in self.pending.items or name in self.settled for name in seen)
        strays = self.pending.strays(self.flying.values())
        for item in strays:
            self.pending.wait(item, "settling", time.monotonic())
        self.unaccounted = len(seen) - known - self.waiting + len(strays)
        self._dispose_leftovers(seen)

    def look_for_source(self) -> bool:
        """Whether a lost input folder is back."""
        if not self.source.reopen():
            return False
        self._leases = arrival.leases_count(self.settings.inbox)
        self.telemetry.event("source_back", why=self.source_lost)
        self.source_lost = ""
        return True

    def _notice(self, name: bytes, status: os.stat_result) -> None:
        gen = arrival.generation(status)
        item = self.pending.items.get(name)
        if item is not None:
            if item.gen != gen and item.state != "claimed":
                self._renew(item, gen)
            return
        if self.settled.get(name) == hash(gen):
            return
        if self._room <= 0:
            self.waiting += 1  # the folder keeps it for us
            return
        self._room -= 1
        self._admit(name, gen)

    def _admit(self, name: bytes, gen: str) -> None:
        """A name that is not on its way: new, changed since it was done, or known from an earlier run."""
        with self._state():
            row = self.ledger.get(name)
        now = time.monotonic()
        item = Item(name, gen, now, now, time.time())
        if row and row.gen == gen:
            if row.state in ("done", "quarantined"):
                self.settled[name] = hash(gen)
                return
            item.strikes, item.interrupted, item.first_seen = row.strikes, row.interrupted, row.first_seen
        self.settled.pop(name, None)
        self.pending.wait(item, "settling", now + self.settings.settle)
        self.telemetry.event("seen", name, gen=gen, state="settling")

    def _renew(self, item: Item, gen: str) -> None:
        """The file changed: whatever was known of it is void."""
        now = time.monotonic()
        item.gen, item.since = gen, now
        item.strikes = item.interrupted = item.retries = 0
        self.pending.wait(item, "settling", now + self.settings.settle)

    def _infer_gone(self, seen: set[bytes]) -> None:
        for item in [item for name, item in self.pending.items.items() if name not in seen and item.state != "claimed"]:
            self._vanished(item)
        gone = [name for name in self.settled if name not in seen]
        if gone:
            with contextlib.suppress(BlockedError), self._state():
                self.ledger.gone(gone)
                for name in gone:
                    del self.settled[name]

    def _vanished(self, item: Item) -> None:
        self.pending.drop(item)
        self.telemetry.count("files", "vanished")
        self.telemetry.event("vanished", item.name, gen=item.gen, state="vanished")

    # -- claiming -----------------------------------------------------------------------------------------------

    def next_job(self, model_sha: str) -> Job | None:
        """The next file that is there whole, claimed in the ledger; None when there is none now."""
        while not self.blocks and not self.source_lost:
            now = time.monotonic()
            if any(item.suspect for item in self.flying.values()):
                return None
            item = self.pending.pick(now, busy=bool(self.flying))
            if item is None:
                return None
            try:
                job = self._claim(item, now, model_sha)
            except BlockedError:
                self.pending.wait(item, "settling", now)
                return None
            except OSError as error:
                self._retry(item, error.errno, error.strerror or "")
                continue
            except Exception as error:
                self._bug(item, error)
                return None
            if job:
                return job
        return None

    def _claim(self, item: Item, now: float, model_sha: str) -> Job | None:
        try:
            fd = durable.open_beneath(self.source.fd, item.name)
        except OSError as error:
            self._unopened(item, error)
            return None
        job = None
        try:
            if self._arrived(item, fd, now):
                job = Job(item.name, fd)
                self._book(item, job, model_sha)
                return job
        except BaseException:
            job = None
            raise
        finally:
            if job is None:
                os.close(fd)
        return None

    def _unopened(self, item: Item, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self._vanished(item)
        elif error.errno in _NOT_A_FILE:
            self.pending.drop(item)
        elif error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.pending.wait(item, "settling", time.monotonic() + 1)
            self.block("space", error.strerror or "")
        else:
            self._retry(item, error.errno, error.strerror or "")

    def _arrived(self, item: Item, fd: int, now: float) -> bool:
        """Whether the file is quiet, whole in size, and has no writer; if not, it goes where it belongs."""
        status = os.fstat(fd)
        gen = arrival.generation(status)
        if not stat.S_ISREG(status.st_mode):
            self.pending.drop(item)
        elif gen != item.gen:
            self._renew(item, gen)
        elif status.st_size == 0:
            self._incomplete(item, "empty", "is empty (0 bytes).", {})
        elif (writer := self._writer(fd)) or (writer is None and now - item.since < self.settings.remote_settle):
            due = now + self.settings.settle if writer else item.since + self.settings.remote_settle
            self.pending.wait(item, "settling", due, "has a writer" if writer else "may have a writer elsewhere")
        elif status.st_size > self.settings.max_bytes:
            limit = self.settings.max_bytes
            self.quarantine(item, "too_big", f"has {status.st_size} bytes; --max-bytes raises the limit of {limit}.", {})
        elif item.interrupted >= _MAX_INTERRUPTED:
            self.quarantine(item, "interrupted", f"was being worked on {item.interrupted} times when the watch was ended.", {})
        else:
            return True
        return False

    def _writer(self, fd: int) -> bool | None:
        writer = arrival.has_writer(fd)
        return None if writer is False and not self._leases else writer

    def _book(self, item: Item, job: Job, model_sha: str) -> None:
        """Step 1: the claim, durable. Content that is known with its output in place need only be hashed."""
        with self._state():
            row = self.ledger.get(item.name)
            if row and row.state == "done" and (row.model_sha, row.opts_sha) == (model_sha, self.settings.options_key):
                job.before = row
            self.ledger.claim(item.name, item.gen, item.strikes, item.interrupted, item.first_seen)
        if job.before and self._output_digest(item.name) != job.before.out_sha:
            job.before = None
        item.state = "claimed"
        self.flying[item.name] = item
        self.telemetry.observe("settle", time.monotonic() - item.since)
        self.telemetry.event("claimed", item.name, gen=item.gen, state="claimed", attempt=item.strikes + item.interrupted + 1)

    def _output_digest(self, name: bytes) -> str | None:
        try:
            return self.outbox.digest(self.settings.output_name(name))
        except OSError:
            return None

    # -- what became of it --------------------------------------------------------------------------------------

    def give_back(self, job: Job) -> None:
        """A job that nobody worked on: its turn comes again, as if nothing had been."""
        item = self.flying.pop(job.name)
        os.close(job.fd)
        self.pending.wait(item, "settling", time.monotonic())

    def strike(self, job: Job, err_class: str, err: str) -> None:
        """The worker died of it, or was killed for it: once more, alone; then it is quarantined."""
        item = self.flying.pop(job.name)
        os.close(job.fd)
        with contextlib.suppress(BlockedError):
            self._strike(item, err_class, err, {})

    def answered(self, answer: Answer) -> None:
        """Act on what a worker says of its file."""
        job = answer.job
        assert job is not None
        item = self.flying.pop(job.name)
        try:
            if self._is_current(item, job):
                self._act(item, job, answer)
        except BlockedError:
            self.pending.wait(item, "settling", time.monotonic())
        except OSError as error:
            self.block("output", error.strerror or str(error), need=len(answer.body))
            self.pending.wait(item, "settling", time.monotonic())
        except Exception as error:
            self._bug(item, error)
        finally:
            os.close(job.fd)

    def _bug(self, item: Item, error: Exception) -> None:
        """Something unforeseen, perhaps about this file: it gets a second chance, alone, and takes nothing down."""
        err = f"{type(error).__name__}: {error}"
        self.telemetry.count("bugs")
        self.telemetry.event("bug", item.name, err_class="bug", err=err, trace=traceback.format_exc())
        self.pending.wait(item, "settling", time.monotonic() + 1)
        with contextlib.suppress(BlockedError):
            self._strike(item, "bug", err, {})

    def _is_current(self, item: Item, job: Job) -> bool:
        """Whether the bytes that were worked on are still the file's."""
        try:
            now = arrival.generation(durable.stat_beneath(self.source.fd, item.name))
            read = arrival.generation(os.fstat(job.fd))
        except FileNotFoundError:
            self._vanished(item)
            return False
        except OSError as error:
            self._retry(item, error.errno, error.strerror or "")
            return False
        if now == read == item.gen:
            return True
        self.telemetry.count("files", "superseded")
        self.telemetry.event("superseded", item.name, gen=now, state="settling")
        self._renew(item, now)
        return False

    def _act(self, item: Item, job: Job, answer: Answer) -> None:
        header = answer.header
        kind, err = header["kind"], str(header.get("error", ""))
        if kind == "done":
            self._publish(item, answer)
        elif kind == "same":
            self._confirm(item, job)
        elif kind == "input":
            self._retry(item, header["errno"], err)
        elif kind in ("too_big", "too_many_pixels", "too_long"):
            self.quarantine(item, kind, err, header)
        elif kind == "undecodable":
            self._incomplete(item, kind, err, header)
        elif kind == "device":
            self.pending.wait(item, "settling", time.monotonic())
        elif kind == "memory":
            self._strike(item, kind, err, header)
        else:
            self.telemetry.count("bugs")
            self.telemetry.event("bug", item.name, err_class="bug", err=err, trace=header.get("trace"))
            self._strike(item, "bug", err, header)

    def _publish(self, item: Item, answer: Answer) -> None:
        """Steps 3 to 8."""
        header, start = answer.header, time.monotonic()
        name = self.settings.output_name(item.name)
        temporary = self.outbox.stage(name, answer.body)
        work = Work(name, header["sha"], header["out_sha"], header["model_sha"], self.settings.options_key)
        try:
            with self._state():
                self.ledger.written(item.name, work)
        except BlockedError:
            self.outbox.discard(temporary, name)
            raise
        self.outbox.publish(temporary, name)
        with self._state():
            self.ledger.done(item.name)
        seconds = {stage: value for stage, value in header["seconds"].items() if stage in ("decode", "encode")}
        seconds["infer"] = header["seconds"]["all"] - sum(seconds.values())
        seconds["fsync"] = time.monotonic() - start
        for stage, value in seconds.items():
            self.telemetry.observe(stage, value)
        for note in header["notes"]:
            self.telemetry.event("note", item.name, note=note)
        self._finished(item, work, "done", answer.seconds)

    def _confirm(self, item: Item, job: Job) -> None:
        """The file was touched, or its share mounted anew, but its bytes are those whose output is in place."""
        row = job.before
        assert row is not None
        assert row.sha is not None
        assert row.out_sha is not None
        work = Work(self.settings.output_name(item.name), row.sha, row.out_sha, row.model_sha or "", row.opts_sha or "")
        with self._state():
            self.ledger.written(item.name, work)
            self.ledger.done(item.name)
        self._finished(item, work, "same", 0.0)

    def _finished(self, item: Item, work: Work, event: str, seconds: float) -> None:
        self._settle(item)
        self.last_done = time.time()
        self.telemetry.count("files", event)
        took = round(seconds * 1000, 1)
        self.telemetry.event(event, item.name, gen=item.gen, sha=work.sha, out_sha=work.out_sha, state="done", ms=took)
        remove_sidecar(self._state_fd, item.name)
        self._dispose(item.name, item.gen, self.settings.done_dir)

    def _settle(self, item: Item) -> None:
        self.pending.drop(item)
        self.settled[item.name] = hash(item.gen)

    def _retry(self, item: Item, code: int | None, err: str) -> None:
        """The file cannot be read now: again after 1, 2, 4 seconds, for ever; up to a minute where there are many."""
        item.state = "retry"
        many = sum(other.state == "retry" for other in self.pending.items.values()) > _MANY
        delay = min(60.0 if many else 4.0, 2.0 ** min(item.retries, 6)) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        item.retries += 1
        self.pending.wait(item, "retry", time.monotonic() + delay, err)
        self.telemetry.count("files", "retried")
        why = errno.errorcode.get(code or 0, str(code))
        self.telemetry.event("retry", item.name, state="retry_wait", err_class="input", why=why, err=err, attempt=item.retries)

    def _incomplete(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        """It may still be arriving: a pause of its sender looks like damage. Quarantined only after a long quiet."""
        due = item.since + self.settings.incomplete_timeout
        if time.monotonic() >= due:
            self.quarantine(item, err_class, err, header)
            return
        self.pending.wait(item, "incomplete", due, err)
        self.telemetry.event("incomplete", item.name, gen=item.gen, state="incomplete", err_class=err_class, err=err)

    def _strike(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        item.strikes += 1
        self.telemetry.count("strikes")
        self.telemetry.event("strike", item.name, state="ready", err_class=err_class, err=err, attempt=item.strikes)
        if item.strikes >= _MAX_STRIKES:
            self.quarantine(item, err_class, err, header)
            return
        self.pending.wait(item, "settling", time.monotonic())
        with self._state():
            self.ledger.strike(item.name, item.strikes, item.interrupted, err_class, err)

    def quarantine(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        """Give a generation up: a sidecar with the reason, the ledger, and --failed-dir if there is one."""
        found = {
            "name": os.fsdecode(item.name), "name_hex": item.name.hex(), "class": err_class, "reason": err,
            "sha256": header.get("sha"), "size": int(item.gen.split(":")[2]), "generation": item.gen,
            "strikes": item.strikes, "interrupted": item.interrupted, "first_seen": item.first_seen, "last_seen": time.time(),
        }  # fmt: skip
        folder, _, base = item.name.rpartition(b"/")
        try:
            with durable.folder_beneath(self._state_fd, b"quarantine/" + folder, make=True) as fd:
                durable.write(fd, shortened(base, b".json"), json.dumps(found, indent=1).encode() + b"\n")
        except OSError as error:
            self.pending.wait(item, "settling", time.monotonic())
            self.block("state", error.strerror or str(error))
            return
        row = Row(item.name, item.gen, "quarantined", item.strikes, item.interrupted, item.first_seen, header.get("sha"),
                  None, None, err_class, err, None, header.get("model_sha"), self.settings.options_key)  # fmt: skip
        try:
            with self._state():
                self.ledger.quarantine(row)
        except BlockedError:
            self.pending.wait(item, "settling", time.monotonic())
            return
        self._settle(item)
        self.quarantined_now += 1
        self.telemetry.count("files", "quarantined")
        self.telemetry.event("quarantined", item.name, gen=item.gen, state="quarantined", err_class=err_class, err=err)
        if self.settings.failed_dir:
            self._dispose(item.name, item.gen, self.settings.failed_dir, failed=True)

    # -- inputs that are done with --------------------------------------------------------------------------------

    def _dispose(self, name: bytes, gen: str, target: Path | None, *, failed: bool = False) -> None:
        """Step 8: move or delete an input, unless a newer generation has its name by now."""
        if not failed and self.settings.inputs == "keep":
            return
        try:
            dispose.dispose(self.source.fd, name, gen, None if target is None else str(target))
        except FileNotFoundError:
            return
        except OSError as error:
            self._leftovers_due = time.monotonic() + 10
            self.telemetry.event("dispose_failed", name, err=error.strerror)

    def _dispose_leftovers(self, seen: set[bytes]) -> None:
        """Inputs that are done but still there: a kill came between, or they could not be moved."""
        moves = {"done": self.settings.inputs != "keep", "quarantined": self.settings.failed_dir is not None}
        if not any(moves.values()) or time.monotonic() < self._leftovers_due:
            return
        with contextlib.suppress(BlockedError), self._state():
            for name in [name for name in seen if name in self.settled]:
                row = self.ledger.get(name)
                if row and moves.get(row.state) and time.monotonic() >= self._leftovers_due:
                    failed = row.state == "quarantined"
                    self._dispose(name, row.gen, self.settings.failed_dir if failed else self.settings.done_dir, failed=failed)

    # -- for others to see ------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """Files on their way by state."""
        found = dict.fromkeys(("settling", "incomplete", "retry", "ready", "claimed"), 0)
        for item in self.pending.items.values():
            found[item.state] += 1
        return {**found, "unqueued": self.waiting}

    def describe(self) -> dict[str, Any]:
        """The part of the health file that is about files."""
        oldest = min((item.first_seen for item in self.pending.items.values()), default=None)
        try:
            free = self.outbox.free()[0]
        except OSError:
            free = 0
        return {
            "files": self.counts(),
            "pending": len(self.pending.items) + self.waiting,
            "oldest_pending_s": 0.0 if oldest is None else max(0.0, round(time.time() - oldest, 1)),
            "settled": len(self.settled),
            "unaccounted": self.unaccounted,
            "blocked": {kind: shown(block.why.encode(errors="surrogateescape")) for kind, block in self.blocks.items()},
            "source_lost": float(bool(self.source_lost)),
            "output_free_bytes": free,
            "last_done": self.last_done,
        }


def remove_sidecar(state: int, name: bytes) -> None:
    """Remove the reason for an earlier quarantine of a file, if there is one."""
    folder, _, base = name.rpartition(b"/")
    with contextlib.suppress(OSError), durable.folder_beneath(state, b"quarantine/" + folder) as fd:
        os.unlink(shortened(base, b".json"), dir_fd=fd)
