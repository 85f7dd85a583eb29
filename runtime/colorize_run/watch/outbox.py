"""The output folder: used by one watch at a time, through a descriptor, and never through a link that replaced it."""

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
from colorize_run.watch.settings import another_watch

_ORIGIN = b"user.colorize-run"


@dataclass(frozen=True)
class Origin:
    """The source of an output, kept in an extended attribute, so that the output is recognised if the ledger is lost.

    Digests as hex: the input's SHA-256, 24 bytes of the output's, 8 of model and options; 64 bytes fit into an inode.
    """

    sha: str
    out: str
    made_by: str

    @classmethod
    def of(cls, work: Work) -> "Origin":
        """From the record of an output in the ledger."""
        made_by = hashlib.sha256(f"{work.model_sha}:{work.opts_sha}".encode()).hexdigest()[:16]
        return cls(work.sha, work.out_sha[:48], made_by)

    def packed(self) -> bytes:
        """The value of the attribute."""
        return bytes.fromhex(self.sha + self.out + self.made_by)

    @classmethod
    def unpacked(cls, value: bytes) -> "Origin | None":
        """From the value of the attribute; None if this program did not write it."""
        return cls(value[:32].hex(), value[32:56].hex(), value[56:].hex()) if len(value) == 64 else None


class Outbox:
    """The folder of the outputs, with the sub-folders of the inputs. Errors: OSError, unless stated."""

    def __init__(self, path: Path, max_depth: int) -> None:
        self.path, self._depth = path, max_depth
        mask = os.umask(0)
        os.umask(mask)
        self._mode = 0o666 & ~mask
        try:
            self._fd = self._prepare(durable.open_folder(str(path)))
        except OSError as error:
            raise OutputError(f"The output folder {path} cannot be used: {error.strerror}.") from error

    def _prepare(self, fd: int) -> int:
        """Lock a folder for this process, and remove the temporary files of an earlier one."""
        try:
            lock(fd, another_watch(f"the output folder {self.path}"))
            durable.sweep(fd, self._depth)
        except BaseException:
            os.close(fd)
            raise
        return fd

    @property
    def fd(self) -> int:
        """Descriptor of the folder."""
        return self._fd

    def close(self) -> None:
        """Close the folder."""
        os.close(self._fd)

    def check(self) -> None:
        """Check that the path still leads to the open folder. Errors: OSError."""
        if not os.path.samestat(os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)):
            raise OSError(errno.ENOTDIR, "another file or folder has replaced it")

    def heal(self, need: int) -> None:
        """Check, by writing ``need`` bytes, that outputs can be written; opens a new folder at the path if it was replaced."""
        try:
            self.check()
        except OSError:
            fd = durable.open_folder(str(self.path))  # a link is still refused
            if os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
                os.close(fd)  # only the check had failed
            else:
                fd, before = self._prepare(fd), self._fd
                self._fd = fd
                os.close(before)
        durable.stage(self._fd, bytes(max(need, 4096)), 0o600)
        self.sweep()

    def sweep(self) -> None:
        """Remove all temporary files; call it only while no output is being written."""
        durable.sweep(self._fd, self._depth)

    def free(self) -> tuple[int, int]:
        """Free bytes and size in bytes of the file system."""
        status = os.fstatvfs(self._fd)
        return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize

    def stage(self, name: bytes, data: bytes | memoryview, origin: Origin) -> bytes:
        """Write an output under a temporary name beside ``name``; returns the temporary name."""
        self.check()
        with durable.folder_beneath(self._fd, name.rpartition(b"/")[0], make=True) as folder:
            return durable.stage(folder, data, self._mode, {_ORIGIN: origin.packed()})

    def publish(self, staged: list[tuple[bytes, bytes]]) -> dict[bytes, OSError]:
        """Rename staged outputs, given as pairs of temporary name and name; they are durable on return.

        Returns the errors of those that failed, by temporary name; their temporary files are removed.
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
            except OSError as error:  # of the folder itself: its temporary files are removed by a later `sweep`
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
        """The source that an output names; None if its attribute is not ours. Errors: OSError."""
        fd = durable.open_beneath(self._fd, name)
        try:
            return Origin.unpacked(os.getxattr(fd, _ORIGIN))
        finally:
            os.close(fd)

    def discard(self, temporary: bytes, name: bytes) -> None:
        """Remove a temporary file for ``name`` if possible; otherwise a later `sweep` removes it."""
        with contextlib.suppress(OSError), durable.folder_beneath(self._fd, name.rpartition(b"/")[0]) as folder:
            durable.discard(folder, temporary)

    def digest(self, name: bytes) -> str | None:
        """SHA-256, hex, of an output, whose name is made durable; None if it does not exist."""
        return digest(self._fd, name)

    def is_empty(self, besides: Path) -> bool:
        """Whether it contains nothing except ``besides``."""
        with os.scandir(self._fd) as entries:
            return all(self.path / entry.name == besides for entry in entries)


def digest(root: int, name: bytes) -> str | None:
    """SHA-256, hex, of a file below the folder ``root``, whose name is made durable; None if it does not exist."""
    try:
        with os.fdopen(durable.open_beneath(root, name), "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with durable.folder_beneath(root, name.rpartition(b"/")[0]) as folder:
            durable.sync_folder(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return sha256


def forget_origins(path: Path, names: list[bytes]) -> None:
    """Remove the attribute that names the source from outputs below ``path``, where possible."""
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
