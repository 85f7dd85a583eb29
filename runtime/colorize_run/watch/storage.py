"""Ledger and output folder of a watch, and their faults, which block all work until they heal."""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from colorize_run.errors import ColorizeRunError, OutputError
from colorize_run.system import durable
from colorize_run.system.files import lock
from colorize_run.watch.ledger import FILE_NAME, Ledger
from colorize_run.watch.log import Telemetry
from colorize_run.watch.outbox import Outbox
from colorize_run.watch.ownership import Folder, Ownership
from colorize_run.watch.settings import Settings, another_watch

_PROBE_EVERY = 2.0  # most seconds between two checks whether a fault has healed


class BlockedError(Exception):
    """The ledger cannot be written: all work is blocked, and the work in progress is repeated later."""


@dataclass
class Block:
    """A fault that blocks all work: its begin, its reason, the time of the next check, and the bytes that did not fit."""

    since: float
    why: str
    due: float
    delay: float = 0.25
    need: int = 0


class Storage:
    """The output folder, the state folder with its ledger, and their faults.

    ``recover`` is called after the ledger was opened again. Errors: OptionError, OutputError, LockedError, sqlite3.Error,
    OSError.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, recover: Callable[[], None]) -> None:
        self.settings, self.telemetry, self._recover = settings, telemetry, recover
        self._folders = {"inbox": Folder.at(settings.inbox), "outbox": Folder.at(settings.outbox)}
        with contextlib.ExitStack() as locks:
            self.outbox = Outbox(settings.outbox, settings.max_depth)
            locks.callback(self.outbox.close)
            self.state_fd = self._lock_state()
            locks.callback(os.close, self.state_fd)
            self.ledger = self._open_ledger()
            locks.pop_all()
        self.blocks: dict[str, Block] = {}

    def close(self) -> None:
        """Close the ledger and the folders."""
        self.ledger.close()
        self.outbox.close()
        os.close(self.state_fd)

    def _lock_state(self) -> int:
        fd = durable.open_folder(str(self.settings.state))
        try:
            lock(fd, another_watch(f"the state folder {self.settings.state}"))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _open_ledger(self) -> Ledger:
        """The ledger, once it is certain that it and the output folder belong to this watch. Errors: those of the class."""
        ownership = Ownership(self.settings, self._folders, self.state_fd, self.outbox.fd)
        inside = self.settings.state if self.settings.state.is_relative_to(self.settings.outbox) else self.settings.outbox
        is_new = not (self.settings.state / FILE_NAME).exists()
        if not is_new or not self.outbox.is_empty(besides=inside):  # else there is nothing that could be lost
            ownership.check()
            if is_new and not self.settings.adopt:
                raise OutputError(
                    f"{self.settings.outbox} contains files that no ledger in {self.settings.state} records: choose an empty"
                    " folder, or use --adopt, which replaces files that have the same names."
                )
            for event, why in ownership.changes():
                self.telemetry.event(event, why=why)
        ledger = Ledger(self.settings.state)
        ownership.remember()
        if ledger.rebuilt:
            self.telemetry.event("ledger_rebuilt", why=f"damaged, renamed to {ledger.rebuilt}; every input is checked again")
        return ledger

    def block(self, kind: str, why: str, need: int = 0) -> None:
        """Block all work until a check of ``kind`` (output, space, state, model) succeeds; ``need``: bytes that did not fit."""
        now = time.monotonic()
        if block := self.blocks.get(kind):
            block.why, block.need = why, max(need, block.need)
            return
        self.blocks[kind] = Block(now, why, now + 0.25, need=need)
        self.telemetry.count("blocks", kind)
        self.telemetry.event("blocked", err_class="environment", why=kind, err=why)

    def probe(self, now: float) -> None:
        """Check the faults whose next check is due."""
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
            raise OutputError(block.why)  # a model: healed by a worker that loads it

    def _heal_state(self) -> None:
        self.outbox.check()
        with contextlib.suppress(FileExistsError):
            os.mkdir(self.settings.state)
        if not os.path.samestat(os.stat(self.settings.state), os.fstat(self.state_fd)):
            before, self.state_fd = self.state_fd, self._lock_state()
            os.close(before)
        fresh = self._open_ledger()
        with contextlib.suppress(sqlite3.Error):
            self.ledger.close()
        self.ledger = fresh
        self.outbox.sweep()
        self._recover()

    def has_space(self) -> bool:
        """Whether the disk of the outputs has the free space that --min-free requires."""
        free, size = self.outbox.free()
        return free >= min(self.settings.min_free, size // 20)

    @contextlib.contextmanager
    def state(self) -> Iterator[Ledger]:
        """The ledger; its errors block all work, instead of counting against a file. Errors: BlockedError."""
        try:
            if self.ledger.is_lost():
                raise sqlite3.OperationalError("the ledger's file is gone")
            yield self.ledger
        except sqlite3.Error as error:
            self.block("state", str(error))
            raise BlockedError from error
