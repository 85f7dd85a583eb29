"""The times of an input, which its output gets before it has its name (--keep-times)."""

import os
from pathlib import Path

Times = tuple[int, int]  # of access and of modification, in ns since 1970

NOT_HELD = "the file system of the output cannot hold the time of the input"
_STEP = 2_000_000_000  # ns: the coarsest time of modification, FAT's


def times_of(fd: int) -> Times:
    """The times of an open file."""
    status = os.fstat(fd)
    return status.st_atime_ns, status.st_mtime_ns


def give_times(file: int | Path, times: Times | None) -> bool:
    """Give a file, which is open or has this name, ``times``; whether it has them now. None changes nothing."""
    if times is None:
        return True
    try:
        if os.stat(file).st_mtime_ns != times[1]:
            os.utime(file, ns=times)
        return abs(os.stat(file).st_mtime_ns - times[1]) <= _STEP  # a time out of range becomes the nearest one in range
    except (OSError, OverflowError):
        return False
