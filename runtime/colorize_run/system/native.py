"""What native libraries print, past Python, to the file descriptors of this process."""

import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_LOCK = threading.Lock()
_own_process = threading.Event()


def own_process() -> None:
    """Say that this process is a command or a worker of ours: nobody else's output passes through its descriptors."""
    _own_process.set()


def is_own_process() -> bool:
    """Whether `own_process` was called; else this is a library in somebody's program."""
    return _own_process.is_set()


@contextlib.contextmanager
def captured_output() -> Iterator[list[str]]:
    """Collect what native code writes to file descriptors 1 and 2, and Python to stdout, meanwhile.

    onnxruntime reports a provider that does not load only there, libtiff what is wrong with a file; stdout may be carrying a
    picture. File descriptors belong to the whole process, so one thread at a time, and nothing is collected in a program of
    others, whose threads and children write there too.
    """
    lines: list[str] = []
    if not is_own_process():
        yield lines
        return
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.flush()
    with _LOCK, tempfile.TemporaryFile() as file:
        saved = {}
        for fd in (1, 2):
            with contextlib.suppress(OSError):  # closed by the caller
                saved[fd] = os.dup(fd)
        python_output = io.StringIO()
        try:
            for fd in saved:
                os.dup2(file.fileno(), fd)
            with contextlib.redirect_stdout(python_output):
                yield lines
        finally:
            for fd, copy in saved.items():
                os.dup2(copy, fd)
                os.close(copy)
            file.seek(0)
            lines += (file.read().decode(errors="replace") + python_output.getvalue()).splitlines()
