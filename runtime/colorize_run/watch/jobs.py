"""The supervisor's side of its workers: starting them, handing them files, and noticing how they end."""

import collections
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from colorize_run.system import processes
from colorize_run.system.processes import FRAME
from colorize_run.watch.ledger import Work
from colorize_run.watch.settings import Settings

_QUEUED = 8  # files in a worker's hands at most
_AHEAD = 0.3  # seconds of work that wait in them, so that a worker need not wait for fsync, nor for its turn on a busy machine
_PIPE = 1 << 20  # bytes, so that most answers come whole
_MAX_HEADER, _MAX_BODY = 1 << 20, 1 << 31
_RECYCLE_AFTER = 1_000  # files; native libraries leak a little
_RECYCLE_GROWTH = 512 << 20  # bytes above half again what the worker took after loading


@dataclass(eq=False)
class Job:
    """A file handed to a worker: its relative name, its open descriptor, and what is known of an output in place."""

    name: bytes
    fd: int
    before: Work | None = None
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

    process: subprocess.Popen[bytes]
    requests: socket.socket
    answers: int
    said: int
    started: float
    jobs: collections.deque[Job] = field(default_factory=collections.deque)
    about: dict[str, Any] = field(default_factory=dict)
    retiring: bool = False
    served: int = 0
    pace: float = _AHEAD
    last_words: bytes = b""
    _buffer: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls, settings: Settings, device: str, threads: int) -> "Worker":
        """A fresh process that loads the model; it says ``ready`` or ``refused`` when it has. Errors: OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        answers, answers_end = os.pipe2(os.O_CLOEXEC)
        said, said_end = os.pipe2(os.O_CLOEXEC)
        options = {
            "requests": theirs.fileno(), "answers": answers_end, "parent": os.getpid(), "task": settings.task,
            "view": settings.view, "model": settings.model, "device": device, "threads": threads, "memory": settings.memory,
            "max_bytes": settings.max_bytes, "keep_colour": settings.keep_colour, "strip_metadata": settings.strip_metadata,
            "max_pixels": settings.max_pixels, "max_side": settings.max_side,
        }  # fmt: skip
        command = processes.command_module("colorize_run.watch.worker", json.dumps(options))
        try:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                command, stdin=subprocess.DEVNULL, stdout=said_end, stderr=said_end,
                pass_fds=(theirs.fileno(), answers_end), start_new_session=True,  # Ctrl-C is the supervisor's
            )  # fmt: skip
        except BaseException:
            ours.close()
            os.close(answers)
            os.close(said)
            raise
        finally:
            theirs.close()
            os.close(answers_end)
            os.close(said_end)
        with contextlib.suppress(OSError):
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, _PIPE)
        os.set_blocking(answers, False)
        os.set_blocking(said, False)
        return cls(process, ours, answers, said, time.monotonic())

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
        request = json.dumps({"known": job.before and job.before.sha}).encode()
        socket.send_fds(self.requests, [request], [job.fd])
        if not self.jobs:
            job.begun = time.monotonic()
        self.jobs.append(job)

    def listen(self) -> list[Answer] | None:
        """Answers that have come in whole, without waiting; None once the worker has hung up."""
        with contextlib.suppress(BlockingIOError):
            while words := os.read(self.said, 1 << 16):
                self.last_words = (self.last_words + words)[-2000:]
        try:
            while part := os.read(self.answers, 1 << 20):
                self._buffer += part
        except BlockingIOError:
            return self._parsed()
        found = self._parsed()
        return found or None

    def _parsed(self) -> list[Answer]:
        found = []
        while len(self._buffer) >= FRAME.size:
            head, body = FRAME.unpack_from(self._buffer)
            if head > _MAX_HEADER or body > _MAX_BODY:
                raise ValueError("a worker answers what no worker would")
            if len(self._buffer) < FRAME.size + head + body:
                break
            header = json.loads(self._buffer[FRAME.size : FRAME.size + head])
            data = bytes(memoryview(self._buffer)[FRAME.size + head : FRAME.size + head + body])
            del self._buffer[: FRAME.size + head + body]
            found.append(self._answer(header, data))
        return found

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

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    def close(self) -> int:
        """Take leave of a process that has ended or is to end now; its exit code, negative for a signal."""
        self.requests.close()
        self.kill()
        code = self.process.wait()
        os.close(self.answers)
        os.close(self.said)
        return code
