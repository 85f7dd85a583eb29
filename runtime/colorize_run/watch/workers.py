"""The workers of a watch: starts them, gives them files, reads their answers and replaces them."""

import collections
import selectors
import time
from collections.abc import Iterable

from colorize_run.errors import ColorizeRunError, DeviceError
from colorize_run.watch.jobs import Answer, WatchWorker
from colorize_run.watch.log import Telemetry
from colorize_run.watch.pipeline import Pipeline
from colorize_run.watch.settings import Settings

_DEVICE_PATIENCE = 600.0  # seconds; two failures of the device within them are no chance
_STARTS = 3  # attempts to load a model for the first time


class RefusedError(ColorizeRunError):
    """A worker cannot start; the exit code is the worker's."""


class WorkerPool:
    """All workers.

    ``device``: requested from new workers; ``actual``: the device that they use; ``model_sha``: SHA-256 of their model.
    Set ``reloading`` to replace the workers, ``stopping`` to start no more work.
    """

    def __init__(
        self, settings: Settings, threads: int, telemetry: Telemetry, pipeline: Pipeline, selector: selectors.BaseSelector
    ) -> None:
        self.settings, self.telemetry, self._pipeline = settings, telemetry, pipeline
        self._threads, self._selector = threads, selector
        self.workers: list[WatchWorker] = []
        self.device, self.actual, self.model_sha = settings.device, "", ""
        self.reloading = self.stopping = False
        self._failures, self._start_due = 0, 0.0
        self._device_failures: collections.deque[float] = collections.deque(maxlen=2)  # when

    def has_room(self) -> bool:
        """Whether a worker can take a file now."""
        return any(worker.room for worker in self.workers)

    def maintain(self, now: float) -> None:
        """Kill workers that hang, and start missing ones. Errors: RefusedError."""
        for worker in list(self.workers):
            if worker.process.interrupted or worker.overdue(self.settings.timeout):
                self.read_answers([worker])  # it may have answered while this process was stopped
            if worker not in self.workers:
                continue
            if worker.overdue(self.settings.timeout):
                worker.process.kill()
                self._remove(worker, "timeout")
            elif worker.retiring and not worker.jobs:
                self._remove(worker, "recycled")
        if self.reloading and not any(worker.retiring or not worker.ready for worker in self.workers):
            self.reloading = False
            self._start()  # the others retire once it is ready, and stay if its model is refused
        missing = self.settings.workers - sum(not worker.retiring for worker in self.workers)
        if missing > 0 and now >= self._start_due and not self.stopping:
            self._start()

    def _start(self) -> None:
        try:
            worker = WatchWorker.start(self.settings, self.device, self._threads)
        except OSError as error:
            self._failures += 1
            self._start_due = time.monotonic() + min(30.0, 2.0**self._failures)
            self.telemetry.event("worker_died", err_class="environment", err=error.strerror)
            return
        self.workers.append(worker)
        for fd in worker.process.readable:
            self._selector.register(fd, selectors.EVENT_READ, worker)

    def assign_jobs(self) -> None:
        """Give files to workers as long as there are files and room; all that fit are claimed by one commit."""
        while not self.stopping and (room := sum(worker.room for worker in self.workers)):
            if not self._pipeline.storage.blocks and not self._has_space():
                return
            jobs = self._pipeline.intake.next_jobs(room, self.model_sha)
            if not jobs:
                return
            for job in jobs:
                free = [worker for worker in self.workers if worker.room]
                if not free:  # the workers that had room have died
                    self._pipeline.intake.give_back(job)
                    continue
                worker = min(free, key=lambda each: len(each.jobs))
                try:
                    worker.submit(job)
                except OSError:
                    self._pipeline.intake.give_back(job)
                    worker.retiring = True  # it has died; its earlier answers must still be read

    def _has_space(self) -> bool:
        storage = self._pipeline.storage
        try:
            if storage.has_space():
                return True
            storage.block("space", "less space is free than --min-free requires")
        except OSError as error:
            storage.block("output", error.strerror or str(error))
        return False

    def read_answers(self, workers: Iterable[WatchWorker]) -> None:
        """Read answers and act on them; their outputs are written together. Errors: RefusedError, DeviceError."""
        about_files: list[tuple[WatchWorker, Answer]] = []
        for worker in dict.fromkeys(workers):
            if worker not in self.workers:
                continue
            try:
                answers = worker.receive()
            except (ValueError, KeyError, IndexError):
                worker.process.kill()
                answers = None
            if answers is None:
                self._remove(worker, "died")
                continue
            about_files += [(worker, answer) for answer in answers if answer.job is not None]
            for answer in answers:
                if answer.job is None and answer.header["kind"] == "ready":
                    self._handle_ready(worker)
                elif answer.job is None:
                    self._handle_refusal(worker, answer)
        if about_files:
            self._failures = 0
            self._handle(about_files)

    def recover(self) -> None:
        """After an error of ours: requeue files that no worker holds, and read all answers again."""
        self._pipeline.intake.reclaim({job.name for worker in self.workers for job in worker.jobs})
        self.read_answers(list(self.workers))

    def _handle(self, answers: list[tuple[WatchWorker, Answer]]) -> None:
        """Handle answers about files; then remove workers whose device failed, even after an error."""
        failed = {worker: answer.header["error"] for worker, answer in answers if answer.header["kind"] == "device"}
        try:
            self._pipeline.publisher.handle([answer for _, answer in answers])
        finally:
            for worker, error in failed.items():
                self._device_failures.append(time.monotonic())
                self.telemetry.event("worker_died", err_class="device", err=error)
                self._remove(worker, "device")
                self._degrade(error)

    def _degrade(self, why: str) -> None:
        """After two failures of the device within ten minutes, `auto` continues with the CPU, and `cuda` ends the watch."""
        failures = self._device_failures
        if len(failures) < 2 or failures[1] - failures[0] > _DEVICE_PATIENCE:
            return
        if self.settings.device != "auto":
            raise DeviceError(f"The device failed twice within ten minutes: {why}")
        self.device = "cpu"
        failures.clear()
        self.telemetry.event("degraded", err_class="device", err=f"continues with the CPU: {why}")

    def _handle_ready(self, worker: WatchWorker) -> None:
        about = worker.about
        if sum(not other.retiring for other in self.workers) > self.settings.workers:  # it replaces the others
            for other in self.workers:
                other.retiring = other is not worker
        self._failures = 0
        self.actual, self.model_sha = about["device"], about["model_sha"]
        self._pipeline.storage.blocks.pop("model", None)
        self.telemetry.event(
            "worker_ready", pid=worker.process.pid, model=about["model"], model_sha=about["model_sha"],
            requested=self.settings.device, actual=about["device"], why=about["reason"],
        )  # fmt: skip

    def _handle_refusal(self, worker: WatchWorker, answer: Answer) -> None:
        """The model cannot be loaded: this ends a watch that starts; later other workers continue, or the watch is blocked."""
        why = answer.header["error"]
        if not self.model_sha:
            error = RefusedError(why)
            error.exit_code = answer.header["exit"]
            raise error
        self.telemetry.event("model_refused", err_class="model", err=why)
        if not any(other.ready for other in self.workers if other is not worker):
            self._pipeline.storage.block("model", why)

    def _remove(self, worker: WatchWorker, why: str) -> None:
        """Close a worker. If it died, that counts against the file that it was processing, not against its other files."""
        for fd in worker.process.readable:
            self._selector.unregister(fd)
        self.workers.remove(worker)
        how = worker.process.close()
        jobs = list(worker.jobs)
        worker.jobs.clear()
        died = why in ("died", "timeout")
        if died and not self.stopping:
            self._failures += 1
            self._start_due = time.monotonic() + (0.0 if self._failures < 2 else min(30.0, 2.0 ** (self._failures - 2)))
            self.telemetry.event("worker_died", err_class="worker", err=how, why=why, pid=worker.process.pid)
            if not self.model_sha and self._failures >= _STARTS:
                raise RefusedError(f"No worker can start: {how}.")
        self.telemetry.count("worker_restarts", why)
        if jobs and died and worker.ready:
            limit = f"took longer than the {self.settings.timeout:g} seconds of --timeout."
            err_class, err = ("timeout", limit) if why == "timeout" else ("crash", how)
            self._pipeline.publisher.worker_died(jobs.pop(0), err_class, err)
        for job in jobs:
            self._pipeline.intake.give_back(job)

    def close(self) -> None:
        """End all workers at once; the next run processes their files again."""
        for worker in self.workers:
            worker.process.close()
            for job in worker.jobs:
                job.close()
        self.workers.clear()
