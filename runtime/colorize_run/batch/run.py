"""A run: every task of a plan is converted, its output published, remembered and reported."""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from colorize_run.batch.claim import RunFiles
from colorize_run.batch.index import STAGED, Index, sweep
from colorize_run.batch.messages import Answer, Engine, Options, Outcome, Record, Request
from colorize_run.batch.plan import STANDARD, Plan, Task
from colorize_run.batch.signals import Signals
from colorize_run.errors import ColorizeRunError, OutputError, internal
from colorize_run.system.files import as_output_errors, publish


@dataclass
class Summary:
    """Counts of a run by status, ``failed`` with folders that could not be read; exit codes of failures; seconds.

    ``stopped``: the error that ended the run early, as a sentence.
    """

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    interrupted: bool = False
    stopped: str = ""

    @property
    def exit_code(self) -> int:
        """0 when nothing failed; the reason's code when everything failed for one reason; else 1."""
        failed = self.counts["failed"]
        if not failed:
            return 0
        return next(iter(self.codes)) if failed == self.counts.total() and len(self.codes) == 1 else 1

    @property
    def pictures_per_second(self) -> float:
        """Speed of the pictures that were converted in this run; 0 where none was."""
        worked = self.counts["done"] + self.counts["copied"]
        return worked / self.seconds if self.seconds else 0.0


class Listener(Protocol):
    """What follows a run: progress and reports."""

    def begin(self, plan: Plan, engine: Engine) -> None:
        """The run begins."""

    def finished(self, task: Task, outcome: Outcome) -> None:
        """A task has ended."""

    def end(self, summary: Summary) -> None:
        """The run has ended, or was interrupted."""


class Executor(Protocol):
    """What converts the pictures: `InProcess`, or the workers of a `Pool`.

    ``staging``: whether it leaves outputs under temporary names, to be published by the run.
    """

    staging: bool

    @property
    def engine(self) -> Engine:
        """What the pictures are converted with."""

    def run(self, requests: Iterable[Request]) -> Iterator[list[Answer]]:
        """Do all requests; answers as they come, several at a time if several have come."""

    def close(self) -> None:
        """End all work at once; closing twice does no harm."""


class FullError(OutputError):
    """The disk is full: no further picture can be written."""


class Run:
    """All tasks of a plan: an executor converts them, listeners follow, and folders' indices remember outputs.

    ``say``: prints one line for a person.
    """

    def __init__(self, plan: Plan, options: Options, listeners: list[Listener], say: Callable[[str], None]) -> None:
        self._plan, self._options, self._listeners, self._say = plan, options, listeners, say
        self._token = secrets.token_hex(8)
        inputs = [task.source for task in plan.tasks if task.source is not STANDARD]
        self._files = RunFiles([*inputs, *options.files.values()], plan.unsigned)
        self._indices: dict[Path, Index] = {}
        self._begun = 0.0
        self._signals = Signals()
        self.summary = Summary()

    def __call__(self, start: Callable[[], Executor]) -> Summary:
        """Do everything. Errors: of model and device; `FullError`, OutputError where nothing can be written; LockedError."""
        with self._signals:
            try:
                with contextlib.closing(start()) as executor:
                    self._work(executor)
            except BaseException as error:
                self._end(error)
                raise
            self._end(None)
        return self.summary

    def _work(self, executor: Executor) -> None:
        with contextlib.ExitStack() as stack:
            self._open_indices(stack)
            stack.callback(executor.close)  # before the files that it leaves half-written are swept
            for listener in self._listeners:
                listener.begin(self._plan, executor.engine)
            self._begun = time.monotonic()
            for failure in self._plan.failures:
                self._finish(Task(Path(failure.name), STANDARD), Outcome("failed", failure.reason, failure.code))
            for answers in executor.run(self._requests(staging=executor.staging)):
                self._settle(answers, executor.engine.key)

    def _end(self, error: BaseException | None) -> None:
        """End the listeners. Their first failure is raised, unless an error ended the run; the others are printed."""
        self._signals.ignore()
        if not self._begun:
            return
        self.summary.interrupted = isinstance(error, KeyboardInterrupt)
        self.summary.stopped = str(error) if isinstance(error, ColorizeRunError) else ""
        self.summary.seconds = time.monotonic() - self._begun
        failures = self._end_listeners()
        first = failures.pop(0) if failures and error is None else None
        for failure in failures:
            with contextlib.suppress(OSError):
                self._say(f"Error: {failure}" if isinstance(failure, ColorizeRunError) else internal(failure))
        if first is not None:
            raise first

    def _end_listeners(self) -> list[Exception]:
        failures: list[Exception] = []
        for listener in reversed(self._listeners):  # the bar goes first: a report may fail to be written
            try:
                listener.end(self.summary)
            except Exception as failure:  # the others still end
                failures.append(failure)
        return failures

    def _open_indices(self, stack: contextlib.ExitStack) -> None:
        folders: dict[Path | None, set[Path]] = {}
        for task in self._plan.tasks:
            if task.target is not STANDARD:
                folders.setdefault(task.root, set()).add(task.target.parent)
        for root, parents in folders.items():
            if root is not None:
                self._indices[root] = Index(root)
                stack.callback(self._indices[root].close)
                sweep(parents, self._indices[root].owner)
            stack.callback(sweep, parents, self._owner(root))

    def _owner(self, root: Path | None) -> str:
        """How the names of staged files begin that this run alone may remove."""
        return self._token if root is None else f"{self._indices[root].owner}-{self._token}"

    def _requests(self, *, staging: bool) -> Iterator[Request]:
        for number, task in enumerate(self._plan.tasks):
            staged = task.target.with_name(f".{self._owner(task.root)}-{number}{STAGED}") if staging else None
            known = tuple(self._indices[task.root].known(task.target)) if task.root is not None else ()
            source, target = ("" if path is STANDARD else str(path) for path in (task.source, task.target))
            refusal = self._files.refusal(task.target) if target else ""
            yield Request(number, source, target, task.kind, str(staged) if staged else None, known, refusal)

    def _settle(self, answers: list[Answer], key: str) -> None:
        """Remember outputs, durably; only then let them appear."""
        lines: dict[Path, list[tuple[Path, Record]]] = {}
        for request, outcome in answers:
            task = self._plan.tasks[request.number]
            if task.root is not None and outcome.status in ("done", "copied"):
                record = Record(outcome.input_sha256, key, outcome.output_sha256, outcome.output_bytes)
                lines.setdefault(task.root, []).append((task.target, record))
        for root, records in lines.items():
            self._indices[root].add(records)
        for request, outcome in answers:
            self._finish(self._plan.tasks[request.number], self._publish(request, outcome))
        if any(outcome.full for _, outcome in answers) and len(self._plan.tasks) > 1:
            again = "run the same command again to continue" if self._plan.folders else "run it again for the other pictures"
            raise FullError(f"No space is left. Finished outputs are complete: make room, and {again}.")

    def _publish(self, request: Request, outcome: Outcome) -> Outcome:
        """Give a staged output its name; the outcome, which may be a failure then."""
        if outcome.status not in ("done", "copied") or not request.target:
            return outcome
        target = Path(request.target)
        if request.staged is not None:
            refusal = self._files.refusal(target) if outcome.replaces else ""
            if refusal:
                Path(request.staged).unlink(missing_ok=True)
                return Outcome("failed", refusal, OutputError.exit_code)
            start = time.perf_counter()
            try:
                with as_output_errors(target):
                    publish(Path(request.staged), target, overwrite=outcome.replaces)
            except OutputError as error:
                return Outcome.of_error(error, "")
            seconds = time.perf_counter() - start
            outcome.milliseconds["write"] = round(outcome.milliseconds.get("write", 0) + 1e3 * seconds, 2)
        if self._options.overwrite:  # else no output replaces it anyway
            self._files.add_output(target)
        return outcome

    def _finish(self, task: Task, outcome: Outcome) -> None:
        self.summary.counts[outcome.status] += 1
        if outcome.status == "failed":
            self.summary.codes[outcome.code] += 1
        for listener in self._listeners:
            listener.finished(task, outcome)
