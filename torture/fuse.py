"""A file system that passes everything on to a folder, and fails on demand: ``python -m torture.fuse MOUNT BACKING CONTROL``.

While the file CONTROL exists and holds ``OPERATION ERRNO SHARE``, that share of the operation's calls fails; with
``OPERATION delay SECONDS`` each takes so long. What is written to BACKING behind its back is what another machine
writes to a network share: no events, no leases.
"""

import contextlib
import errno
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import mfusepy

CALLS = {
    "open": ("open", "create"), "read": ("read",), "write": ("write",), "fsync": ("fsync", "fsyncdir"), "rename": ("rename",),
    "unlink": ("unlink",), "readdir": ("readdir",), "stat": ("getattr",),
}  # fmt: skip


class Failing(mfusepy.Operations):  # type: ignore[misc] # it has no types
    """Passes calls on, or fails."""

    use_ns = True

    def __init__(self, backing: str, control: str) -> None:
        self._backing, self._control = backing, control

    def _call(self, op: str, path: str, *arguments: Any) -> Any:
        """One call of the kernel."""
        self._fail(op)
        try:
            function: Callable[..., Any] = getattr(self, f"_{op}")
            return function(self._backing + path, *arguments)
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno or errno.EIO) from error

    def _fail(self, op: str) -> None:
        try:
            with open(self._control) as file:
                name, number, share = file.read().split()
        except (OSError, ValueError):
            return
        if op in CALLS[name] and number == "delay":
            time.sleep(float(share))
        elif op in CALLS[name] and random.random() < float(share):
            raise mfusepy.FuseOSError(int(number))

    def _getattr(self, path: str, _fh: Any = None) -> dict[str, Any]:
        status = os.lstat(path)
        found = {name: getattr(status, name) for name in ("st_gid", "st_mode", "st_nlink", "st_size", "st_uid", "st_ino")}
        return found | {f"st_{kind}time": getattr(status, f"st_{kind}time_ns") for kind in "acm"}

    def _readdir(self, path: str, _fh: Any) -> list[tuple[str, dict[str, int], int]]:
        found = []
        for name in [".", "..", *os.listdir(path)]:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(path, name))
                found.append((name, {"st_ino": status.st_ino, "st_mode": status.st_mode}, 0))
        return found

    def _open(self, path: str, flags: int) -> int:
        return os.open(path, flags & ~os.O_NOFOLLOW)

    def _create(self, path: str, mode: int, _info: Any = None) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def _read(self, _path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    def _write(self, _path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    def _fsync(self, _path: str, _datasync: int, fh: int) -> None:
        os.fsync(fh)

    def _fsyncdir(self, _path: str, _datasync: int, _fh: int) -> int:
        return 0

    def _release(self, _path: str, fh: int) -> None:
        os.close(fh)

    def _rename(self, old: str, new: str) -> None:
        os.rename(old, self._backing + new)

    def _unlink(self, path: str) -> None:
        os.unlink(path)

    def _mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode)

    def _chmod(self, path: str, mode: int) -> None:
        os.chmod(path, mode)

    def _truncate(self, path: str, length: int, _fh: Any = None) -> None:
        os.truncate(path, length)

    def _statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(path)
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_frsize", "f_files", "f_ffree", "f_namemax")
        return {name: getattr(found, name) for name in names}


def _passing(op: str) -> Callable[..., Any]:
    return lambda self, path, *arguments: self._call(op, path, *arguments)


for _op in [name.removeprefix("_") for name in vars(Failing) if name.startswith("_") and hasattr(mfusepy.Operations, name[1:])]:
    setattr(Failing, _op, _passing(_op))

if __name__ == "__main__":
    mfusepy.FUSE(
        Failing(sys.argv[2], sys.argv[3]), sys.argv[1], foreground=True, nothreads=True, allow_other=False,
        attr_timeout=0, entry_timeout=0, negative_timeout=0, use_ino=True,
    )  # fmt: skip
