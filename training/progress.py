"""Progress of what takes more than a moment: a bar on a terminal, a plain line in a log."""

import sys
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def track(items: Sequence[T], description: str) -> Iterable[T]:
    """Iterate over ``items`` with a bar on stderr; where stderr is no terminal, one line says what is being done."""
    if not sys.stderr.isatty():
        print(f"{description} ({len(items)})", file=sys.stderr, flush=True)
        return items
    return rich_track(items, description, console=Console(stderr=True), transient=True)
