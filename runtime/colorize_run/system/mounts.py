"""What a file system promises: whether it is local, and whether somebody still writes to a file."""

import fcntl
import os
from pathlib import Path

# On these the kernel's word on writers can be trusted: nobody writes but through this kernel.
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs"}


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
