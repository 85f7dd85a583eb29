"""The run's side of its workers: starting them, handing them pictures, and noticing how they end."""

import contextlib
import selectors
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from colorize_run.batch.messages import Answer, Engine, Options, Outcome, Request
from colorize_run.errors import (
    ColorizeRunError,
    DeviceError,
    ImageFileError,
    InputMissingError,
    ModelFileError,
    OptionError,
)
from colorize_run.system.files import printable
from colorize_run.system.hardware import available_threads, free_memory
from colorize_run.system.worker_process import WorkerProcess

_ERRORS = {kind.exit_code: kind for kind in (ColorizeRunError, ModelFileError, DeviceError, OptionError)}
_ERRORS |= {kind.exit_code: kind for kind in (ImageFileError, InputMissingError)}  # of the mask
_BYTES_PER_WORKER = 1 << 30  # a picture of 100 megapixels takes that much
_FALSE_STARTS = 3
_CUDA_SLOTS = 8  # threads that decode and encode beside one device
_KNOWN = 16  # outputs under one name that a worker hears of, the latest; the one in place is nearly always the last


def automatic_jobs(pictures: int) -> int:
    """As many processes as there are cores, pictures, and gigabytes of memory that are free."""
    return max(1, min(available_threads(), pictures, free_memory() // _BYTES_PER_WORKER))


@dataclass(eq=False)
class PoolWorker:
    """One process and the pictures it has: the first ones are being worked on, as many as it has slots."""

    process: WorkerProcess
    hand: dict[int, Request] = field(default_factory=dict)
    engine: Engine | None = None

    def submit(self, request: Request) -> None:
        """Hand a picture over; that a worker is gone is noticed by its `WorkerProcess.receive`."""
        self.hand[request.number] = request
        request = replace(request, known=tuple(islice(dict.fromkeys(reversed(request.known)), _KNOWN)))
        with contextlib.suppress(ConnectionError):
            self.process.send(asdict(request))


class Pool:
    """Worker processes of one run: on the CPU ``jobs`` with a share of the cores each; on CUDA one, which holds the model once.

    ``jobs``: how many at a time, 0 or None for `automatic_jobs`; never more than there are ``pictures``. Where the options name
    threads, one process has these, and several never have more.
    ``engine``: what the first worker reports of model and device. Errors: those of the model.
    """

    staging = True

    def __init__(self, options: Options, jobs: int | None, pictures: int) -> None:
        jobs = max(1, min(jobs or automatic_jobs(pictures), pictures))
        share = max(1, available_threads() // jobs)
        self._options: dict[str, Any] = {
            "options": asdict(options),
            "threads": min(share, options.threads or share),
            "slots": max(1, min(jobs, _CUDA_SLOTS)),
        }
        self._selector = selectors.DefaultSelector()
        self._workers: list[PoolWorker] = []
        self._suspects: deque[Request] = deque()
        self._false_starts = 0
        try:
            self._start()
            engine = self._first_engine()
        except BaseException:
            self.close()
            raise
        self._on_cuda = engine.device == "cuda"
        self._room = self._options["slots"] + 1 if self._on_cuda else 2  # one waits, so that no worker does
        self._most = 1 if self._on_cuda else jobs
        self.engine = replace(engine, jobs=self._options["slots"] if self._on_cuda else jobs)

    def _start(self) -> None:
        worker = PoolWorker(WorkerProcess.start("colorize_run.batch.worker", self._options))
        self._workers.append(worker)
        for fd in worker.process.readable:
            self._selector.register(fd, selectors.EVENT_READ, worker)

    def _first_engine(self) -> Engine:
        worker = self._workers[0]
        while worker.engine is None:
            self._selector.select()
            if self._hear(worker) is None:
                self._workers.remove(worker)
                raise ColorizeRunError(f"No worker could be started: {worker.process.close()}.")
        return worker.engine

    def _hear(self, worker: PoolWorker) -> list[Answer] | None:
        """Answers of a worker; None when it is gone. Errors: of the model or device, which end the run."""
        frames = worker.process.receive()
        if frames is None:
            for fd in worker.process.readable:
                self._selector.unregister(fd)
            return None
        answers = []
        for header, _ in frames:
            if header["kind"] == "refused":
                raise _ERRORS.get(header["exit"], ColorizeRunError)(header["error"])
            if header["kind"] == "ready":
                worker.engine = Engine(**header["engine"])
            else:
                outcome = Outcome(**header["outcome"])
                outcome.size = (outcome.size[0], outcome.size[1])
                answers.append((worker.hand.pop(header["number"]), outcome))
        return answers

    def run(self, requests: Iterable[Request]) -> Iterator[list[Answer]]:
        """Do all pictures; answers as they come, several at a time if several have come.

        A picture whose worker dies is done again at the end, alone, if others were in the same hands or memory ran out; it
        fails if that takes its worker down, too.
        """
        yield from self._run(iter(requests), self._most, self._room)
        while self._suspects:
            request = self._suspects.popleft()
            yield from self._run(iter([request]), 1, 1, last=True)

    def _run(self, requests: Iterator[Request], most: int, room: int, *, last: bool = False) -> Iterator[list[Answer]]:
        waiting: deque[Request] = deque()
        while True:
            self._hand_out(waiting, requests, most, room)
            if not any(worker.hand for worker in self._workers):
                return
            found: list[Answer] = []
            for worker in dict.fromkeys(key.data for key, _ in self._selector.select()):
                answers = self._hear(worker)
                found += self._bury(worker, waiting, last=last) if answers is None else answers
            if found:
                yield found

    def _hand_out(self, waiting: deque[Request], requests: Iterator[Request], most: int, room: int) -> None:
        """Fill every worker's hands, the emptiest first; start workers while there is work for them."""
        while True:
            request = waiting.popleft() if waiting else next(requests, None)
            if request is None:
                return
            worker = min(self._workers, key=lambda each: len(each.hand), default=None)
            if (worker is None or worker.hand) and len(self._workers) < most:
                self._start()
                worker = self._workers[-1]
            if worker is None or len(worker.hand) >= room:
                waiting.appendleft(request)
                return
            worker.submit(request)

    def _bury(self, worker: PoolWorker, waiting: deque[Request], *, last: bool) -> list[Answer]:
        """A worker died: the pictures it worked on are suspects or have failed, those that only waited go on."""
        self._workers.remove(worker)
        how = worker.process.close()
        slots = self._options["slots"] if self._on_cuda else 1
        hand = list(worker.hand.values())
        suspects, innocent = hand[:slots], hand[slots:]
        waiting.extendleft(reversed(innocent if worker.engine else hand))
        if worker.engine is None:  # it died while loading: no picture's fault
            self._false_starts += 1
            if self._false_starts > _FALSE_STARTS:
                raise ColorizeRunError(f"Workers do not start any more: {how}. What is done is whole.")
            return []
        for request in suspects:
            if request.staged:
                Path(request.staged).unlink(missing_ok=True)
        if not last and (len(suspects) > 1 or "SIGKILL" in how):
            self._suspects.extend(suspects)
            return []
        memory = ", as the system does when memory runs out" if "SIGKILL" in how else ""
        return [
            (request, Outcome("failed", f"{printable(request.source)} was given up: {how}{memory}.", 70))
            for request in suspects
        ]

    def close(self) -> None:
        """End all workers at once, and remove what they were writing."""
        for worker in self._workers:
            hand = list(worker.hand.values())
            worker.process.close()
            for request in hand:
                if request.staged:
                    with contextlib.suppress(OSError):
                        Path(request.staged).unlink(missing_ok=True)
        self._workers.clear()
        self._selector.close()
