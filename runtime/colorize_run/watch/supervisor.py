"""The main loop of a watch: scans, workers and signals.

It has one thread, imports no image or network library, and calls nothing that can hang: workers read and decode the files.
"""

import collections
import contextlib
import os
import selectors
import signal
import socket
import sqlite3
import time
from types import FrameType

from colorize_run.errors import ColorizeRunError
from colorize_run.watch.health import HealthMonitor, notify
from colorize_run.watch.jobs import WatchWorker
from colorize_run.watch.log import Telemetry
from colorize_run.watch.metrics import serve
from colorize_run.watch.pipeline import Pipeline
from colorize_run.watch.settings import Settings
from colorize_run.watch.workers import WorkerPool

_FULL_SCAN = 1.0  # least seconds between scans; overwriting a file in place does not change its folder's time
_SCAN_SHARE = 33  # scanning takes at most 3 % of one core, however many files there are
_GIVE_UP_ONCE = 60.0  # seconds of being blocked after which --once ends


class Supervisor:
    """One run of the watch folder; ``threads``: for each worker. Errors: ColorizeRunError if it cannot start."""

    def __init__(self, settings: Settings, threads: int) -> None:
        self.settings = settings
        self.telemetry = Telemetry()
        self.pipeline = Pipeline(settings, self.telemetry)
        self._selector = selectors.DefaultSelector()
        self.pool = WorkerPool(settings, threads, self.telemetry, self.pipeline, self._selector)
        self.monitor = HealthMonitor(settings, self.telemetry, self.pipeline, self.pool)
        self._signals: collections.deque[int] = collections.deque()
        self._stop_by: float | None = None
        self._rescan = self._was_idle = self._must_recover = False
        self._scan_due = self._check_due = self._source_due = 0.0

    def run(self) -> int:
        """Watch until a signal or, with --once, until all is done; returns the exit code."""
        self._listen_to_signals()
        monitor, port = self.monitor, self.settings.port
        server = serve(port, self.telemetry, lambda: monitor.snapshot) if port is not None else None
        self.telemetry.event("start", why=f"{self.settings.inbox} -> {self.settings.outbox}", pid=os.getpid())
        try:
            while (code := self._finished()) is None:
                try:
                    self._run_once()
                except ColorizeRunError:
                    raise
                except Exception as error:  # a bug of ours or a lack of memory must not end the watch
                    self._must_recover = True
                    monitor.record_bug(error)
            self.telemetry.live(monitor.line, last=True)
            self.telemetry.event("stop", code=code, files=self.pipeline.counts())
            return code
        finally:
            self._shut_down()
            if server:
                server.shutdown()
                server.server_close()

    def _run_once(self) -> None:
        """One round: signals, scan, faults, workers, reports, then wait for answers or the next due time."""
        if self._must_recover:
            self.pool.recover()
            self._must_recover = False
        self._handle_signals()
        now = time.monotonic()
        self._scan_if_due(now)
        self.pipeline.storage.probe(now)
        self.pool.maintain(now)
        self.pool.assign_jobs()
        self.monitor.update(now)
        readable = [key.data for key, _ in self._selector.select(self._seconds_to_wait())]
        self.pool.read_answers(worker for worker in readable if isinstance(worker, WatchWorker))
        if None in readable:
            self._drain_wakeups()

    def _seconds_to_wait(self) -> float:
        """Seconds until the next thing is due."""
        now = time.monotonic()
        dues = [now + (1.0 if self._stop_by is None else 0.1)]
        lost, blocks = self.pipeline.intake.source_lost, self.pipeline.storage.blocks
        if self._stop_by is None:
            dues += [self._source_due] if lost else [self._check_due, self._scan_due]
        due = self.pipeline.lifecycle.pending.next_due()
        if due is not None and self.pool.has_room() and not (blocks or lost or self._stop_by is not None):
            dues.append(due)
        dues += [block.due for block in blocks.values()]
        return max(0.0, min(dues) - now)

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._wake = ours, theirs
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # sent by leases; its default action ends the process
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._signalled)
        self._selector.register(ours, selectors.EVENT_READ)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake[0].recv(4096):
                pass

    def _handle_signals(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR1:
                self.telemetry.event("status", health=self.monitor.health())
            elif self._stop_by is None:
                self._stop_by = time.monotonic() + self.settings.drain
                self.pool.stopping = True
                self.telemetry.event("stopping", why=signal.Signals(number).name)
                notify("STOPPING=1")
            else:
                raise SystemExit(128 + number)

    def _reload(self) -> None:
        """SIGHUP: `watch retry` may have changed the ledger, or a person replaced the model file or repaired a fault."""
        self.telemetry.event("reload")
        try:
            self.pipeline.reload()
        except sqlite3.Error as error:
            self.pipeline.storage.block("state", str(error))
        for block in self.pipeline.storage.blocks.values():
            block.due = 0.0
        self._rescan = True
        self.pool.reloading = True

    def _scan_if_due(self, now: float) -> None:
        """Scan if the folder's time changed, or if a full scan is due."""
        intake = self.pipeline.intake
        if self._stop_by is not None:
            return
        if intake.source_lost:
            if now >= self._source_due:
                self._source_due = now + 1.0
                self._rescan = intake.find_source()
            if intake.source_lost:
                return
        changed = False
        if now >= self._check_due:
            self._check_due = now + min(self.settings.poll, _FULL_SCAN)
            changed = self.pipeline.source.changed()
        if changed or self._rescan or now >= self._scan_due:
            self._scan(now, changed=changed)

    def _scan(self, now: float, *, changed: bool) -> None:
        self.pipeline.intake.scan()
        end = time.monotonic()
        seconds = self.monitor.scan_seconds = end - now
        # Folder times have the resolution of the kernel's tick: a file of the same tick is found by the next scan.
        self._rescan = False
        self._check_due = end + max(self.settings.poll, 10 * seconds)
        self._scan_due = end + max(_FULL_SCAN, _SCAN_SHARE * seconds)
        if changed:
            self._scan_due = min(self._scan_due, self._check_due)
        self.monitor.last_scan = time.time()
        self._was_idle = self.pipeline.is_idle()

    def _finished(self) -> int | None:
        """The exit code if the watch is to end, else None."""
        now = time.monotonic()
        if self._stop_by is not None:
            return 0 if not self.pipeline.intake.in_flight or now >= self._stop_by else None
        if not self.settings.once:
            return None
        for kind, block in self.pipeline.storage.blocks.items():
            if now - block.since > _GIVE_UP_ONCE:
                self.telemetry.event("blocked", why=kind, err=block.why, err_class="environment")
                return 73
        if not self.pipeline.is_idle() or not self.monitor.ready:
            return None
        if not self._was_idle:
            self._rescan = True  # for files that arrived while the last ones were processed
            return None
        return 1 if self.pipeline.pending() or self.pipeline.lifecycle.quarantined_now else 0

    def _shut_down(self) -> None:
        self.pool.close()
        with contextlib.suppress(OSError):
            self.monitor.write(state="stopped", ready=False)
        self.pipeline.close()
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for end in self._wake:
            end.close()
        self.telemetry.close()
