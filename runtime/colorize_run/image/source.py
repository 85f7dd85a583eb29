"""Where pictures come from: a path, or a stream."""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from colorize_run.errors import ImageFileError, InputMissingError

Source = str | os.PathLike[str] | BinaryIO


@contextlib.contextmanager
def opened_file(source: Source) -> Iterator[BinaryIO]:
    """An input, open for reading; a stream as it is, one that cannot seek as its content.

    Errors: InputMissingError; ImageFileError unless it is a non-empty regular file; TypeError for what is neither a path nor
    a binary stream.
    """
    if not isinstance(source, str | os.PathLike):
        yield _checked_stream(source)
        return
    try:
        # O_NONBLOCK: opening a pipe without a writer must not hang; regular files ignore it.
        fd = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise InputMissingError("does not exist.") from error
    except OSError as error:
        raise ImageFileError(f"cannot be opened: {error.strerror}.") from error
    try:
        _check_kind(os.fstat(fd))
        file = os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
    with file:
        yield file


def _checked_stream(stream: BinaryIO) -> BinaryIO:
    what = f"A picture is a path or a binary stream, not {type(stream).__name__}"
    if not (hasattr(stream, "read") and hasattr(stream, "seekable")):
        raise TypeError(f"{what}.")
    if not isinstance(stream.read(0), bytes):
        raise TypeError(f"{what}, which gives text: open it in mode 'rb'.")
    return stream if stream.seekable() else io.BytesIO(stream.read())


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageFileError("is a folder; name the pictures in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError("is not a regular file; pipe pictures in with '-'.")
    if status.st_size == 0:
        raise ImageFileError("is empty (0 bytes).")
