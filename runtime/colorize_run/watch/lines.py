"""Writing to stderr without ever waiting for whoever reads it: a log that nobody takes shall not stop the work."""

import contextlib
import os
import select
import stat
import sys

_CHUNK = select.PIPE_BUF  # what a pipe takes at once if it takes anything


class Lines:
    """Lines on stderr; ``dropped`` counts those that found no room, as in a full pipe whose reader has stopped."""

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""  # of a line that was cut off, which comes before any other
        self._fd, self._owned = _stderr()
        self._room = select.poll()
        if self._fd is not None:
            self._room.register(self._fd, select.POLLOUT)

    def write(self, text: str) -> bool:
        """Write one line, or drop it; whether it was written."""
        data = text.encode(errors="backslashreplace")
        if self._rest:
            self._rest = self._push(self._rest)
        left = data if self._rest else self._push(data)
        if left == data:
            self.dropped += 1
            return False
        self._rest = left
        return True

    def _push(self, data: bytes) -> bytes:
        """What is left of ``data`` after writing as much as there is room for."""
        with contextlib.suppress(OSError):  # another writer was faster, or nobody is there any more
            while data and self._fd is not None and self._room.poll(0):
                data = data[os.write(self._fd, data[:_CHUNK]) :]
        return data

    def close(self) -> None:
        """Give the descriptor back."""
        if self._owned and self._fd is not None:
            os.close(self._fd)
        self._fd = None


def _stderr() -> tuple[int | None, bool]:
    """A descriptor for stderr, and whether it is ours alone.

    A pipe is opened once more, as waiting is a property of the opening, which others may share.
    """
    try:
        fd = sys.stderr.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    except (AttributeError, OSError, ValueError):
        return None, False
    if is_pipe:
        with contextlib.suppress(OSError):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC), True
    return fd, False
