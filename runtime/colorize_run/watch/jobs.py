"""A worker of the watch and its files."""

import collections
import contextlib
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from colorize_run.system.worker_process import WorkerProcess
from colorize_run.watch.inbox import HintsFile
from colorize_run.watch.ledger import Work
from colorize_run.watch.settings import Settings

_QUEUED = 8  # most files that a worker has
_AHEAD = 0.3  # seconds of work that a worker has in its queue, so that it does not wait for fsync or a busy supervisor
_RECYCLE_AFTER = 1_000  # files, because native libraries leak a little memory
_RECYCLE_GROWTH = 512 << 20  # bytes above 1.5 times the memory that the worker used after loading


@dataclass(eq=False)
class Job:
    """A file for a worker: its relative name, its open descriptor, and the record of an output that may already exist.

    ``hints``: the file of colour hints beside it, None without one; ``earlier``: SHA-256 of the file of this name that the
    output in place was made from, empty if there is none.
    """

    name: bytes
    fd: int
    hints: HintsFile | None = None
    existing: Work | None = None
    earlier: str = ""
    begun: float = 0.0

    def close(self) -> None:
        """Close the descriptor; an error has no effect, because the file was only read."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    __del__ = close


@dataclass
class Answer:
    """A worker's answer: a header with its ``kind``, the bytes of the output, and the job, if it is about one."""

    header: dict[str, Any]
    body: bytes
    job: Job | None
    seconds: float = 0.0


@dataclass(eq=False)
class WatchWorker:
    """One worker process and the files that it has. Times are monotonic; ``pace``: seconds per file.

    ``about``: the description of its model and device, empty until it is ready; ``retiring``: it gets no more files.
    """

    process: WorkerProcess
    started: float
    jobs: collections.deque[Job] = field(default_factory=collections.deque)
    about: dict[str, Any] = field(default_factory=dict)
    retiring: bool = False
    served: int = 0
    pace: float = _AHEAD

    @classmethod
    def start(cls, settings: Settings, device: str, threads: int) -> "WatchWorker":
        """Start a process that loads the model; its first answer is ``ready`` or ``refused``. Errors: OSError."""
        options = {
            **asdict(settings.conversion),
            "device": device,
            "threads": threads,
            "memory": settings.memory,
            "max_bytes": settings.max_bytes,
            "max_side": settings.max_side,
        }
        return cls(WorkerProcess.start("colorize_run.watch.worker", options), time.monotonic())

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return bool(self.about)

    @property
    def room(self) -> int:
        """How many more files it can take: at least two in all, more if they take only some tenths of a second."""
        if not self.ready or self.retiring:
            return 0
        return max(0, min(_QUEUED, 2 + int(_AHEAD / max(self.pace, 1e-3))) - len(self.jobs))

    def submit(self, job: Job) -> None:
        """Send a file to the worker. Errors: OSError if the worker has died."""
        hints = job.hints and {"text": job.hints.text, "fault": job.hints.fault}
        self.process.send({"known": job.existing and job.existing.sha, "hints": hints}, job.fd)
        if not self.jobs:
            job.begun = time.monotonic()
        self.jobs.append(job)

    def receive(self) -> list[Answer] | None:
        """Complete answers, without waiting; None if the worker has closed its pipe. Errors: ValueError."""
        frames = self.process.receive()
        return None if frames is None else [self._answer(header, body) for header, body in frames]

    def _answer(self, header: dict[str, Any], body: bytes) -> Answer:
        if header["kind"] in ("ready", "refused"):
            if header["kind"] == "ready":
                self.about = header
            return Answer(header, body, None)
        now = time.monotonic()
        job = self.jobs.popleft()
        seconds = now - job.begun
        self.served += 1
        self.pace += (seconds - self.pace) / 4
        if self.jobs:
            self.jobs[0].begun = now
        if self.served >= _RECYCLE_AFTER or header["rss"] > 1.5 * self.about["rss"] + _RECYCLE_GROWTH:
            self.retiring = True
        return Answer(header, body, job, seconds)

    def overdue(self, limit: float) -> bool:
        """Whether the first file takes longer than ``limit`` seconds, or loading the model longer than two minutes."""
        now = time.monotonic()
        if not self.ready:
            return now - self.started > max(limit, 120)
        return bool(self.jobs) and now - self.jobs[0].begun > limit
