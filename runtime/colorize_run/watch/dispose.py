"""Moves and deletes finished inputs, and never a newer file of the same name.

A file is first renamed to a hidden name beside it and checked there, where no producer can replace it.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from colorize_run.image.formats import accepted_folder
from colorize_run.system import durable
from colorize_run.system.files import shortened
from colorize_run.watch.generation import generation, without_change_time
from colorize_run.watch.inbox import HINTS_SUFFIX, Source
from colorize_run.watch.log import Telemetry
from colorize_run.watch.settings import Settings

_ASIDE = b".cz-gone-"
_AGAIN = 10.0  # seconds until the next attempt after a failure


class Disposer:
    """Step 8: moves or deletes finished and quarantined inputs, as the settings say."""

    def __init__(self, source: Source, settings: Settings, telemetry: Telemetry) -> None:
        self._source, self._settings, self._telemetry = source, settings, telemetry
        self._due = 0.0

    def is_due(self) -> bool:
        """Whether inputs that could not be moved or deleted may be tried again."""
        return (self._settings.inputs != "keep" or self._settings.failed_dir is not None) and time.monotonic() >= self._due

    def done(self, name: bytes, gen: str, hints: str = "") -> None:
        """Move or delete an input whose output is in place, unless the name now belongs to a newer generation.

        ``hints``: generation of the file of hints that the output was made with; it goes first, as the next picture of this
        name would else get its hints. One that came later stays.
        """
        if self._settings.inputs != "keep":
            self._dispose(name, gen, self._settings.done_dir, hints)

    def failed(self, name: bytes, gen: str) -> None:
        """Move a quarantined input, under the same condition."""
        if self._settings.failed_dir is not None:
            self._dispose(name, gen, self._settings.failed_dir)

    def _dispose(self, name: bytes, gen: str, target: Path | None, hints: str = "") -> None:
        folder = None if target is None else str(target)
        try:
            if hints:
                with contextlib.suppress(FileNotFoundError):
                    dispose(self._source.fd, name + HINTS_SUFFIX, hints, folder)
            dispose(self._source.fd, name, gen, folder)
        except FileNotFoundError:
            return
        except OSError as error:
            self._due = time.monotonic() + _AGAIN
            self._telemetry.event("dispose_failed", name, err=error.strerror)


def dispose(root: int, name: bytes, gen: str, target: str | None) -> None:
    """Move a file below the folder ``root`` into the folder ``target``, or delete it without one; only if it is of ``gen``.

    Errors: OSError; then the file is still there, or is there again after `recover`.
    """
    folder, _, base = name.rpartition(b"/")
    with durable.folder_beneath(root, folder) as fd:
        if generation(os.stat(base, dir_fd=fd, follow_symlinks=False)) != gen:
            return
        if target is None:
            _delete(fd, base, gen)
            return
        target_root = durable.open_folder(target)
        try:
            with durable.folder_beneath(target_root, folder, make=True) as into:
                _move(fd, base, gen, into)
        finally:
            os.close(target_root)


def _aside(folder: int, base: bytes, gen: str) -> bytes | None:
    """Rename a file to a hidden name and return that; None if the file is not of ``gen``, which is then put back."""
    aside = _ASIDE + secrets.token_hex(8).encode() + os.path.splitext(base)[1]
    os.rename(base, aside, src_dir_fd=folder, dst_dir_fd=folder)
    current = generation(os.stat(aside, dir_fd=folder, follow_symlinks=False))
    if without_change_time(current) == without_change_time(gen):
        return aside
    _put_back(folder, aside, base)
    return None


def _put_back(folder: int, aside: bytes, base: bytes) -> bool:
    """Give a file its name back; False if another file has that name, and the file keeps the hidden one."""
    try:
        _rename(folder, aside, folder, base)
    except FileExistsError:
        return False
    return True


def _rename(source: int, name: bytes, into: int, target: bytes) -> None:
    """Rename durably, but never over an existing file. Errors: FileExistsError, OSError."""
    try:
        os.link(name, target, src_dir_fd=source, dst_dir_fd=into, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        with contextlib.suppress(FileNotFoundError):  # a file system without hard links: a small race remains
            os.stat(target, dir_fd=into, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        os.rename(name, target, src_dir_fd=source, dst_dir_fd=into)
    else:
        durable.sync_folder(into)
        os.unlink(name, dir_fd=source)
    durable.sync_folder(into)
    durable.sync_folder(source)


def _delete(folder: int, base: bytes, gen: str) -> None:
    if aside := _aside(folder, base, gen):
        os.unlink(aside, dir_fd=folder)
        durable.sync_folder(folder)


def _move(folder: int, base: bytes, gen: str, into: int) -> None:
    """Move a file, under another name if its own is taken in the target folder."""
    aside = _aside(folder, base, gen)
    if aside is None:
        return
    stem, suffix = os.path.splitext(base)
    target = base
    while True:
        try:
            _rename(folder, aside, into, target)
            return
        except FileExistsError:
            target = shortened(stem[:200] + b"~" + secrets.token_hex(4).encode(), suffix)
        except OSError:
            _put_back(folder, aside, base)
            raise


def recover(root: int, depth: int, name_of: Callable[[str], bytes | None], path: bytes = b"") -> None:
    """Give their names back to files below ``root`` that have hidden names after a kill.

    ``name_of`` returns the relative name for a generation without its change time. A file without a known name, or whose
    name is taken by now, gets a new name and counts as a new file.
    """
    with os.scandir(root) as entries:
        listed = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in listed:
        if is_folder and depth > 0 and accepted_folder(name):
            with contextlib.suppress(OSError), durable.folder_beneath(root, name) as deeper:
                recover(deeper, depth - 1, name_of, path + b"/" + name if path else name)
        elif name.startswith(_ASIDE):
            known = name_of(without_change_time(generation(os.stat(name, dir_fd=root, follow_symlinks=False))))
            folder, _, base = (known or b"").rpartition(b"/")
            if not (known and folder == path and _put_back(root, name, base)):
                os.rename(name, b"recovered-" + name[len(_ASIDE) :], src_dir_fd=root, dst_dir_fd=root)
