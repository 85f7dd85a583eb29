"""How glibc keeps memory for a training on a CPU."""

import os
import sys


def restart_with_cached_memory() -> None:
    """Restart this process with a glibc that keeps freed memory, unless its environment already decides that.

    PyTorch has no caching allocator on the CPU: each large activation is mapped and unmapped again, which made
    epochs 1.6 to 3 times as long. glibc reads these variables only when a process starts.
    """
    settings = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "536870912"}
    if sys.platform == "linux" and not any(name in os.environ for name in settings):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **settings})  # noqa: S606 - our own command line again
