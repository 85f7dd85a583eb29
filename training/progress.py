"""Progress of what takes more than a moment: a bar on a terminal, a plain line in a log."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import track as rich_track

T = TypeVar("T")


@contextlib.contextmanager
def working(description: str) -> Iterator[None]:
    """What takes seconds and has no steps: a bar without an end on stderr, or one line where that is no terminal."""
    if not sys.stderr.isatty():
        print(description, file=sys.stderr, flush=True)
        yield
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        bar.add_task(description, total=None)
        yield


def track(items: Sequence[T], description: str) -> Iterable[T]:
    """Iterate over ``items`` with a bar on stderr; where stderr is no terminal, one line says what is being done."""
    if not sys.stderr.isatty():
        print(f"{description} ({len(items)})", file=sys.stderr, flush=True)
        return items
    return rich_track(items, description, console=Console(stderr=True), transient=True)
