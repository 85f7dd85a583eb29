"""A run: every task done, resumed, written and told, by this process alone or by several."""

import contextlib
import io
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from colorize_run.batch.index import STAGED, Index, sweep
from colorize_run.batch.messages import Order, Outcome, Record, Request
from colorize_run.batch.plan import STANDARD, Plan, Task
from colorize_run.errors import ColorizeRunError, OutputError
from colorize_run.system.files import identity, make_folder, publish, shown, told, write_atomically

if TYPE_CHECKING:
    from PIL import Image

    from colorize_run.batch.item import Workshop
    from colorize_run.batch.pool import Pool


class Listener(Protocol):
    """Who is told what becomes of pictures: progress and reports."""

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """The run begins, with so many tasks and this model."""

    def tell(self, task: Task, outcome: Outcome) -> None:
        """A task has ended."""

    def end(self, summary: "Summary") -> None:
        """The run has ended, or was interrupted."""


@dataclass
class Summary:
    """Counts of a run by status, ``failed`` with folders that could not be read; exit codes of failures; seconds."""

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


class FullError(OutputError):
    """No room is left: no further picture can be written."""


class Ended(KeyboardInterrupt):
    """What SIGTERM and SIGHUP become, so that they end a run as Ctrl-C does. ``signal``: its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


class Signals:
    """While it is entered, the first SIGTERM or SIGHUP raises `Ended`, unless it is ignored, as nohup wants it.

    Further ones would tear the reports that are being written then: both come twice where a terminal is closed.
    """

    def __init__(self) -> None:
        self.deaf = False

    def __enter__(self) -> "Signals":
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def _hear(self, number: int, _frame: Any) -> None:
        if not self.deaf:
            self.deaf = True
            raise Ended(number)

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


class Alone:
    """This process does the pictures one after another. ``confidence``: where the model's confidence goes, if anywhere."""

    staging = False

    def __init__(self, workshop: "Workshop", order: Order, confidence: Path | None = None) -> None:
        self._workshop, self._order, self._confidence = workshop, order, confidence
        self.about = {**workshop.about, "key": workshop.key, "jobs": 1}

    def run(self, requests: Iterable[Request]) -> Iterator[list[tuple[Request, Outcome]]]:
        """Do and write all pictures."""
        for request in requests:
            outcome, data, confidence = self._workshop.do(request)
            if outcome.status != "failed":
                start = time.perf_counter()
                try:
                    self._write(request, data, confidence)
                except OutputError as error:
                    outcome = Outcome.of_error(error, request.source)
                outcome.milliseconds["write"] = round(1e3 * (time.perf_counter() - start), 2)
            yield [(request, outcome)]

    def _write(self, request: Request, data: bytes, confidence: "Image.Image | None") -> None:
        target = Path(request.target)
        if confidence is not None and self._confidence is not None:
            buffer = io.BytesIO()
            confidence.save(buffer, "PNG")
            write_atomically(buffer.getvalue(), self._confidence, overwrite=self._order.overwrite)
        if not request.target:
            _write_standard_output(data)
            return
        make_folder(target.parent)
        write_atomically(data, target, overwrite=self._order.overwrite)

    def close(self) -> None:
        """Nothing is left open."""


class Run:
    """All tasks of a plan: hands do them, listeners hear of each, and folders' indices remember outputs."""

    def __init__(self, plan: Plan, order: Order, listeners: list[Listener]) -> None:
        self._plan, self._order, self._listeners = plan, order, listeners
        self._token = secrets.token_hex(8)
        inputs = [task.source for task in plan.tasks if task.source is not STANDARD]
        self._inputs = {identity(path) for path in (*inputs, *([Path(order.mask)] if order.mask else []))} - {None}
        self._written: set[tuple[int, int] | None] = set()
        self._indices: dict[Path, Index] = {}
        self._begun = 0.0
        self._signals = Signals()
        self.summary = Summary()

    def __call__(self, start: "Callable[[], Alone | Pool]") -> Summary:
        """Do everything. Errors: of model and device; `FullError`, OutputError where nothing can be written; LockedError."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals)
            stack.push(self._end)
            hands = start()
            stack.callback(hands.close)
            self._open_indices(stack)
            stack.callback(hands.close)  # before what they left half-written is swept
            self._key, self._staging = str(hands.about["key"]), hands.staging
            for listener in self._listeners:
                listener.begin(self._plan, hands.about)
            self._begun = time.monotonic()
            for failure in self._plan.failures:
                self._tell(Task(Path(failure.name), STANDARD), Outcome("failed", failure.reason, failure.code))
            for answers in hands.run(self._requests()):
                self._settle(answers)
        return self.summary

    def _end(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        self._signals.deaf = True
        if not self._begun:
            return
        self.summary.interrupted = isinstance(error, KeyboardInterrupt)
        self.summary.stopped = str(error) if isinstance(error, ColorizeRunError) else ""
        self.summary.seconds = time.monotonic() - self._begun
        failures: list[Exception] = []
        for listener in reversed(self._listeners):  # the bar goes first: a report may fail to be written
            try:
                listener.end(self.summary)
            except Exception as failure:  # not the others' fault
                failures.append(failure)
        for unsaid in failures[error is None :]:
            _say_failure(unsaid)
        if failures and error is None:
            raise failures[0]

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
        """How names of staged files begin that nobody else may remove."""
        return self._token if root is None else f"{self._indices[root].owner}-{self._token}"

    def _requests(self) -> Iterator[Request]:
        """What is handed out."""
        for number, task in enumerate(self._plan.tasks):
            staged = task.target.with_name(f".{self._owner(task.root)}-{number}{STAGED}") if self._staging else None
            known = tuple(self._indices[task.root].known(task.target)) if task.root is not None else ()
            source, target = ("" if path is STANDARD else str(path) for path in (task.source, task.target))
            yield Request(number, source, target, task.kind, str(staged) if staged else None, known, self._kept(task))

    def _kept(self, task: Task) -> str:
        """Why what lies at a target may not be replaced, if anything: a sentence."""
        if task.target is STANDARD:
            return ""
        if identity(task.target) in self._inputs:
            return f"{shown(task.target)} is an input of this run; inputs are never replaced."
        return _taken_by_another(task.target) if _entry(task.target) in self._written else ""

    def _settle(self, answers: list[tuple[Request, Outcome]]) -> None:
        """Remember outputs, durably; only then let them appear."""
        lines: dict[Path, list[tuple[Path, Record]]] = {}
        for request, outcome in answers:
            task = self._plan.tasks[request.number]
            if task.root is not None and outcome.status in ("done", "copied"):
                record = Record(outcome.input_sha256, self._key, outcome.output_sha256, outcome.output_bytes)
                lines.setdefault(task.root, []).append((task.target, record))
        for root, records in lines.items():
            self._indices[root].add(records)
        for request, outcome in answers:
            self._tell(self._plan.tasks[request.number], self._published(request, outcome))
        if any(outcome.full for _, outcome in answers) and len(self._plan.tasks) > 1:
            raise FullError(self._way_on())

    def _way_on(self) -> str:
        again = "run the same command again, which goes on from here" if self._plan.folders else "give the others again"
        return f"No space is left. What is done is whole: make room, and {again}."

    def _published(self, request: Request, outcome: Outcome) -> Outcome:
        """Give a staged output its name."""
        if outcome.status not in ("done", "copied") or not request.target:
            return outcome
        target = Path(request.target)
        if request.staged is None:
            self._remember(target)
            return outcome
        if outcome.replaces and _entry(target) in self._written:
            Path(request.staged).unlink(missing_ok=True)
            return Outcome("failed", _taken_by_another(target), OutputError.exit_code)
        start = time.perf_counter()
        try:
            with told(target):
                publish(Path(request.staged), target, overwrite=outcome.replaces)
        except OutputError as error:
            return Outcome.of_error(error, "")
        outcome.milliseconds["write"] = round(outcome.milliseconds.get("write", 0) + 1e3 * (time.perf_counter() - start), 2)
        self._remember(target)
        return outcome

    def _remember(self, target: Path) -> None:
        if self._order.overwrite:  # else it is not replaced anyway
            self._written |= {_entry(target)} - {None}

    def _tell(self, task: Task, outcome: Outcome) -> None:
        self.summary.counts[outcome.status] += 1
        if outcome.status == "failed":
            self.summary.codes[outcome.code] += 1
        for listener in self._listeners:
            listener.tell(task, outcome)


def _say_failure(failure: Exception) -> None:
    from colorize_run.commands.common import say
    from colorize_run.errors import internal

    with contextlib.suppress(OSError):
        say(f"Error: {failure}" if isinstance(failure, ColorizeRunError) else internal(failure))


def _entry(path: Path) -> tuple[int, int] | None:
    """Device and inode of what has a name, which a link has itself: replacing it leaves alone what it leads to."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _taken_by_another(target: Path) -> str:
    return f"{shown(target)} is the output of another picture: the file system takes both names for one."


def _write_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("stdout is closed: name a file with -o.")
    if sys.stdout.isatty():
        raise OutputError("A terminal cannot show a picture: redirect stdout, or name a file with -o.")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"stdout cannot be written: {error.strerror}.") from error
