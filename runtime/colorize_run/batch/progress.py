"""What a person reads of a run on stderr: a line for each picture, and a summary."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from colorize_run.batch.messages import Engine, Outcome
from colorize_run.batch.plan import STANDARD, Plan, Task
from colorize_run.batch.run import Summary
from colorize_run.system.files import printable


@contextlib.contextmanager
def ignore_closed_stderr() -> Iterator[None]:
    """A run continues when its log is no longer read or its terminal is closed; further lines go to /dev/null."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stderr.fileno())  # else buffered text would fail again when the process ends
            os.close(null)


class Lines:
    """A line for every picture, its notes, and a summary where folders were given. ``write``: prints one line on stderr."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._folders = False

    def begin(self, plan: Plan, engine: Engine) -> None:
        """Print what will be done, if folders were given, and what is left out."""
        self._folders = plan.folders
        if plan.folders:
            pictures = f"{len(plan.tasks)} {'picture' if len(plan.tasks) == 1 else 'pictures'}"
            ignored = f"; ignored: {plan.ignored.describe()}" if plan.ignored else ""
            self.say(f"{pictures}, {engine.describe_jobs()}{ignored}")
        elif plan.ignored:
            self.say(f"ignored: {plan.ignored.describe()}")

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Print the result of a picture; one that was already done is only counted."""
        name = "stdin" if task.source is STANDARD else printable(task.source)
        if outcome.status == "failed":
            self.say(f"error: {outcome.reason}")
            return
        for note in outcome.notes:
            self.note(name, note)
        if outcome.status != "skipped" and task.target is not STANDARD:
            reduced = ""
            if outcome.clipped:
                reduced = f" (colour reduced to fit {outcome.gamut} in {outcome.clipped:.1%} of the pixels)"
            self.done(f"{name} -> {printable(task.target)}{reduced}")

    def done(self, line: str) -> None:
        """Print that a picture is done."""
        self.say(line)

    def note(self, name: str, note: str) -> None:
        """Print a note on a picture."""
        self.say(f"note: {name}: {note}")

    def say(self, line: str) -> None:
        """Print one line."""
        with ignore_closed_stderr():
            self._write(line)

    def end(self, summary: Summary) -> None:
        """Print a summary."""
        failed, total = summary.counts["failed"], summary.counts.total()
        if self._folders:
            self.say(in_figures(summary))
        elif failed and total > 1:
            self.say(f"{failed} of {total} pictures failed.")


def in_figures(summary: Summary) -> str:
    """The run in one line: counts, speed, and how to continue."""
    names = {
        "done": "done",
        "skipped": "already done",
        "copied": "copied because they already have colours (--force colours them too)",
        "failed": "failed",
    }
    counts = ", ".join(f"{summary.counts[status]} {name}" for status, name in names.items() if summary.counts[status])
    speed = f"; {summary.pictures_per_second:.1f} images/s" if summary.pictures_per_second else ""
    resume = "; run the same command again to continue" if summary.interrupted or summary.stopped else ""
    return f"{counts or 'nothing done'}{speed}{resume}"
