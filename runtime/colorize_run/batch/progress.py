"""What a person sees of a run, on stderr: a line a picture in a log, a bar on a terminal, and a summary."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from colorize_run.batch.messages import Outcome
from colorize_run.batch.plan import STANDARD, Plan, Task, in_words
from colorize_run.batch.run import Summary
from colorize_run.system.files import shown

if TYPE_CHECKING:
    from rich.progress import Progress


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """A log that nobody reads any more, or a terminal that is gone, ends no run; what follows is said to nobody."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nobody = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nobody, sys.stderr.fileno())  # what is buffered would fail again when the process ends
            os.close(nobody)


class Lines:
    """A line for every picture, its notes, and a summary where folders were given."""

    def __init__(self) -> None:
        self._folders = False

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """Say what the run is about, if it is about folders."""
        self._folders = plan.folders
        if plan.folders:
            many = f"{len(plan.tasks)} {'picture' if len(plan.tasks) == 1 else 'pictures'}"
            self.say(f"{many}, {_hands(about)}" + (f"; left out: {in_words(plan.left)}" if plan.left else ""))

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Say what became of a picture; one that was done before is only counted."""
        name = "stdin" if task.source is STANDARD else shown(task.source)
        if outcome.status == "failed":
            self.say(f"error: {outcome.reason}")
            return
        for note in outcome.notes:
            self.note(name, note)
        if outcome.status != "skipped" and task.target is not STANDARD:
            moved = (
                f" (colour reduced to fit {outcome.gamut} in {outcome.clipped:.1%} of the pixels)" if outcome.clipped else ""
            )
            self.done(f"{name} -> {shown(task.target)}{moved}")

    def done(self, line: str) -> None:
        """Say that a picture is done."""
        self.say(line)

    def note(self, name: str, note: str) -> None:
        """Say a note of a picture."""
        self.say(f"note: {name}: {note}")

    def say(self, line: str) -> None:
        """One line on stderr."""
        with _unheard():
            click.echo(line, err=True)

    def end(self, summary: Summary) -> None:
        """Sum up."""
        failed, all_ = summary.counts["failed"], summary.counts.total()
        if self._folders:
            self.say(in_figures(summary))
        elif failed and all_ > 1:
            self.say(f"{failed} of {all_} pictures failed.")


class Bar(Lines):
    """A bar with count, speed and time left; lines only for what matters."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._notes: Counter[str] = Counter()

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """Draw the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().begin(plan, about)
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True)
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._item = self._bar.add_task("", total=len(plan.tasks) + len(plan.failures), rate="")
        self._worked = 0
        with _unheard():
            self._bar.start()

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Move the bar; failures and notes stay above it."""
        super().tell(task, outcome)
        if self._bar is not None:
            self._worked += outcome.status != "skipped"
            elapsed = self._bar.tasks[0].elapsed or 0
            rate = f"{self._worked / elapsed:.1f} images/s" if self._worked and elapsed else ""
            with _unheard():
                self._bar.update(self._item, advance=1, rate=rate)

    def done(self, line: str) -> None:
        """The bar says it."""

    def note(self, name: str, note: str) -> None:
        """Say the same of one picture alone; how many others it holds for comes at the end."""
        self._notes[note] += 1
        if self._notes[note] == 1:
            super().note(name, note)

    def say(self, line: str) -> None:
        """One line above the bar, as it is: names may hold what looks like markup."""
        if self._bar is None:
            super().say(line)
        else:
            with _unheard():
                self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def end(self, summary: Summary) -> None:
        """Take the bar away, and sum up."""
        if self._bar is not None:
            with _unheard():
                self._bar.stop()
            self._bar = None
        for note, count in self._notes.items():
            if count > 1:
                self.say(f"note: {count - 1} more: {note}")
        super().end(summary)


def progress(plan: Plan) -> Lines:
    """The bar where stderr is a terminal and folders are done, else lines."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return Bar() if terminal and plan.folders else Lines()


def in_figures(summary: Summary) -> str:
    """The run in one line: counts, speed, and how to go on."""
    names = (
        ("done", "done"), ("skipped", "done before"), ("copied", "copied as they have colours (--force colours them, too)"),
        ("failed", "failed"),
    )  # fmt: skip
    counts = ", ".join(f"{summary.counts[status]} {what}" for status, what in names if summary.counts[status])
    worked = summary.counts["done"] + summary.counts["copied"]
    speed = f"; {worked / summary.seconds:.1f} images/s" if worked and summary.seconds else ""
    way_on = "; the same command goes on from here" if summary.interrupted or summary.stopped else ""
    return f"{counts or 'nothing done'}{speed}{way_on}"


def _hands(about: dict[str, Any]) -> str:
    jobs, threads = about["jobs"], about["threads"]
    if about["device"] == "cuda":
        return f"{jobs} at a time on CUDA"
    what = "1 process" if jobs == 1 else f"{jobs} processes"
    return f"{what} of {threads} {'thread' if threads == 1 else 'threads'}"
