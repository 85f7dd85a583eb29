"""The loop that holds a watch together: scans, workers, signals, and what others see of it.

One thread, no image or ML library, nothing that can hang: files are read and decoded by the workers.
"""

import collections
import contextlib
import os
import selectors
import signal
import socket
import sqlite3
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from colorize_run.errors import ColorizeRunError, DeviceError
from colorize_run.watch.flow import Flow
from colorize_run.watch.notify import notify
from colorize_run.watch.pool import Answer, Worker, death
from colorize_run.watch.settings import Settings
from colorize_run.watch.telemetry import Telemetry, serve, write_health

_FULL_SCAN = 1.0  # seconds between scans at least; overwriting a file in place does not move its folder's time
_SCAN_SHARE = 33  # so that scanning takes 3 % of one core at most, however many files there are
_HEALTH_EVERY = 5.0
_UNHEALTHY_AFTER = 60.0  # seconds of being blocked
_GIVE_UP_ONCE = 60.0
_DEVICE_PATIENCE = 600.0
_STARTS = 3  # attempts to load a model for the first time


class RefusedError(ColorizeRunError):
    """A worker cannot begin its work; the exit code is the worker's."""


class Supervisor:
    """One run of the watch folder. Errors: ColorizeRunError for a start that cannot be."""

    def __init__(self, settings: Settings, threads: int) -> None:
        self.settings, self.threads = settings, threads
        self.telemetry = Telemetry()
        self.flow = Flow(settings, self.telemetry)
        self.workers: list[Worker] = []
        self.device, self.actual, self.model_sha = settings.device, "", ""
        self._selector = selectors.DefaultSelector()
        self._signals: collections.deque[int] = collections.deque()
        self._stop_by: float | None = None
        self._ready = self._rescan = self._renew = False
        self._failures = 0
        self._device_failures: collections.deque[float] = collections.deque(maxlen=2)  # when
        self._start_due = self._scan_due = self._look_due = self._source_due = 0.0
        self._health_due = 0.0
        self._looked_again = False
        self._scan_seconds = self._snapped = 0.0
        self._since, self._state = time.time(), "starting"
        self._last_scan: float | None = None
        self._marks: collections.deque[tuple[float, int]] = collections.deque(maxlen=11)  # time, pictures done
        self._bugs: collections.deque[float] = collections.deque(maxlen=10)

    def run(self) -> int:
        """Watch until told to stop; returns the exit code."""
        self._listen_to_signals()
        self._snapshot = self._health()
        server = serve(self.settings.port, self.telemetry, lambda: self._snapshot) if self.settings.port is not None else None
        self.telemetry.event("start", why=f"{self.settings.inbox} -> {self.settings.outbox}", pid=os.getpid())
        try:
            while (code := self._finished()) is None:
                try:
                    self._turn()
                except ColorizeRunError:
                    raise
                except Exception as error:  # a bug of ours takes nothing down; ten in a minute are seen from outside
                    self._bug(error)
            self.telemetry.live(self._line, last=True)
            self.telemetry.event("stop", code=code, files=self.flow.counts())
            return code
        finally:
            self._shut_down()
            if server:
                server.shutdown()
                server.server_close()

    def _listen_to_signals(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._wake = ours, theirs
        signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # of leases; the default ends the process
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, self._signalled)
        self._selector.register(ours, selectors.EVENT_READ)

    def _signalled(self, number: int, _frame: FrameType | None) -> None:
        self._signals.append(number)

    # -- one turn -----------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self._obey()
        now = time.monotonic()
        self._see(now)
        self.flow.probe(now)
        self._tend(now)
        self._hand_out()
        self._tell(now)
        for key, _ in self._selector.select(self._pause()):
            if isinstance(key.data, Worker):
                self._hear(key.data)
            else:
                self._drain_wakeups()

    def _drain_wakeups(self) -> None:
        try:
            while self._wake[0].recv(4096):
                pass
        except BlockingIOError:
            pass

    def _pause(self) -> float:
        """Seconds until something must be looked at."""
        now = time.monotonic()
        dues = [now + (1.0 if self._stop_by is None else 0.1)]
        if self._stop_by is None:
            dues += [self._source_due] if self.flow.source_lost else [self._look_due, self._scan_due]
        due = self.flow.pending.next_due()
        if due is not None and any(worker.has_room for worker in self.workers) and not self._held_up():
            dues.append(due)
        dues += [block.due for block in self.flow.blocks.values()]
        return max(0.0, min(dues) - now)

    def _held_up(self) -> bool:
        return bool(self.flow.blocks or self.flow.source_lost or self._stop_by is not None)

    def _obey(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number == signal.SIGHUP:
                self._reload()
            elif number == signal.SIGUSR1:
                self.telemetry.event("status", health=self._health())
            elif self._stop_by is None:
                self._stop_by = time.monotonic() + self.settings.drain
                self.telemetry.event("stopping", why=signal.Signals(number).name)
                notify("STOPPING=1")
            else:
                raise SystemExit(128 + number)

    def _reload(self) -> None:
        """SIGHUP: the ledger may have been changed by `watch retry`, the model's file exchanged, a fault mended."""
        self.telemetry.event("reload")
        try:
            self.flow.reload()
        except sqlite3.Error as error:
            self.flow.block("state", str(error))
        for block in self.flow.blocks.values():
            block.due = 0.0
        self._rescan = True
        self._renew = True

    # -- seeing -------------------------------------------------------------------------------------------------

    def _see(self, now: float) -> None:
        flow = self.flow
        if self._stop_by is not None:
            return
        if flow.source_lost:
            if now >= self._source_due:
                self._source_due = now + 1.0
                self._rescan = flow.look_for_source()
            if flow.source_lost:
                return
        changed = False
        if now >= self._look_due:
            self._look_due = now + min(self.settings.poll, _FULL_SCAN)
            changed = flow.source.changed()
        if changed or self._rescan or now >= self._scan_due:
            flow.scan()
            end = time.monotonic()
            self._scan_seconds = end - now
            # Times have the grain of the kernel's tick: what comes in the same tick is seen by the next scan.
            self._rescan = False
            self._look_due = end + max(self.settings.poll, 10 * self._scan_seconds)
            self._scan_due = end + max(_FULL_SCAN, _SCAN_SHARE * self._scan_seconds)
            if changed:
                self._scan_due = min(self._scan_due, self._look_due)
            self._last_scan = time.time()
            self._looked_again = all(item.state == "retry" for item in flow.pending.items.values())

    # -- workers ------------------------------------------------------------------------------------------------

    def _tend(self, now: float) -> None:
        """Kill what hangs, replace what is missing."""
        for worker in list(self.workers):
            if worker.overdue(self.settings.timeout):
                self._hear(worker)  # it may have answered while this process was stopped
            if worker not in self.workers:
                continue
            if worker.overdue(self.settings.timeout):
                worker.kill()
                self._ended(worker, "timeout")
            elif worker.retiring and not worker.jobs:
                self._ended(worker, "recycled")
        if self._renew and not any(worker.retiring or not worker.ready for worker in self.workers):
            self._renew = False
            self._start_worker()  # the others retire once it is ready; if it never is, they stay
        missing = self.settings.workers - sum(not worker.retiring for worker in self.workers)
        if missing > 0 and now >= self._start_due and self._stop_by is None:
            self._start_worker()

    def _start_worker(self) -> None:
        try:
            worker = Worker.start(self.settings, self.device, self.threads)
        except OSError as error:
            self._failures += 1
            self._start_due = time.monotonic() + min(30.0, 2.0**self._failures)
            self.telemetry.event("worker_died", err_class="environment", err=error.strerror)
            return
        self.workers.append(worker)
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        self._selector.register(worker.said, selectors.EVENT_READ, worker)

    def _hand_out(self) -> None:
        if self._stop_by is not None:
            return
        while room := [worker for worker in self.workers if worker.has_room]:
            if not self.flow.blocks and not self._space():
                return
            worker = min(room, key=lambda each: len(each.jobs))
            job = self.flow.next_job(self.model_sha)
            if job is None:
                return
            try:
                worker.submit(job)
            except OSError:
                self.flow.give_back(job)
                worker.retiring = True  # it is dead; what it answered before is still to be read

    def _space(self) -> bool:
        try:
            if self.flow.has_space():
                return True
            self.flow.block("space", "less is free than --min-free asks for")
        except OSError as error:
            self.flow.block("output", error.strerror or str(error))
        return False

    def _hear(self, worker: Worker) -> None:
        if worker not in self.workers:
            return
        try:
            answers = worker.listen()
        except (ValueError, KeyError, IndexError):
            worker.kill()
            answers = None
        if answers is None:
            self._ended(worker, "died")
            return
        for answer in answers:
            if answer.job is not None:
                self._failures = 0
                self._handle(worker, answer)
            elif answer.header["kind"] == "ready":
                self._welcome(worker)
            else:
                self._refused(worker, answer)

    def _handle(self, worker: Worker, answer: Answer) -> None:
        kind = answer.header["kind"]
        if kind == "device":
            self._device_failures.append(time.monotonic())
            self.telemetry.event("worker_died", err_class="device", err=answer.header["error"])
        try:
            self.flow.answered(answer)
        finally:
            if kind == "device":
                self._ended(worker, "device")
                self._degrade(answer.header["error"])

    def _degrade(self, why: str) -> None:
        """The device failed: once may be chance. Twice within ten minutes, `auto` goes on with the CPU, `cuda` ends."""
        failures = self._device_failures
        if len(failures) < 2 or failures[1] - failures[0] > _DEVICE_PATIENCE:
            return
        if self.settings.device != "auto":
            raise DeviceError(f"The device failed twice within ten minutes: {why}")
        self.device = "cpu"
        failures.clear()
        self.telemetry.event("degraded", err_class="device", err=f"goes on with the CPU: {why}")

    def _welcome(self, worker: Worker) -> None:
        about = worker.about
        if sum(not other.retiring for other in self.workers) > self.settings.workers:  # it was started to replace them
            for other in self.workers:
                other.retiring = other is not worker
        self._failures = 0
        self.actual, self.model_sha = about["device"], about["model_sha"]
        self.flow.blocks.pop("model", None)
        self.telemetry.event(
            "worker_ready", pid=worker.process.pid, model=about["model"], model_sha=about["model_sha"],
            requested=self.settings.device, actual=about["device"], why=about["reason"],
        )  # fmt: skip

    def _refused(self, worker: Worker, answer: Answer) -> None:
        """The model cannot be loaded: at the start that ends the watch; later the others go on, or all waits for a model."""
        why = answer.header["error"]
        if not self._ready and not self.model_sha:
            error = RefusedError(why)
            error.exit_code = answer.header["exit"]
            raise error
        self.telemetry.event("model_refused", err_class="model", err=why)
        if not any(other.ready for other in self.workers if other is not worker):
            self.flow.block("model", why)

    def _ended(self, worker: Worker, why: str) -> None:
        """Take leave of a worker; the file in its hands pays for its death, those behind that do not."""
        self._selector.unregister(worker.answers)
        self._selector.unregister(worker.said)
        self.workers.remove(worker)
        code, words = worker.close(), worker.last_words
        jobs = list(worker.jobs)
        worker.jobs.clear()
        if why in ("died", "timeout") and self._stop_by is None:
            self._failures += 1
            self._start_due = time.monotonic() + (0.0 if self._failures < 2 else min(30.0, 2.0 ** (self._failures - 2)))
            self.telemetry.event("worker_died", err_class="worker", err=death(code, words), why=why, pid=worker.process.pid)
            if not self.model_sha and self._failures >= _STARTS:
                raise RefusedError(f"No worker comes up: {death(code, words)}.")
        self.telemetry.count("worker_restarts", why)
        for index, job in enumerate(jobs):
            if index == 0 and worker.ready and why in ("died", "timeout"):
                limit = f"took longer than the {self.settings.timeout:g} seconds of --timeout."
                self.flow.strike(
                    job, "timeout" if why == "timeout" else "crash", limit if why == "timeout" else death(code, words)
                )
            else:
                self.flow.give_back(job)

    # -- the end ------------------------------------------------------------------------------------------------

    def _finished(self) -> int | None:
        """The exit code, once there is one."""
        now = time.monotonic()
        if self._stop_by is not None:
            return 0 if not self.flow.flying or now >= self._stop_by else None
        if not self.settings.once:
            return None
        for kind, block in self.flow.blocks.items():
            if now - block.since > _GIVE_UP_ONCE:
                self.telemetry.event("blocked", why=kind, err=block.why, err_class="environment")
                return 73
        left = [item for item in self.flow.pending.items.values() if item.state != "retry" or item.retries < 3]
        if left or self.flow.waiting or self.flow.flying or self.flow.source_lost or not self._ready:
            return None
        if not self._looked_again:
            self._rescan = True  # what came while the last one was done
            return None
        return 1 if self.flow.pending.items or self.flow.quarantined_now else 0

    def _shut_down(self) -> None:
        for worker in self.workers:
            worker.close()
            for job in worker.jobs:
                os.close(job.fd)
            worker.jobs.clear()
        self.workers.clear()
        with contextlib.suppress(OSError):
            write_health(self._health_path, {**self._health(), "state": "stopped", "ready": False})
        self.flow.close()
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for end in self._wake:
            end.close()

    # -- for others to see ------------------------------------------------------------------------------------------

    @property
    def _health_path(self) -> Path:
        return self.settings.state / "health.json"

    def _tell(self, now: float) -> None:
        if not self._ready and self.model_sha and self._last_scan:
            self._ready = True
            self._health_due = 0.0
            notify("READY=1")
            self.telemetry.event("ready")
        self.telemetry.live(self._line)
        state = self._now()
        if state != self._state:
            self._state, self._since, self._health_due = state, time.time(), 0.0
        if self.settings.port is not None and now - self._snapped > 0.5:
            self._snapped, self._snapshot = now, self._health()
        if now < self._health_due:
            return
        self._health_due = now + _HEALTH_EVERY
        notify(f"WATCHDOG=1\nSTATUS={self._line()}")
        try:
            write_health(self._health_path, self._health())
        except OSError as error:
            self.flow.block("state", error.strerror or str(error))

    def _now(self) -> str:
        if self._stop_by is not None:
            return "stopping"
        if self.flow.source_lost:
            return "source_lost"
        if self.flow.blocks:
            return "blocked"
        return "running" if self._ready else "starting"

    def _line(self) -> str:
        """The live line: pending, done, quarantined, pictures a second, provider."""
        counters = self.telemetry.counters
        done = counters["files", "done"] + counters["files", "same"]
        pending = len(self.flow.pending.items) + self.flow.waiting
        return (
            f"{self._now()}: {pending} pending, {done} done, {counters['files', 'quarantined']} quarantined,"
            f" {self._rate(done):.1f} images/s, {self.actual or 'no device yet'}"
        )

    def _rate(self, done: int) -> float:
        """Pictures a second over about the last ten seconds."""
        now = time.monotonic()
        marks = self._marks
        if not marks or now - marks[-1][0] >= 1.0:
            marks.append((now, done))
        first, before = marks[0]
        return (done - before) / (now - first) if now > first else 0.0

    def _health(self) -> dict[str, Any]:
        now = time.monotonic()
        long_blocked = any(now - block.since > _UNHEALTHY_AFTER for block in self.flow.blocks.values())
        buggy = len(self._bugs) == 10 and now - self._bugs[0] < 60
        return {
            "state": self._now(),
            "healthy": not (long_blocked or self.flow.source_lost or buggy),
            "ready": self._ready and not self._held_up(),
            "since": self._since,
            "pid": os.getpid(),
            "last_scan": self._last_scan,
            "scan_seconds": round(self._scan_seconds, 4),
            "provider": {"requested": self.settings.device, "actual": self.actual},
            "degraded": float(self.device != self.settings.device),
            "model_sha": self.model_sha,
            "workers": [worker.process.pid for worker in self.workers],
            "totals": {f"{name}_{label}".strip("_"): value for (name, label), value in self.telemetry.counters.items()},
            **self.flow.describe(),
        }

    def _bug(self, error: Exception) -> None:
        self._bugs.append(time.monotonic())
        self.telemetry.count("bugs")
        self.telemetry.event("bug", err_class="bug", err=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
        time.sleep(0.1)  # one that comes at every turn shall not burn a core
