"""Files that appear whole or not at all, and survive a power cut once they have appeared.

fsync(file), rename, fsync(folder): without the last, the name itself is lost in a power cut. All names are bytes,
relative to a folder's descriptor, so that a folder exchanged for a link cannot lead elsewhere.
"""

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator, Mapping

TEMPORARY = b".cz-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def stage(folder: int, data: bytes | memoryview, mode: int, attributes: Mapping[bytes, bytes] | None = None) -> bytes:
    """Write ``data`` durably under a temporary name in ``folder``, which is returned; OSError leaves nothing behind.

    Extended ``attributes`` are set where the file system has them.
    """
    name = TEMPORARY + f"{os.getpid()}-{secrets.token_hex(8)}".encode()
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            os.fchmod(fd, mode)
            for attribute, value in (attributes or {}).items():
                with contextlib.suppress(OSError):
                    os.setxattr(fd, attribute, value)
            os.fsync(fd)
        finally:
            os.close(fd)  # shares report a full disk only here
    except BaseException:
        discard(folder, name)
        raise
    return name


def publish(folder: int, staged: list[tuple[bytes, bytes]]) -> None:
    """Give staged files, as pairs of temporary and name, their names, replacing what had them; durable on return."""
    for temporary, name in staged:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    sync_folder(folder)


def sync_folder(folder: int) -> None:
    """Make the names in a folder durable; shares that cannot sync folders do it by themselves, or not at all."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise


def discard(folder: int, name: bytes) -> None:
    """Remove a temporary, as far as that is possible; what stays is swept at the next start."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)


def write(folder: int, name: bytes, data: bytes, mode: int = 0o644) -> None:
    """Stage and publish in one."""
    temporary = stage(folder, data, mode)
    try:
        publish(folder, [(temporary, name)])
    except BaseException:
        discard(folder, temporary)
        raise


@contextlib.contextmanager
def folder_beneath(root: int, path: bytes, *, make: bool = False) -> Iterator[int]:
    """Descriptor of a folder below ``root`` (b"" for itself); links on the way are refused, folders made if asked."""
    fd = os.dup(root)
    try:
        for part in filter(None, path.split(b"/")):
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=fd)
                    sync_folder(fd)
            deeper = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = deeper
        yield fd
    finally:
        os.close(fd)


def open_folder(path: bytes | str) -> int:
    """Descriptor of a folder that is no link."""
    return os.open(path, _FOLDER)


def open_beneath(root: int, path: bytes) -> int:
    """Descriptor for reading a file below ``root``: no link is followed, no pipe or device can hang the opening."""
    folder, _, base = path.rpartition(b"/")
    with folder_beneath(root, folder) as fd:
        return os.open(base, _FILE, dir_fd=fd)


def stat_beneath(root: int, path: bytes) -> os.stat_result:
    """Status of a file below ``root``, itself if it is a link."""
    folder, _, base = path.rpartition(b"/")
    with folder_beneath(root, folder) as fd:
        return os.stat(base, dir_fd=fd, follow_symlinks=False)


def sweep(folder: int, depth: int) -> int:
    """Remove the temporaries that a killed watch left in ``folder`` and below; the caller holds its lock. Returns how many."""
    swept = 0
    with os.scandir(folder) as entries:
        listed = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in listed:
        if is_folder and depth > 0:
            with folder_beneath(folder, name) as deeper:
                swept += sweep(deeper, depth - 1)
        elif not is_folder and name.startswith(TEMPORARY):
            os.unlink(name, dir_fd=folder)
            swept += 1
    return swept
