"""Progress of what takes more than a moment: a bar on a terminal, plain lines in a log."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress import track as rich_track

T = TypeVar("T")
INTERVAL = 50.0  # seconds between two lines in a log: at least one a minute, even where a step takes a few seconds


@contextlib.contextmanager
def working(description: str) -> Iterator[None]:
    """Show that something without steps takes seconds: an endless bar on stderr, or one line where that is no terminal."""
    if not sys.stderr.isatty():
        print(description, file=sys.stderr, flush=True)
        yield
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        bar.add_task(description, total=None)
        yield


def track(items: Sequence[T], description: str) -> Iterable[T]:
    """Iterate over ``items`` with a bar on stderr; where that is no terminal, a line at the start and every minute."""
    if not sys.stderr.isatty():
        return _logged(items, description)
    return rich_track(items, description, console=Console(stderr=True), transient=True)


def _logged(items: Sequence[T], description: str) -> Iterator[T]:
    print(f"{description} ({len(items)})", file=sys.stderr, flush=True)
    printed = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - printed >= INTERVAL:
            print(f"{description}: {done}/{len(items)}", file=sys.stderr, flush=True)
            printed = time.monotonic()
        yield item
