"""One check of this machine: its name, its outcome, and how to fix what fails."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from colorize_run.system.files import printable


@dataclass(frozen=True)
class Check:
    """Outcome of one check.

    ``status``: ok; absent, for what is not there and need not be; failed; skipped, where something that it needs has failed.
    ``way_out``: what to do, unless it is ok. ``exit_code``: that of doctor when this is the first failure.
    """

    name: str
    status: str
    detail: str
    way_out: str = ""
    exit_code: int = 0
    figures: dict[str, Any] = field(default_factory=dict)


def reason_of(error: BaseException) -> str:
    """An error in one line of at most 200 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def model_title(path: str | Path) -> str:
    """The title of the check of a model file in the report: ``model NAME``."""
    return f"model {printable(Path(path).stem)}"
