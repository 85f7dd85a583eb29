"""What a command leaves in folders: whole files, and no empty folder for nothing."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def left_as_found(folder: Path) -> Iterator[None]:
    """Whatever of ``folder`` and its parents was not there before and is empty afterwards is removed again."""
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):  # it holds something, or never came into being
                path.rmdir()


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write to, beside ``path``, whose place it takes once everything is written."""
    partial = path.with_name(path.name + ".partial")
    yield partial
    partial.replace(path)
