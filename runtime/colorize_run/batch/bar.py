"""A progress bar on a terminal, for folders."""

from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from colorize_run.batch.messages import Engine, Outcome
from colorize_run.batch.plan import Plan, Task
from colorize_run.batch.progress import Lines, ignore_closed_stderr
from colorize_run.batch.run import Summary


class Bar(Lines):
    """A bar with count, speed and time left; above it lines for failures and notes only."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(write)
        self._bar: Progress | None = None
        self._notes: Counter[str] = Counter()
        self._worked = 0

    def begin(self, plan: Plan, engine: Engine) -> None:
        """Draw the bar."""
        super().begin(plan, engine)
        columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(compact=True)
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._item = self._bar.add_task("", total=len(plan.tasks) + len(plan.failures), rate="")
        with ignore_closed_stderr():
            self._bar.start()

    def finished(self, task: Task, outcome: Outcome) -> None:
        """Move the bar; failures and notes stay above it."""
        super().finished(task, outcome)
        if self._bar is not None:
            self._worked += outcome.status != "skipped"
            elapsed = self._bar.tasks[0].elapsed or 0
            rate = f"{self._worked / elapsed:.1f} images/s" if self._worked and elapsed else ""
            with ignore_closed_stderr():
                self._bar.update(self._item, advance=1, rate=rate)

    def done(self, line: str) -> None:
        """Print nothing: the bar shows it."""

    def note(self, name: str, note: str) -> None:
        """Print a note once; the end says how many other pictures it holds for."""
        self._notes[note] += 1
        if self._notes[note] == 1:
            super().note(name, note)

    def say(self, line: str) -> None:
        """Print one line above the bar, as it is: names may hold what looks like markup."""
        if self._bar is None:
            super().say(line)
        else:
            with ignore_closed_stderr():
                self._bar.console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def end(self, summary: Summary) -> None:
        """Remove the bar and print a summary."""
        if self._bar is not None:
            with ignore_closed_stderr():
                self._bar.stop()
            self._bar = None
        for note, count in self._notes.items():
            if count > 1:
                self.say(f"note: {count - 1} more: {note}")
        super().end(summary)
