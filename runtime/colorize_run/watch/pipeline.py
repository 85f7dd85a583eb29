"""Connects the parts that a file passes: intake, lifecycle, publisher, ledger, and the disposal of inputs."""

import time
from typing import Any

from colorize_run.system.files import lock, printable
from colorize_run.watch import dispose
from colorize_run.watch.dispose import Disposer
from colorize_run.watch.inbox import Source
from colorize_run.watch.intake import Intake
from colorize_run.watch.lifecycle import Lifecycle
from colorize_run.watch.log import Telemetry
from colorize_run.watch.publish import Publisher
from colorize_run.watch.settings import Settings, another_watch
from colorize_run.watch.storage import Storage


class Pipeline:
    """Folders, ledger, and the files between them. Errors: those of `Source` and `Storage`."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self.settings = settings
        self.source = Source(settings.inbox, recursive=settings.recursive, max_depth=settings.max_depth)
        if settings.inputs != "keep":
            lock(self.source.fd, another_watch(f"the input folder {settings.inbox}"))
        self.storage = Storage(settings, telemetry, self.recover)
        self.lifecycle = Lifecycle(self.storage, Disposer(self.source, settings, telemetry))
        self.intake = Intake(self.source, self.storage, self.lifecycle)
        self.publisher = Publisher(self.intake)
        self.recover()

    def recover(self) -> None:
        """Finish the work of an earlier run: published outputs without a record, claims, and inputs that were not yet moved."""
        ledger = self.storage.ledger
        for row in list(ledger.rows("claimed")):
            if row.name in self.intake.in_flight:
                continue
            if row.out and row.out_sha and self.storage.outbox.digest(row.out) == row.out_sha:
                ledger.done([row.name])
            else:
                ledger.strike(row.name, row.strikes, row.interrupted + 1, "interrupted", "the watch itself was killed")
        self.reload()
        if self.settings.inputs != "keep" or self.settings.failed_dir:
            dispose.recover(self.source.fd, self.settings.max_depth if self.settings.recursive else 0, ledger.name_of)

    def reload(self) -> None:
        """Read the settled files from the ledger again, after `watch retry` or `watch forget`. Errors: sqlite3.Error."""
        self.lifecycle.settled.replace((name, gen) for name, gen, _ in self.storage.ledger.settled())

    def close(self) -> None:
        """Close the folders and the ledger."""
        self.storage.close()
        self.source.close()

    def is_idle(self) -> bool:
        """Whether no file is pending, except files that could not be read in three attempts."""
        is_busy = any(item.state != "retry" or item.retries < 3 for item in self.lifecycle.pending.items.values())
        return not (is_busy or self.intake.unqueued or self.intake.in_flight or self.intake.source_lost)

    def pending(self) -> int:
        """Number of files that are pending or not yet queued."""
        return len(self.lifecycle.pending.items) + self.intake.unqueued

    def counts(self) -> dict[str, int]:
        """Number of pending files by state."""
        counts = dict.fromkeys(("settling", "incomplete", "retry", "ready", "claimed"), 0)
        for item in self.lifecycle.pending.items.values():
            counts[item.state] += 1
        return {**counts, "unqueued": self.intake.unqueued}

    def describe(self) -> dict[str, Any]:
        """The part of the health file that is about files."""
        oldest = min((item.first_seen for item in self.lifecycle.pending.items.values()), default=None)
        try:
            free = self.storage.outbox.free()[0]
        except OSError:
            free = 0
        blocks = self.storage.blocks.items()
        return {
            "files": self.counts(),
            "pending": self.pending(),
            "oldest_pending_s": 0.0 if oldest is None else max(0.0, round(time.time() - oldest, 1)),
            "settled": len(self.lifecycle.settled),
            "unaccounted": self.intake.unaccounted,
            "blocked": {kind: printable(block.why) for kind, block in blocks},
            "source_lost": float(bool(self.intake.source_lost)),
            "output_free_bytes": free,
            "last_done": self.publisher.last_done,
        }
