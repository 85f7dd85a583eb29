"""What a file system promises: whether it is local, whether somebody still writes to a file, and what a folder was born as."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

# On these the kernel's word on writers can be trusted: nobody writes but through this kernel.
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs"}
_CURRENT_FOLDER, _BIRTH = -100, 0x800  # AT_FDCWD and STATX_BTIME of <linux/stat.h>


def has_writer(fd: int) -> bool | None:
    """Whether some process of this kernel has the file open for writing; None when the kernel cannot say.

    SIGIO must be ignored: a writer that opens the file during the test raises it. The lease is given back at once,
    as it would hold up that writer. Leases need the file's owner or CAP_LEASE.
    """
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def file_system(path: Path) -> str:
    """Type of the file system that holds ``path``, such as ext4; ``unknown`` when that cannot be found out."""
    real, best, kind = os.path.realpath(path), "", "unknown"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return kind
    for line in lines:
        mount, _, tail = line.partition(" - ")
        point = mount.split()[4].encode(errors="surrogateescape").decode("unicode_escape")
        inside = point == "/" or real == point or real.startswith(point + "/")
        if inside and len(point) >= len(best):  # of two at one place, the later covers the earlier
            best, kind = point, tail.split()[0]
    return kind


def is_local(path: Path) -> bool:
    """Whether nobody but this kernel can write to the file system that holds ``path``."""
    kind = file_system(path)
    return kind in _LOCAL or kind == "overlay"  # of containers: not for leases, but for a ledger


def leases_count(path: Path) -> bool:
    """Whether a granted lease proves that there is no writer; on a share another machine may be writing."""
    return file_system(path) in _LOCAL


def birth(path: Path) -> int:
    """When a file or folder was made, in nanoseconds since 1970; 0 where the file system or the C library does not know.

    Unlike an inode number, it is not used again. The layout of the answer: statx(2).
    """
    answer = ctypes.create_string_buffer(256)
    try:
        failed = ctypes.CDLL(None).statx(_CURRENT_FOLDER, os.fsencode(path), 0, _BIRTH, answer)
    except (AttributeError, OSError):
        return 0
    mask, seconds, nanoseconds = struct.unpack_from("=I", answer)[0], *struct.unpack_from("=qI", answer, 80)
    return 0 if failed or not mask & _BIRTH else seconds * 10**9 + nanoseconds
