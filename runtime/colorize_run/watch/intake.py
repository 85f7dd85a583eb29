"""Seeing files and taking them up: the input folder, what settles in it, and the claim that begins the work on a file."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Container

from colorize_run.system import durable
from colorize_run.system.mounts import has_writer, leases_count
from colorize_run.watch.inbox import Source, SourceLostError, generation
from colorize_run.watch.jobs import Job
from colorize_run.watch.ledger import Row, Work
from colorize_run.watch.lifecycle import Lifecycle
from colorize_run.watch.outbox import Origin
from colorize_run.watch.pending import Item
from colorize_run.watch.storage import BlockedError, Storage

_MAX_INTERRUPTED = 20
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR, errno.EOPNOTSUPP)


class Intake:
    """From the input folder to jobs. ``in_flight``: items in workers' hands, by name."""

    def __init__(self, source: Source, storage: Storage, lifecycle: Lifecycle) -> None:
        self.settings, self.telemetry = storage.settings, storage.telemetry
        self.source, self.storage, self.lifecycle = source, storage, lifecycle
        self.pending, self.settled = lifecycle.pending, lifecycle.settled
        self.in_flight: dict[bytes, Item] = {}
        self.source_lost = ""
        self.waiting = self.unaccounted = self._room = self._scans = 0
        self._leases = leases_count(self.settings.inbox)

    # -- seeing -------------------------------------------------------------------------------------------------

    def scan(self) -> None:
        """Look at the input folder: new files, new generations, files that are gone; then count whether none is missed."""
        self.settled.begin_scan()
        self._scans += 1
        seen = self.waiting = 0
        active = sum(item.state not in ("incomplete", "retry") for item in self.pending.items.values())
        self._room = self.settings.max_pending - active
        try:
            for name, status in self.source.scan():
                seen += self._notice(name, generation(status))
        except BlockedError:
            return
        except SourceLostError as error:
            if not self.source_lost:
                self.telemetry.event("source_lost", err_class="input", err=str(error))
            self.source_lost = str(error) or "gone"
            return
        known = sum(item.scan == self._scans for item in self.pending.items.values()) + self.settled.met_count
        strays = self.pending.strays(self.in_flight.values())
        for item in strays:
            self.lifecycle.again(item)
        self.unaccounted = seen - known - self.waiting + len(strays)
        if self.source.whole:
            self._infer_gone()
        self._dispose_leftovers()

    def look_for_source(self) -> bool:
        """Whether a lost input folder is back."""
        if not self.source.reopen():
            return False
        self._leases = leases_count(self.settings.inbox)
        self.telemetry.event("source_back", why=self.source_lost)
        self.source_lost = ""
        return True

    def _notice(self, name: bytes, gen: str) -> bool:
        """What one name in the folder means. False for one that this scan met before: folders that change may tell twice."""
        item = self.pending.items.get(name)
        if item is not None:
            first, item.scan = item.scan != self._scans, self._scans
            if item.gen != gen and item.state != "claimed":
                self.lifecycle.renew(item, gen)
            return first
        if (met := self.settled.meet(name, gen)) is not None:
            return met
        if self._room <= 0:
            self.waiting += 1  # the folder keeps it for us
        else:
            self._room -= 1
            self._admit(name, gen)
        return True

    def _admit(self, name: bytes, gen: str) -> None:
        """A name that is not on its way: new, changed since it was done, or known from an earlier run."""
        with self.storage.state() as ledger:
            row = ledger.get(name)
        now = time.monotonic()
        item = Item(name, gen, now, now, time.time(), scan=self._scans)
        if row and row.gen == gen:
            if row.state in ("done", "quarantined"):
                self.settled.add(name, gen)
                return
            item.strikes, item.interrupted, item.first_seen = row.strikes, row.interrupted, row.first_seen
        self.pending.wait(item, "settling", now + self.settings.settle)
        self.telemetry.event("seen", name, gen=gen, state="settling")

    def _infer_gone(self) -> None:
        """Of files on their way, and of those that are done, which the scan did not meet."""
        for item in [item for item in self.pending.items.values() if item.scan != self._scans and item.state != "claimed"]:
            self.lifecycle.vanished(item)
        if self.waiting or len(self.settled) == self.settled.met_count:
            return
        with contextlib.suppress(BlockedError), self.storage.state() as ledger:
            ledger.gone(
                [
                    name
                    for name, gen, _ in ledger.settled()
                    if name not in self.pending.items and not self.settled.has_met(name, gen)
                ]
            )
            self.settled.keep_met()

    def _dispose_leftovers(self) -> None:
        """Inputs that are done but still there: a kill came between, or they could not be moved."""
        disposer = self.lifecycle.disposer
        if not self.settled.met_count or not disposer.is_due():
            return
        with contextlib.suppress(BlockedError), self.storage.state() as ledger:
            present = [found for found in ledger.settled() if self.settled.has_met(*found[:2])]
        for name, gen, state in present:
            if disposer.is_due():
                (disposer.failed if state == "quarantined" else disposer.done)(name, gen)

    # -- claiming -----------------------------------------------------------------------------------------------

    def next_jobs(self, room: int, model_sha: str) -> list[Job]:
        """Up to ``room`` files that are there whole, claimed in the ledger by one commit."""
        taken: list[tuple[Item, Job]] = []
        while len(taken) < room and not self.storage.blocks and not self.source_lost:
            now = time.monotonic()
            if any(item.suspect for item in (*self.in_flight.values(), *(item for item, _ in taken))):
                break
            item = self.pending.pick(now, busy=bool(self.in_flight or taken))
            if item is None:
                break
            if job := self._open(item, now):
                taken.append((item, job))
        return self._claimed(taken, model_sha) if taken else []

    def _open(self, item: Item, now: float) -> Job | None:
        """An item's file, opened, if it is there whole; if not, the item goes where it belongs."""
        try:
            fd = durable.open_beneath(self.source.fd, item.name)
        except OSError as error:
            self._unopened(item, error)
            return None
        arrived = False
        try:
            arrived = self._arrived(item, fd, now)
        except OSError as error:
            self.lifecycle.retry(item, error)
        except Exception as error:
            self.lifecycle.bug(item, error)
        finally:
            if not arrived:
                os.close(fd)
        return Job(item.name, fd) if arrived else None

    def _unopened(self, item: Item, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self.lifecycle.vanished(item)
        elif error.errno in _NOT_A_FILE:
            self.pending.drop(item)
        elif error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.lifecycle.again(item, after=1.0)
            self.storage.block("space", error.strerror or "")
        else:
            self.lifecycle.retry(item, error)

    def _arrived(self, item: Item, fd: int, now: float) -> bool:
        """Whether the file is quiet, whole in size, and has no writer; if not, it goes where it belongs."""
        status = os.fstat(fd)
        gen = generation(status)
        if not stat.S_ISREG(status.st_mode):
            self.pending.drop(item)
        elif gen != item.gen:
            self.lifecycle.renew(item, gen)
        elif status.st_size == 0:
            self.lifecycle.incomplete(item, "empty", "is empty (0 bytes).", {})
        elif (writer := self._writer(fd)) or (writer is None and now - item.since < self.settings.remote_settle):
            due = now + self.settings.settle if writer else item.since + self.settings.remote_settle
            self.pending.wait(item, "settling", due, "has a writer" if writer else "may have a writer elsewhere")
        elif status.st_size > (limit := self.settings.max_bytes):
            err = f"has {status.st_size} bytes; --max-bytes raises the limit of {limit}."
            self.lifecycle.quarantine(item, "too_big", err, {})
        elif item.interrupted >= _MAX_INTERRUPTED:
            err = f"was being worked on {item.interrupted} times when the watch was ended."
            self.lifecycle.quarantine(item, "interrupted", err, {})
        else:
            return True
        return False

    def _writer(self, fd: int) -> bool | None:
        writer = has_writer(fd)
        return None if writer is False and not self._leases else writer

    def _claimed(self, taken: list[tuple[Item, Job]], model_sha: str) -> list[Job]:
        """Step 1: the claims, durable. Content that is known with its output in place need only be hashed."""
        try:
            with self.storage.state() as ledger:
                for item, job in taken:
                    job.before = self._before(item.name, ledger.get(item.name), model_sha)
                ledger.claim([(item.name, item.gen, item.strikes, item.interrupted, item.first_seen) for item, _ in taken])
        except BaseException as error:
            for item, job in taken:
                job.close()
                self.lifecycle.again(item)
            if isinstance(error, BlockedError):
                return []
            raise
        for item, _ in taken:
            item.state = "claimed"
            self.in_flight[item.name] = item
            self.telemetry.observe("settle", time.monotonic() - item.since)
            attempt = item.strikes + item.interrupted + 1
            self.telemetry.event("claimed", item.name, gen=item.gen, state="claimed", attempt=attempt)
        return [job for _, job in taken]

    def _before(self, name: bytes, row: Row | None, model_sha: str) -> Work | None:
        """An output that is in place as this model made it with these options: only its input is to be compared yet.

        The ledger knows of it, or, where the ledger was lost, it says itself what it is made of.
        """
        out, opts_sha = self.settings.output_name(name), self.settings.options_key
        try:
            if row and row.state == "done" and row.sha and (row.model_sha, row.opts_sha) == (model_sha, opts_sha):
                known = Work(out, row.sha, row.out_sha or "", model_sha, opts_sha)
                return known if self.storage.outbox.digest(out) == known.out_sha else None
            origin = self.storage.outbox.origin(out)
            work = Work(out, origin.sha, self.storage.outbox.digest(out) or "", model_sha, opts_sha) if origin else None
        except OSError:
            return None
        return work if work and Origin.of(work) == origin else None

    def reclaim(self, held: Container[bytes]) -> None:
        """Items that are said to be in workers' hands, but in none of those ``held``: their turn comes again."""
        for name in [name for name in self.in_flight if name not in held]:
            self.lifecycle.again(self.in_flight.pop(name))

    def give_back(self, job: Job) -> None:
        """A job that nobody worked on: its turn comes again, as if nothing had been."""
        item = self.in_flight.pop(job.name)
        job.close()
        self.lifecycle.again(item)
