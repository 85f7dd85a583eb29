"""What can happen to a pending file: it changed, vanished, waits, is tried again, is done, or is quarantined."""

import contextlib
import errno
import json
import os
import random
import time
import traceback
from typing import Any

from colorize_run.system import durable
from colorize_run.system.files import shortened
from colorize_run.watch.dispose import Disposer
from colorize_run.watch.generation import size_of
from colorize_run.watch.ledger import Row
from colorize_run.watch.pending import Item, Pending, Settled
from colorize_run.watch.storage import BlockedError, Storage

_FOLDER = b"quarantine/"

_MAX_STRIKES = 2  # failed attempts, after which a file is quarantined
_MANY = 100  # more unreadable files than this are tried less often


class Lifecycle:
    """Moves items between `Pending`, the ledger and `Settled`; logs each move. Errors: BlockedError where stated."""

    def __init__(self, storage: Storage, disposer: Disposer) -> None:
        self.settings, self.telemetry = storage.settings, storage.telemetry
        self.storage, self.disposer = storage, disposer
        self.pending, self.settled = Pending(), Settled()
        self.quarantined_now = 0

    def changed(self, item: Item, gen: str) -> None:
        """The file changed: start again with its new generation."""
        now = time.monotonic()
        item.gen, item.since = gen, now
        item.strikes = item.interrupted = item.retries = 0
        self.pending.wait(item, "settling", now + self.settings.settle)

    def requeue(self, item: Item, after: float = 0.0) -> None:
        """Try the item again after ``after`` seconds; this does not count as a failed attempt."""
        self.pending.wait(item, "settling", time.monotonic() + after)

    def vanished(self, item: Item) -> None:
        """The file is gone."""
        self.pending.drop(item)
        self.telemetry.count("files", "vanished")
        self.telemetry.event("vanished", item.name, gen=item.gen, state="vanished")

    def settle(self, item: Item) -> None:
        """Its generation is done or quarantined."""
        self.pending.drop(item)
        self.settled.add(item.name, item.gen)

    def retry(self, item: Item, error: OSError) -> None:
        """The file cannot be read now: try again after 1, 2, 4, 4 … seconds; with many such files after up to a minute."""
        item.state, err = "retry", error.strerror or ""
        many = sum(other.state == "retry" for other in self.pending.items.values()) > _MANY
        delay = min(60.0 if many else 4.0, 2.0 ** min(item.retries, 6)) * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load
        item.retries += 1
        self.pending.wait(item, "retry", time.monotonic() + delay)
        self.telemetry.count("files", "retried")
        why = errno.errorcode.get(error.errno or 0, str(error.errno))
        self.telemetry.event("retry", item.name, state="retry_wait", err_class="input", why=why, err=err, attempt=item.retries)

    def incomplete(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        """The file may still be arriving, as a pause of its sender looks like damage: quarantine it only after a long time."""
        due = item.since + self.settings.incomplete_timeout
        if time.monotonic() >= due:
            self.quarantine(item, err_class, err, header)
            return
        self.pending.wait(item, "incomplete", due)
        self.telemetry.event("incomplete", item.name, gen=item.gen, state="incomplete", err_class=err_class, err=err)

    def strike(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        """A worker crashed or was killed because of it: try it once more, alone, then quarantine it. Errors: BlockedError."""
        item.strikes += 1
        self.telemetry.count("strikes")
        self.telemetry.event("strike", item.name, state="ready", err_class=err_class, err=err, attempt=item.strikes)
        if item.strikes >= _MAX_STRIKES:
            self.quarantine(item, err_class, err, header)
            return
        self.requeue(item)
        with self.storage.state() as ledger:
            ledger.strike(item.name, item.strikes, item.interrupted, err_class, err)

    def bug(self, item: Item, error: Exception) -> None:
        """An unexpected error, perhaps because of this file: try it once more, alone, then quarantine it."""
        err = f"{type(error).__name__}: {error}"
        self.telemetry.count("bugs")
        self.telemetry.event("bug", item.name, err_class="bug", err=err, trace=traceback.format_exc())
        self.requeue(item, after=1.0)
        with contextlib.suppress(BlockedError):
            self.strike(item, "bug", err, {})

    def quarantine(self, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
        """Quarantine a generation: a sidecar with the reason, the ledger, and --failed-dir if there is one."""
        try:
            write_reason(self.storage.state_fd, item, err_class, err, header)
        except OSError as error:
            self.requeue(item)
            self.storage.block("state", error.strerror or str(error))
            return
        row = Row(item.name, item.gen, "quarantined", item.strikes, item.interrupted, item.first_seen, header.get("sha"),
                  None, None, err_class, err, None, header.get("model_sha"), self.settings.options_key)  # fmt: skip
        try:
            with self.storage.state() as ledger:
                ledger.quarantine(row)
        except BlockedError:
            self.requeue(item)
            return
        self.settle(item)
        self.quarantined_now += 1
        self.telemetry.count("files", "quarantined")
        self.telemetry.event("quarantined", item.name, gen=item.gen, state="quarantined", err_class=err_class, err=err)
        self.disposer.failed(item.name, item.gen)


def write_reason(state: int, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
    """Write the reason for a quarantine durably below the folder ``state``. Errors: OSError."""
    reason = {
        "name": os.fsdecode(item.name), "name_hex": item.name.hex(), "class": err_class, "reason": err,
        "sha256": header.get("sha"), "size": size_of(item.gen), "generation": item.gen,
        "strikes": item.strikes, "interrupted": item.interrupted, "first_seen": item.first_seen, "last_seen": time.time(),
    }  # fmt: skip
    folder, _, base = item.name.rpartition(b"/")
    with durable.folder_beneath(state, _FOLDER + folder, make=True) as fd:
        durable.write(fd, shortened(base, b".json"), json.dumps(reason, indent=1).encode() + b"\n")


def remove_reason(state: int, name: bytes) -> None:
    """Remove the reason for an earlier quarantine of a file, if there is one."""
    folder, _, base = name.rpartition(b"/")
    with contextlib.suppress(OSError), durable.folder_beneath(state, _FOLDER + folder) as fd:
        os.unlink(shortened(base, b".json"), dir_fd=fd)
