"""Reading files without running code in them, and writing files completely or not at all."""

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

from training.errors import TrainingError


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or a member of a zip archive written as ``archive.zip/folder/member``.

    Errors: TrainingError naming what is missing.
    """
    path = Path(path)
    if path.is_file():
        return path.read_bytes()
    if path.is_dir():
        raise TrainingError(f"{path} is a folder: give a file in it.")
    for archive in path.parents:
        if archive.suffix == ".zip" and archive.is_file():
            member = path.relative_to(archive).as_posix()
            try:
                with zipfile.ZipFile(archive) as z:
                    if member in z.namelist():
                        return z.read(member)
            except (OSError, zipfile.BadZipFile) as error:
                raise TrainingError(f"{archive} is not a readable zip archive: {error}") from error
            raise TrainingError(f"{archive} contains no {member}; `unzip -l {archive}` lists its contents.")
    raise TrainingError(f"{path} does not exist.")


def check_whole(file: BinaryIO) -> None:
    """Raise BadZipFile when a file of ``torch.save`` is damaged: PyTorch itself ignores the checksums in it.

    PyTorch's format of before 2020, in which the assignment's weights are, has no checksums.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} differs from what was written.")
    file.seek(0)


def load_tensors(data: bytes, name: str | Path, fix: str) -> Any:
    """Read what ``torch.save`` wrote, if it holds only tensors and plain values; no code in it is run.

    ``name`` of the file and ``fix`` are for the error's sentence. PyTorch's own error explains how to read it unsafely.
    Errors: TrainingError.
    """
    try:
        check_whole(io.BytesIO(data))
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises nearly anything on a damaged or foreign file
        raise TrainingError(f"{name} is damaged, or is not a PyTorch file of only tensors and plain values: {fix}.") from error


def check_writable(path: Path) -> None:
    """TrainingError when a file could not be written to ``path``, to be called before anything is computed."""
    if path.is_dir():
        raise TrainingError(f"{path} cannot be written: it is a folder; give the name of a file.")
    if not path.parent.is_dir():
        raise TrainingError(f"{path} cannot be written: there is no folder {path.parent}; make it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise TrainingError(f"{path} cannot be written: the folder {path.parent} is not writable; choose another.")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to: it replaces ``path`` at the end, or is removed after an error."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def remove_what_stays_empty(folder: Path) -> Iterator[None]:
    """Remove ``folder`` and its parents again where they did not exist before and are empty afterwards."""
    absent = [path for path in (folder, *folder.parents) if not os.path.exists(path)]
    try:
        yield
    finally:
        for path in absent:
            with contextlib.suppress(OSError):  # it holds something, or was never created
                path.rmdir()
