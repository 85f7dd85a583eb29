"""The input folder. Only a scan decides what it contains; an unchanged folder time only means that a scan can wait."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from colorize_run.image.formats import accepted, accepted_folder
from colorize_run.system import durable
from colorize_run.watch.generation import generation

HINTS_SUFFIX = b".hints.json"  # after a picture's whole name: the file of its colour hints
_MAX_HINTS = 1 << 15  # bytes; each may take six in a request to a worker, which holds 2^18
# What opening a file of hints may raise for reasons that lie in the file, and not in the machine
_NO_HINTS = (errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EISDIR, errno.EOPNOTSUPP)
_MAX_STAMPS = 1_000  # folders whose times are checked between scans; more would cost as much as a scan


class SourceLostError(Exception):
    """The input folder was unmounted, removed or replaced, or its share is dead: missing files prove nothing then."""


@dataclass(frozen=True)
class HintsFile:
    """A file of colour hints: its content, or the fault for which it has none, and its generation."""

    text: str
    fault: str = ""
    gen: str = ""


def _read_hints(fd: int) -> HintsFile:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return HintsFile("", "is no ordinary file")
    data = os.pread(fd, _MAX_HINTS + 1, 0)
    gen = generation(status)
    if len(data) > _MAX_HINTS:
        return HintsFile("", f"has more than {_MAX_HINTS} bytes", gen)
    try:
        return HintsFile(data.decode("utf-8-sig"), "", gen)
    except UnicodeDecodeError:
        return HintsFile("", "is not UTF-8 text", gen)


class Source:
    """The input folder, held by descriptor, with its sub-folders if ``recursive``.

    ``whole``: whether the last `scan` read all folders. Only then does a file that it did not meet count as gone.
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
        """Close the folder."""
        os.close(self._fd)

    def check(self) -> None:
        """Check that the path still leads to the open folder. Errors: SourceLostError."""
        try:
            if os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)):
                return
        except OSError as error:
            raise SourceLostError(error.strerror) from error
        raise SourceLostError("another folder has replaced it")

    def reopen(self) -> bool:
        """Open the folder at the path again; False if there is none, or an empty one, such as an unused mount point."""
        try:
            fd = durable.open_folder(str(self.path))
        except OSError:
            return False
        try:
            with os.scandir(fd) as entries:
                is_empty = next(entries, None) is None
        except OSError:
            is_empty = True
        if is_empty and not self._was_empty:
            os.close(fd)
            return False
        os.close(self._fd)
        self._fd = fd
        self._stamps.clear()
        return True

    def hints(self, name: bytes) -> HintsFile | None:
        """The file of hints beside the picture ``name``; None if there is none. Errors: OSError."""
        try:
            fd = durable.open_beneath(self._fd, name + HINTS_SUFFIX)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
                return None
            if error.errno in _NO_HINTS:
                return HintsFile("", f"cannot be read: {error.strerror}")
            raise
        try:
            return _read_hints(fd)
        finally:
            os.close(fd)

    def changed(self) -> bool:
        """Whether a folder's time changed since the last scan began: an entry was added, renamed or removed."""
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
        self.whole, is_empty = True, True
        try:
            for entry in self._walk(self._fd, b"", self._depth):
                is_empty = False
                yield entry
        except OSError as error:
            raise SourceLostError(error.strerror) from error
        self.check()
        self._was_empty = is_empty

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
            self.whole = False  # an unreadable sub-folder does not stop the scan of the others
