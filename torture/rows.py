"""Rows of the table of trials: how many are made, and what they gave."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from torture.rig import Golden


@dataclass
class Bench:
    """Folder, model and size of the trials; ``scale``: quick or full; ``share``: the part of full that is run."""

    folder: Path
    model: Path
    golden: Golden
    seed: int
    scale: str
    share: float = 1.0
    made: int = 0

    def trial(self) -> Path:
        """Path of a new folder, not yet made."""
        self.made += 1
        return self.folder / f"trial{self.made}"

    def of(self, quick: int, full: int) -> int:
        """Number of trials at this scale."""
        return quick if self.scale == "quick" else max(quick, round(full * self.share))

    def seeds(self, quick: int, full: int) -> range:
        """Seeds of the trials at this scale."""
        return range(self.seed, self.seed + self.of(quick, full))


@dataclass
class Outcome:
    """One row of the table."""

    trials: int = 0
    failures: list[str] = field(default_factory=list)
    note: str = ""
    skipped: str = ""

    def attempt(self, bench: Bench, trial: Callable[..., Any], *arguments: Any, weight: int = 1) -> Any:
        """Run ``trial(folder, model, golden, *arguments)``, which counts as ``weight`` trials; keep its folder if it fails."""
        folder = bench.trial()
        self.trials += weight
        try:
            result = trial(folder, bench.model, bench.golden, *arguments)
        except Exception as error:  # of any kind: the next trial must still run
            self.failures.append(f"{folder.name}: {type(error).__name__}: {error}")
            click.echo(f"  FAILED in {folder}, {arguments}: {type(error).__name__}: {error}", err=True)
            return None
        shutil.rmtree(folder, ignore_errors=True)
        return result

    def note_slowest(self, seconds: list[float | None]) -> None:
        """Note the longest time from the end of a fault until work continued."""
        known = [value for value in seconds if value is not None]
        if known:
            self.note = f"work continued at most {max(known):.1f} s after healing"


Row = Callable[[Bench, Outcome], None]
ROWS: dict[str, tuple[str, Row]] = {}


def row(key: str, title: str, missing: Callable[[], str] = str) -> Callable[[Row], Row]:
    """Add a function to the table; ``missing`` returns why it cannot run here."""

    def guarded(bench: Bench, outcome: Outcome, function: Row) -> None:
        outcome.skipped = missing()
        if not outcome.skipped:
            function(bench, outcome)

    def enter(function: Row) -> Row:
        ROWS[key] = title, lambda bench, outcome: guarded(bench, outcome, function)
        return function

    return enter
