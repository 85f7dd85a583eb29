"""Seeing files: scanning the input folder is the truth, and an unchanged folder time only says that a scan can wait."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from colorize_run.image.formats import accepted, accepted_folder
from colorize_run.system import durable

_MAX_STAMPS = 1_000  # folders whose times are looked at between scans; more would cost what a scan costs


class SourceLostError(Exception):
    """The input folder is not the one that was opened: unmounted, a dead share, removed. Nothing may be inferred from it."""


class Source:
    """The input folder, held by descriptor, with its sub-folders if ``recursive``.

    ``whole`` tells whether the last `scan` saw everything: only then may a file that was not seen be taken for gone.
    """

    def __init__(self, path: Path, *, recursive: bool, max_depth: int) -> None:
        self.path = path
        self._depth = max_depth if recursive else 0
        self._fd = durable.open_folder(str(path))
        self._stamps: dict[bytes, int] = {}
        self._was_empty = True
        self.whole = True

    @property
    def fd(self) -> int:
        """Descriptor of the folder."""
        return self._fd

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)

    def check(self) -> None:
        """SourceLostError unless the path still leads to the folder that is open."""
        try:
            if os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)):
                return
        except OSError as error:
            raise SourceLostError(error.strerror) from error
        raise SourceLostError("another folder is in its place")

    def reopen(self) -> bool:
        """Take the folder that the path leads to now; False while there is none, or an empty one, such as a mount point."""
        try:
            fd = durable.open_folder(str(self.path))
        except OSError:
            return False
        try:
            with os.scandir(fd) as entries:
                bare = next(entries, None) is None
        except OSError:
            bare = True
        if bare and not self._was_empty:
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd = fd
        self._stamps.clear()
        return True

    def changed(self) -> bool:
        """Whether a folder's time moved since the last scan began: something was made, renamed or removed in it."""
        try:
            return any(
                os.stat(path or b".", dir_fd=self._fd, follow_symlinks=False).st_mtime_ns != stamp
                for path, stamp in self._stamps.items()
            )
        except OSError:
            return True

    def scan(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Relative name and status of every regular file of an accepted name. Errors: SourceLostError."""
        self.check()
        self._stamps.clear()
        self.whole, found = True, False
        try:
            for found_one in self._walk(self._fd, b"", self._depth):
                found = True
                yield found_one
        except OSError as error:
            raise SourceLostError(error.strerror) from error
        self.check()
        self._was_empty = not found

    def _walk(self, folder: int, path: bytes, depth: int) -> Iterator[tuple[bytes, os.stat_result]]:
        if len(self._stamps) < _MAX_STAMPS:
            self._stamps[path] = os.fstat(folder).st_mtime_ns
        deeper = []
        with os.scandir(folder) as entries:
            for entry in entries:
                base = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    if depth and accepted_folder(base):
                        deeper.append(base)
                elif accepted(base):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            yield (path + b"/" + base if path else base), status
        for base in deeper:
            yield from self._walk_below(folder, base, path, depth - 1)

    def _walk_below(self, folder: int, base: bytes, path: bytes, depth: int) -> Iterator[tuple[bytes, os.stat_result]]:
        try:
            with durable.folder_beneath(folder, base) as fd:
                yield from self._walk(fd, path + b"/" + base if path else base, depth)
        except FileNotFoundError:
            pass
        except OSError:
            self.whole = False  # one unreadable sub-folder does not take the others down
