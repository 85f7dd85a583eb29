"""Reports the state of a watch: live line, health file, systemd."""

import collections
import contextlib
import os
import socket
import time
import traceback
from typing import Any

from colorize_run.watch.log import Telemetry, write_health
from colorize_run.watch.pipeline import Pipeline
from colorize_run.watch.settings import Settings
from colorize_run.watch.workers import WorkerPool

_HEALTH_EVERY = 5.0
_UNHEALTHY_AFTER = 60.0  # seconds of being blocked


class HealthMonitor:
    """Reports on pipeline and pool. ``ready``: the model is loaded, and the input folder was scanned once."""

    def __init__(self, settings: Settings, telemetry: Telemetry, pipeline: Pipeline, pool: WorkerPool) -> None:
        self._settings, self._telemetry, self._pipeline, self._pool = settings, telemetry, pipeline, pool
        self.ready = False
        self.last_scan: float | None = None
        self.scan_seconds = 0.0
        self._since, self._state = time.time(), "starting"
        self._health_due = self._snapped = 0.0
        self._marks: collections.deque[tuple[float, int]] = collections.deque(maxlen=11)  # time, pictures done
        self._bugs: collections.deque[float] = collections.deque(maxlen=10)
        self.snapshot = self.health()

    def state(self) -> str:
        """starting, running, blocked, source_lost or stopping."""
        if self._pool.stopping:
            return "stopping"
        if self._pipeline.intake.source_lost:
            return "source_lost"
        if self._pipeline.storage.blocks:
            return "blocked"
        return "running" if self.ready else "starting"

    def update(self, now: float) -> None:
        """Update live line, health file and systemd, each at its own interval."""
        if not self.ready and self._pool.model_sha and self.last_scan:
            self.ready = True
            self._health_due = 0.0
            notify("READY=1")
            self._telemetry.event("ready")
        self._telemetry.live(self.line)
        state = self.state()
        if state != self._state:
            self._state, self._since, self._health_due = state, time.time(), 0.0
        if self._settings.port is not None and now - self._snapped > 0.5:
            self._snapped, self.snapshot = now, self.health()
        if now < self._health_due:
            return
        self._health_due = now + _HEALTH_EVERY
        notify(f"WATCHDOG=1\nSTATUS={self.line()}")
        try:
            self.write()
        except OSError as error:
            self._pipeline.storage.block("state", error.strerror or str(error))

    def write(self, **changes: Any) -> None:
        """Replace the health file. Errors: OSError."""
        write_health(self._settings.state / "health.json", {**self.health(), **changes})

    def line(self) -> str:
        """The live line: pending, done, quarantined, pictures a second, provider."""
        counters = self._telemetry.counters
        done = counters["files", "done"] + counters["files", "same"]
        return (
            f"{self.state()}: {self._pipeline.pending()} pending, {done} done, {counters['files', 'quarantined']} quarantined,"
            f" {self._rate(done):.1f} images/s, {self._pool.actual or 'no device yet'}"
        )

    def _rate(self, done: int) -> float:
        """Pictures a second over about the last ten seconds."""
        now = time.monotonic()
        marks = self._marks
        if not marks or now - marks[-1][0] >= 1.0:
            marks.append((now, done))
        first, before = marks[0]
        return (done - before) / (now - first) if now > first else 0.0

    def health(self) -> dict[str, Any]:
        """The content of the health file."""
        now, pool, blocks = time.monotonic(), self._pool, self._pipeline.storage.blocks
        long_blocked = any(now - block.since > _UNHEALTHY_AFTER for block in blocks.values())
        buggy = len(self._bugs) == 10 and now - self._bugs[0] < 60
        lost = bool(self._pipeline.intake.source_lost)
        counters = self._telemetry.counters.items()
        return {
            "state": self.state(),
            "healthy": not (long_blocked or lost or buggy),
            "ready": self.ready and not (blocks or lost or pool.stopping),
            "since": self._since,
            "pid": os.getpid(),
            "last_scan": self.last_scan,
            "scan_seconds": round(self.scan_seconds, 4),
            "provider": {"requested": self._settings.device, "actual": pool.actual},
            "degraded": float(pool.device != self._settings.device),
            "model_sha": pool.model_sha,
            "workers": [worker.process.pid for worker in pool.workers],
            "totals": {f"{name}_{label}".strip("_"): value for (name, label), value in counters},
            "log_lines_dropped": self._telemetry.dropped,
            **self._pipeline.describe(),
        }

    def record_bug(self, error: Exception) -> None:
        """Count and log an error of ours; ten within a minute make the watch unhealthy."""
        self._bugs.append(time.monotonic())
        self._telemetry.count("bugs")
        err = f"{type(error).__name__}: {error}"
        self._telemetry.event("bug", err_class="bug", err=err, trace=traceback.format_exc())
        time.sleep(0.1)  # an error in every round must not keep a core busy


def notify(message: str) -> None:
    """Send one or more ``KEY=value`` lines to systemd, if it is there."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
        line.setblocking(False)
        line.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
