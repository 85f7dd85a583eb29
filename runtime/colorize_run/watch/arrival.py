"""When a file is there to be taken: accepted names, generations, and whether somebody still writes."""

import fcntl
import os
from pathlib import Path

SUFFIXES = (  # those of `picture.SUFFIXES`, which cannot be imported without NumPy; a test holds them equal
    b".jpg", b".jpeg", b".jpe", b".jfif", b".png", b".apng", b".webp", b".tif", b".tiff", b".bmp", b".dib", b".gif", b".avif",
    b".heic", b".heif",
)  # fmt: skip
# On these the kernel's word on writers can be trusted: nobody writes but through this kernel.
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs"}


def accepted(name: bytes) -> bool:
    """Whether a file of this base name is a picture, and no program's temporary.

    Hidden names are rsync's, Syncthing's, ProFTPD's, Pure-FTPd's and macOS's temporaries; the others (.part,
    .crdownload, .filepart, ~syncthing~x.jpg.tmp) end in no picture's suffix.
    """
    return not name.startswith((b".", b"~syncthing~")) and os.path.splitext(name)[1].lower() in SUFFIXES


def accepted_folder(name: bytes) -> bool:
    """Whether a sub-folder is looked into: not hidden ones, nor Synology's thumbnails."""
    return not name.startswith(b".") and name != b"@eaDir"


def generation(status: os.stat_result) -> str:
    """One state of one file, to be compared for equality only.

    The change time, which no program can set, catches copies that put the modification time back.
    """
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def has_writer(fd: int) -> bool | None:
    """Whether some process of this kernel has the file open for writing; None when the kernel does not tell.

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
