"""Finds files in the input folder, waits until they are complete, and claims them for workers."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Container

from colorize_run.system import durable
from colorize_run.system.mounts import has_writer, leases_count
from colorize_run.watch.generation import generation
from colorize_run.watch.inbox import Source, SourceLostError
from colorize_run.watch.jobs import Job
from colorize_run.watch.ledger import Row, Work
from colorize_run.watch.lifecycle import Lifecycle
from colorize_run.watch.outbox import Origin
from colorize_run.watch.pending import Item
from colorize_run.watch.storage import BlockedError, Storage

_MAX_INTERRUPTED = 20
_NOT_A_FILE = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR, errno.EOPNOTSUPP)


class Intake:
    """From the input folder to jobs.

    ``in_flight``: items that workers have, by name. ``unqueued``: files that the last scan left for later, because too many
    are pending. ``unaccounted``: files that the last scan met and that no queue holds; must be 0. ``source_lost``: why the
    input folder cannot be used, empty if it can.
    """

    def __init__(self, source: Source, storage: Storage, lifecycle: Lifecycle) -> None:
        self.settings, self.telemetry = storage.settings, storage.telemetry
        self.source, self.storage, self.lifecycle = source, storage, lifecycle
        self.pending, self.settled = lifecycle.pending, lifecycle.settled
        self.in_flight: dict[bytes, Item] = {}
        self.source_lost = ""
        self.unqueued = self.unaccounted = self._room = self._scans = 0
        self._leases = leases_count(self.settings.inbox)

    def scan(self) -> None:
        """Read the input folder: new files, new generations, missing files; then check that no file was overlooked."""
        self.settled.begin_scan()
        self._scans += 1
        count = self.unqueued = 0
        active = sum(item.state not in ("incomplete", "retry") for item in self.pending.items.values())
        self._room = self.settings.max_pending - active
        try:
            for name, status in self.source.scan():
                count += self._notice(name, generation(status))
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
            self.lifecycle.requeue(item)
        self.unaccounted = count - known - self.unqueued + len(strays)
        if self.source.whole:
            self._infer_gone()
        self._dispose_leftovers()

    def find_source(self) -> bool:
        """Whether a lost input folder is back."""
        if not self.source.reopen():
            return False
        self._leases = leases_count(self.settings.inbox)
        self.telemetry.event("source_back", why=self.source_lost)
        self.source_lost = ""
        return True

    def _notice(self, name: bytes, gen: str) -> bool:
        """Handle one name of a scan; False if this scan met it before: a folder that changes may list a name twice."""
        item = self.pending.items.get(name)
        if item is not None:
            is_first, item.scan = item.scan != self._scans, self._scans
            if item.gen != gen and item.state != "claimed":
                self.lifecycle.changed(item, gen)
            return is_first
        if (is_first_meeting := self.settled.meet(name, gen)) is not None:
            return is_first_meeting
        if self._room <= 0:
            self.unqueued += 1  # a later scan finds it again
        else:
            self._room -= 1
            self._admit(name, gen)
        return True

    def _admit(self, name: bytes, gen: str) -> None:
        """Add a file that is not pending: it is new, has changed since it was done, or is known from an earlier run."""
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
        """Handle pending and settled files that the scan did not meet: they are gone."""
        for item in [item for item in self.pending.items.values() if item.scan != self._scans and item.state != "claimed"]:
            self.lifecycle.vanished(item)
        if self.unqueued or len(self.settled) == self.settled.met_count:
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
        """Move or delete finished inputs that are still there, after a kill or a failed attempt."""
        disposer = self.lifecycle.disposer
        if not self.settled.met_count or not disposer.is_due():
            return
        with contextlib.suppress(BlockedError), self.storage.state() as ledger:
            present = [entry for entry in ledger.settled() if self.settled.has_met(*entry[:2])]
        for name, gen, state in present:
            if disposer.is_due():
                (disposer.failed if state == "quarantined" else disposer.done)(name, gen)

    def next_jobs(self, room: int, model_sha: str) -> list[Job]:
        """Up to ``room`` complete files, claimed in the ledger by one commit."""
        ready: list[tuple[Item, Job]] = []
        while len(ready) < room and not self.storage.blocks and not self.source_lost:
            now = time.monotonic()
            if any(item.suspect for item in (*self.in_flight.values(), *(item for item, _ in ready))):
                break
            item = self.pending.pick(now, busy=bool(self.in_flight or ready))
            if item is None:
                break
            if job := self._open(item, now):
                ready.append((item, job))
        return self._claim(ready, model_sha) if ready else []

    def _open(self, item: Item, now: float) -> Job | None:
        """A job with the open file if it is complete; otherwise the item moves on to where it belongs."""
        try:
            fd = durable.open_beneath(self.source.fd, item.name)
        except OSError as error:
            self._handle_open_error(item, error)
            return None
        is_complete, hints = False, None
        try:
            if self._is_complete(item, fd, now):
                hints = self.source.hints(item.name) if self.settings.task == "colorize" else None
                is_complete = True
        except OSError as error:
            self.lifecycle.retry(item, error)
        except Exception as error:
            self.lifecycle.bug(item, error)
        finally:
            if not is_complete:
                os.close(fd)
        return Job(item.name, fd, hints) if is_complete else None

    def _handle_open_error(self, item: Item, error: OSError) -> None:
        if error.errno == errno.ENOENT:
            self.lifecycle.vanished(item)
        elif error.errno in _NOT_A_FILE:
            self.pending.drop(item)
        elif error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            self.lifecycle.requeue(item, after=1.0)
            self.storage.block("space", error.strerror or "")
        else:
            self.lifecycle.retry(item, error)

    def _is_complete(self, item: Item, fd: int, now: float) -> bool:
        """Whether the file is unchanged, not empty, not being written and within the limits.

        Otherwise the item waits, is quarantined, or is dropped. Errors: OSError, BlockedError.
        """
        status = os.fstat(fd)
        gen, size, limit = generation(status), status.st_size, self.settings.max_bytes
        if not stat.S_ISREG(status.st_mode):
            self.pending.drop(item)
            return False
        if gen != item.gen:
            self.lifecycle.changed(item, gen)
            return False
        if size == 0:
            self.lifecycle.incomplete(item, "empty", "is empty (0 bytes).", {})
            return False
        if self._waits_for_writer(item, fd, now):
            return False
        if size > limit:
            err = f"has {size} bytes; --max-bytes raises the limit of {limit}."
            self.lifecycle.quarantine(item, "too_big", err, {})
            return False
        if item.interrupted >= _MAX_INTERRUPTED:
            err = f"was being processed {item.interrupted} times when the watch was killed."
            self.lifecycle.quarantine(item, "interrupted", err, {})
            return False
        return True

    def _waits_for_writer(self, item: Item, fd: int, now: float) -> bool:
        """Whether the item must wait, because a program writes to the file, or may do so on another machine."""
        writer = has_writer(fd)
        if writer:
            self.pending.wait(item, "settling", now + self.settings.settle)
            return True
        is_unknown = writer is None or not self._leases
        quiet_until = item.since + self.settings.remote_settle
        if is_unknown and now < quiet_until:
            self.pending.wait(item, "settling", quiet_until)
            return True
        return False

    def _claim(self, ready: list[tuple[Item, Job]], model_sha: str) -> list[Job]:
        """Step 1: record the claims durably. A file whose output may already be in place need only be hashed."""
        try:
            with self.storage.state() as ledger:
                for item, job in ready:
                    row = ledger.get(item.name)
                    job.existing = self._existing_output(item.name, row, model_sha)
                    job.earlier = (row.sha or "") if row and row.state == "done" else ""
                ledger.claim([(item.name, item.gen, item.strikes, item.interrupted, item.first_seen) for item, _ in ready])
        except BaseException as error:
            for item, job in ready:
                job.close()
                self.lifecycle.requeue(item)
            if isinstance(error, BlockedError):
                return []
            raise
        for item, _ in ready:
            item.state = "claimed"
            self.in_flight[item.name] = item
            self.telemetry.observe("settle", time.monotonic() - item.since)
            attempt = item.strikes + item.interrupted + 1
            self.telemetry.event("claimed", item.name, gen=item.gen, state="claimed", attempt=attempt)
        return [job for _, job in ready]

    def _existing_output(self, name: bytes, row: Row | None, model_sha: str) -> Work | None:
        """The record of an output in place that this model made with these options; the input is still to be compared.

        The record comes from the ledger or, if the ledger was lost, from the output's own attribute.
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
        """Requeue items that count as in flight, although no worker holds them; ``held``: names that workers hold."""
        for name in [name for name in self.in_flight if name not in held]:
            self.lifecycle.requeue(self.in_flight.pop(name))

    def give_back(self, job: Job) -> None:
        """Requeue a job that no worker has begun; this does not count as an attempt."""
        item = self.in_flight.pop(job.name)
        job.close()
        self.lifecycle.requeue(item)
