"""A worker of the watch and the files in its hands: started, given files, and measured."""

import collections
import contextlib
import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from colorize_run.system.worker_process import WorkerProcess
from colorize_run.watch.ledger import Work
from colorize_run.watch.settings import Settings

_QUEUED = 8  # files in a worker's hands at most
_AHEAD = 0.3  # seconds of work that wait in them, so that a worker need not wait for fsync, nor for its turn on a busy machine
_RECYCLE_AFTER = 1_000  # files; native libraries leak a little
_RECYCLE_GROWTH = 512 << 20  # bytes above half again what the worker took after loading


@dataclass(eq=False)
class Job:
    """A file handed to a worker: its relative name, its open descriptor, and what is known of an output in place."""

    name: bytes
    fd: int
    existing: Work | None = None
    begun: float = 0.0

    def close(self) -> None:
        """Give the descriptor back, with the job at the latest; that closing what was only read fails means nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    __del__ = close


@dataclass
class Answer:
    """What a worker said: a header whose ``kind`` decides, the output's bytes, and the job it is about, if any."""

    header: dict[str, Any]
    body: bytes
    job: Job | None
    seconds: float = 0.0


@dataclass(eq=False)
class Worker:
    """One worker process and the files that it has. Times are those of the monotonic clock; ``pace`` is seconds a file."""

    process: WorkerProcess
    started: float
    jobs: collections.deque[Job] = field(default_factory=collections.deque)
    about: dict[str, Any] = field(default_factory=dict)
    retiring: bool = False
    served: int = 0
    pace: float = _AHEAD

    @classmethod
    def start(cls, settings: Settings, device: str, threads: int) -> "Worker":
        """A fresh process that loads the model; its first answer is ``ready`` or ``refused``. Errors: OSError."""
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
        """How many more files may be handed over: two, or as many as some tenths of a second take."""
        if not self.ready or self.retiring:
            return 0
        return max(0, min(_QUEUED, 2 + int(_AHEAD / max(self.pace, 1e-3))) - len(self.jobs))

    def submit(self, job: Job) -> None:
        """Hand a file over. Errors: OSError when the worker is gone."""
        self.process.send({"known": job.existing and job.existing.sha}, job.fd)
        if not self.jobs:
            job.begun = time.monotonic()
        self.jobs.append(job)

    def receive(self) -> list[Answer] | None:
        """Answers that have come in whole, without waiting; None once the worker has hung up. Errors: ValueError."""
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
        """Whether the file in hand takes longer than ``limit`` seconds, or loading the model longer than two minutes."""
        now = time.monotonic()
        if not self.ready:
            return now - self.started > max(limit, 120)
        return bool(self.jobs) and now - self.jobs[0].begun > limit
