"""The output folder: one watch at a time, reached by descriptor, never through a link that took its place."""

import contextlib
import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from colorize_run.errors import OutputError
from colorize_run.system import durable
from colorize_run.system.files import lock
from colorize_run.watch.ledger import Work

_ORIGIN = b"user.colorize-run"


@dataclass(frozen=True)
class Origin:
    """What an output is made of, kept in an extended attribute, so that it is known again when the ledger is lost.

    Digests as hex: the input's SHA-256, 24 bytes of the output's, 8 of what model and options are; 64 bytes fit into an inode.
    """

    sha: str
    out: str
    made_by: str

    @classmethod
    def of(cls, work: Work) -> "Origin":
        """Of what the ledger knows of an output."""
        made_by = hashlib.sha256(f"{work.model_sha}:{work.opts_sha}".encode()).hexdigest()[:16]
        return cls(work.sha, work.out_sha[:48], made_by)

    def packed(self) -> bytes:
        """As an attribute's value."""
        return bytes.fromhex(self.sha + self.out + self.made_by)

    @classmethod
    def unpacked(cls, value: bytes) -> "Origin | None":
        """From an attribute's value; None for one that is none of ours."""
        return cls(value[:32].hex(), value[32:56].hex(), value[56:].hex()) if len(value) == 64 else None


class Outbox:
    """The folder that outputs are written to, with sub-folders as inputs have them. Errors: OSError unless said."""

    def __init__(self, path: Path, max_depth: int) -> None:
        self.path, self._depth = path, max_depth
        mask = os.umask(0)
        os.umask(mask)
        self._mode = 0o666 & ~mask
        try:
            self._fd = self._taken(durable.open_folder(str(path)))
        except OSError as error:
            raise OutputError(f"The output folder {path} cannot be used: {error.strerror}.") from error

    def _taken(self, fd: int) -> int:
        """A folder locked for this process and without an earlier one's temporaries."""
        try:
            lock(fd, f"the output folder {self.path}")
            durable.sweep(fd, self._depth)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._fd)

    def check(self) -> None:
        """OSError unless the path still leads to the folder that is open."""
        if not os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)):
            raise OSError(errno.ENOTDIR, "another file or folder took its place")

    def heal(self, need: int) -> None:
        """Find out, by writing ``need`` bytes, whether outputs can be written; a new folder in the old one's place is taken."""
        try:
            self.check()
        except OSError:
            fd = durable.open_folder(str(self.path))  # a link is still refused
            if os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
                os.close(fd)  # only looking at it had failed
            else:
                fd, before = self._taken(fd), self._fd
                self._fd = fd
                os.close(before)
        durable.stage(self._fd, bytes(max(need, 4096)), 0o600)
        self.sweep()

    def sweep(self) -> None:
        """Remove temporaries, that one of just now and those that a fault left; nothing is being written meanwhile."""
        durable.sweep(self._fd, self._depth)

    def free(self) -> tuple[int, int]:
        """Bytes free and bytes in all of the file system."""
        found = os.fstatvfs(self._fd)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def stage(self, name: bytes, data: bytes | memoryview, origin: Origin) -> bytes:
        """Write an output under a temporary name beside ``name``; returns that."""
        self.check()
        with durable.folder_beneath(self._fd, name.rpartition(b"/")[0], make=True) as folder:
            return durable.stage(folder, data, self._mode, {_ORIGIN: origin.packed()})

    def publish(self, staged: list[tuple[bytes, bytes]]) -> dict[bytes, OSError]:
        """Give staged outputs, as pairs of temporary and name, their names; they are durable on return.

        Returns those that failed, by temporary; what was staged for them is gone.
        """
        failed: dict[bytes, OSError] = {}
        folders: dict[bytes, list[tuple[bytes, bytes]]] = {}
        for temporary, name in staged:
            path, _, base = name.rpartition(b"/")
            folders.setdefault(path, []).append((temporary, base))
        for path, pairs in folders.items():
            try:
                with durable.folder_beneath(self._fd, path) as folder:
                    failed |= self._publish_in(folder, pairs)
            except OSError as error:  # the folder itself: nothing in it can be discarded now; it is swept later
                failed |= {temporary: error for temporary, _ in pairs}
        return failed

    def _publish_in(self, folder: int, pairs: list[tuple[bytes, bytes]]) -> dict[bytes, OSError]:
        failed: dict[bytes, OSError] = {}
        try:
            self.check()
            durable.publish(folder, pairs)
        except OSError as error:
            for temporary, _ in pairs:
                durable.discard(folder, temporary)
                failed[temporary] = error
        return failed

    def origin(self, name: bytes) -> Origin | None:
        """What an output says of the file that it was made of; None where it says nothing. Errors: OSError."""
        fd = durable.open_beneath(self._fd, name)
        try:
            return Origin.unpacked(os.getxattr(fd, _ORIGIN))
        finally:
            os.close(fd)

    def discard(self, temporary: bytes, name: bytes) -> None:
        """Drop what was staged for ``name``, as far as that is possible; what stays is swept later."""
        with contextlib.suppress(OSError), durable.folder_beneath(self._fd, name.rpartition(b"/")[0]) as folder:
            durable.discard(folder, temporary)

    def digest(self, name: bytes) -> str | None:
        """SHA-256, hex, of an output, made durable; None when there is none."""
        return digest(self._fd, name)

    def is_empty(self, besides: Path) -> bool:
        """Whether nothing lies in it, ``besides`` apart."""
        with os.scandir(self._fd) as entries:
            return all(self.path / entry.name == besides for entry in entries)


def digest(root: int, name: bytes) -> str | None:
    """SHA-256, hex, of a file below the folder ``root``, and its name made durable; None when there is none."""
    try:
        with os.fdopen(durable.open_beneath(root, name), "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        with durable.folder_beneath(root, name.rpartition(b"/")[0]) as folder:
            durable.sync_folder(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found


def forget_origins(path: Path, names: list[bytes]) -> None:
    """Have outputs below ``path`` no longer say what they are made of, as far as that is possible."""
    for name in names:
        with contextlib.suppress(OSError):
            root = durable.open_folder(str(path))
            try:
                fd = durable.open_beneath(root, name)
            finally:
                os.close(root)
            try:
                os.removexattr(fd, _ORIGIN)
            finally:
                os.close(fd)
