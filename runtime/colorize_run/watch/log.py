"""Log lines, counters and the health file of a watch."""

import contextlib
import json
import os
import select
import stat
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from colorize_run.system.files import printable

_CHUNK = select.PIPE_BUF  # what a pipe takes at once if it takes anything

BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # seconds
_ON_TERMINAL = {
    "quarantined", "blocked", "healed", "source_lost", "source_back", "worker_died", "degraded", "model_refused", "bug",
    "ledger_rebuilt", "adopted", "moved",
}  # fmt: skip


class Telemetry:
    """Counters by (name, label), histograms by stage, and log lines on stderr: JSON, or a live line on a terminal."""

    def __init__(self) -> None:
        self.counters: Counter[tuple[str, str]] = Counter()
        self.stages: dict[str, list[int]] = {}
        self.sums: dict[str, float] = {}
        self._terminal = sys.stderr is not None and sys.stderr.isatty()
        self._drawn = 0.0
        self._lines, self._dropped_logged = Lines(), 0

    @property
    def dropped(self) -> int:
        """Number of log lines that found no room."""
        return self._lines.dropped

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """Add to a counter."""
        self.counters[name, label] += by

    def observe(self, stage: str, seconds: float) -> None:
        """Add one duration to a stage's histogram."""
        counts = self.stages.setdefault(stage, [0] * (len(BUCKETS) + 1))
        counts[sum(seconds > bound for bound in BUCKETS)] += 1
        self.sums[stage] = self.sums.get(stage, 0.0) + seconds

    def event(self, event: str, name: bytes | None = None, **fields: Any) -> None:
        """Write one line to the log; it is dropped if the log cannot be written."""
        if self._terminal:
            if event not in _ON_TERMINAL:
                return
            details = ", ".join(str(fields[key]) for key in ("err_class", "why", "err") if fields.get(key))
            line = (
                f"\r\x1b[K{event.replace('_', ' ')}: {printable(os.fsdecode(name)) + ': ' if name is not None else ''}{details}"
            )
        else:
            named = {} if name is None else {"name": os.fsdecode(name)}
            line = json.dumps({"time": round(time.time(), 3), "event": event, **named, **fields})
        self._write(line + "\n")

    def live(self, line: Callable[[], str], *, last: bool = False) -> None:
        """Draw the live line of a terminal, at most four times a second."""
        now = time.monotonic()
        if self._terminal and (last or now - self._drawn > 0.25):
            self._drawn = now
            self._write(f"\r\x1b[K{line()}" + ("\n" if last else ""))

    def close(self) -> None:
        """Close the log."""
        self._lines.close()

    def _write(self, text: str) -> None:
        dropped = self.dropped
        if self._lines.write(text) and dropped > self._dropped_logged and not self._terminal:
            self._dropped_logged = dropped
            self._lines.write(json.dumps({"time": round(time.time(), 3), "event": "log_dropped", "lines": dropped}) + "\n")


def write_health(path: Path, health: dict[str, Any]) -> None:
    """Replace the health file atomically, but not durably. Errors: OSError."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(health, indent=1) + "\n")
    os.replace(temporary, path)


class Lines:
    """Lines on stderr; ``dropped`` counts lines that found no room, for example in a full pipe that nobody reads."""

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""  # the unwritten end of the last line, to be written first
        self._fd, self._owned = _stderr()
        self._room = select.poll()
        if self._fd is not None:
            self._room.register(self._fd, select.POLLOUT)

    def write(self, text: str) -> bool:
        """Write one line, or drop it; returns whether it was written."""
        data = text.encode(errors="backslashreplace")
        if self._rest:
            self._rest = self._push(self._rest)
        left = data if self._rest else self._push(data)
        if left == data:
            self.dropped += 1
            return False
        self._rest = left
        return True

    def _push(self, data: bytes) -> bytes:
        """Write as much of ``data`` as there is room for, and return the rest."""
        with contextlib.suppress(OSError):  # another writer was faster, or the reader has gone
            while data and self._fd is not None and self._room.poll(0):
                data = data[os.write(self._fd, data[:_CHUNK]) :]
        return data

    def close(self) -> None:
        """Close the descriptor, unless it is the process's own stderr."""
        if self._owned and self._fd is not None:
            os.close(self._fd)
        self._fd = None


def _stderr() -> tuple[int | None, bool]:
    """A descriptor for stderr, and whether it must be closed.

    A pipe is opened again, because O_NONBLOCK applies to an open pipe, which other processes may share.
    """
    try:
        fd = sys.stderr.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    except (AttributeError, OSError, ValueError):
        return None, False
    if is_pipe:
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), True
    return fd, False
