"""File names and files: safe printing, atomic writes, locks. Imports nothing heavy."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from colorize_run.errors import ImageFileError, LockedError, OutputError
from colorize_run.system.times import Times, give_times

MAX_PIXELS = 125_000_000  # default of the command line and of Python
WATCH_MAX_PIXELS = 50_000_000  # default of the watch, whose workers have 4 GiB of address space by default (--memory)
_MAX_STANDARD_INPUT = 1 << 30  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT)  # no further file will fit either


def standard_input() -> bytes:
    """All of stdin. Errors: ImageFileError if it is closed, empty, or larger than 1 GiB."""
    if sys.stdin is None:
        raise ImageFileError("is closed.")
    data = sys.stdin.buffer.read(_MAX_STANDARD_INPUT + 1)
    if not data:
        raise ImageFileError("is empty (0 bytes).")
    if len(data) > _MAX_STANDARD_INPUT:
        raise ImageFileError("is larger than 1 GiB; save it to a file first.")
    return data


def printable(path: Path | str) -> str:
    """A file name that is safe to print: control characters and undecodable bytes are escaped."""
    text = os.fspath(path)
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1] for c in text)


def counted(number: int, noun: str) -> str:
    """A number and its noun: ``1 thread``, ``2 threads``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def write_atomically(data: bytes, target: Path, *, overwrite: bool, times: Times | None = None) -> bool:
    """Write a file that appears whole or not at all, and survives a power cut once this returns; whether it has ``times``.

    Errors: OutputError; without ``overwrite`` also when ``target`` exists, even if it came to exist just now.
    """
    partial = target.with_name(f".{secrets.token_hex(8)}.colorize-run.partial")
    with as_output_errors(target):
        try:
            has_times = stage(data, partial, times)
            publish(partial, target, overwrite=overwrite)
        except BaseException:  # Ctrl-C may come between the two
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    return has_times


def as_existing(target: Path) -> OutputError:
    """The error for an output whose name is taken by a file that must stay."""
    return OutputError(f"{printable(target)} exists; --overwrite replaces it.")


@contextlib.contextmanager
def as_output_errors(target: Path) -> Iterator[None]:
    """Turn an OSError while ``target`` is written into an OutputError that names it."""
    try:
        yield
    except FileExistsError as error:
        raise as_existing(target) from error
    except OSError as error:
        raise OutputError(f"{printable(target)} cannot be written: {error.strerror}.") from error


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a regular file. OutputError for a pipe, a folder and the like, which are not waited for; else OSError."""
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OutputError(f"{printable(path)} is not a regular file: give another name.")
    return fd


def stage(data: bytes, partial: Path, times: Times | None = None) -> bool:
    """Write a new file, durably, under a temporary name; whether it has ``times``. Errors: OSError, and nothing is left."""
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with open(fd, "wb") as file:
            file.write(data)
            file.flush()
            has_times = give_times(fd, times)
            os.fsync(fd)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return has_times


def publish(partial: Path, target: Path, *, overwrite: bool) -> None:
    """Give a staged file its name, durably; the temporary one is gone, whatever happens. Errors: OSError."""
    try:
        _rename(partial, target, overwrite=overwrite)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(target.parent)


def _rename(partial: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        if os.path.lexists(target) and not (target.is_file() or target.is_symlink()):
            raise OutputError(f"{printable(target)} is not a regular file: give another name.")
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # unlike a rename, fails when the name is taken
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if target.exists():  # a file system without hard links, such as FAT: a small race is left
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        partial.replace(target)


def make_folder(folder: Path) -> None:
    """Make an output's folder. Errors: OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {printable(folder)} cannot be made: {error.strerror}.") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; systems that cannot open a folder do not need it."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, whatever its names; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def shortened(base: bytes, suffix: bytes) -> bytes:
    """``base + suffix`` as a file name of at most 255 bytes: a name that is too long ends in a digest of itself."""
    if len(base) + len(suffix) <= 255:
        return base + suffix
    return base[:180] + b"~" + hashlib.sha256(base).hexdigest()[:8].encode() + suffix


def is_within(folder: Path, parent: Path) -> bool:
    """Whether ``folder`` is ``parent`` or lies in it, whatever links and mounts it is reached by."""
    target = os.stat(parent)
    folder = folder.resolve()
    for each in (folder, *folder.parents):
        try:
            if os.path.samestat(os.stat(each), target):
                return True
        except OSError:
            continue  # does not exist yet
    return False


def lock(fd: int, sentence: str) -> None:
    """Take an open folder or file for this process alone. Errors: LockedError with ``sentence`` while another one has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockedError(sentence) from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EINVAL):
            raise  # shares have no locks
