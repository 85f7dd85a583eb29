"""What this process has of the machine: its cores, and the file descriptors that native libraries print to, past Python."""

import contextlib
import io
import math
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

_LOCK = threading.Lock()


def available_threads() -> int:
    """CPU cores that this process may use: its affinity mask, limited by the cgroup's quota where there is one.

    onnxruntime itself counts the host's cores, and collapses under a container's quota.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    return max(1, cores)


@contextlib.contextmanager
def captured_output() -> Iterator[list[str]]:
    """Collect what native code writes to file descriptors 1 and 2, and Python to stdout, meanwhile.

    onnxruntime reports a provider that does not load only there, libtiff what is wrong with a file; stdout may be carrying a
    picture. File descriptors belong to the whole process, so one thread at a time.
    """
    lines: list[str] = []
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
