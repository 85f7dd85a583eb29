"""A file's generation: one state of one file, as text that is kept in the ledger and in sidecars."""

import os

from colorize_run.system import durable


def generation(status: os.stat_result) -> str:
    """Device, inode, size, modification time and change time, joined by colons. Compare it for equality only.

    No program can set the change time, so it reveals copies that restore the modification time.
    """
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"


def generation_beneath(root: int, name: bytes) -> str:
    """Generation of the file ``name`` below the folder ``root``. Errors: OSError."""
    return generation(durable.stat_beneath(root, name))


def size_of(generation: str) -> int:
    """Size in bytes."""
    return int(generation.split(":")[2])


def without_change_time(generation: str) -> str:
    """The beginning of a generation, up to its change time, which a rename sets."""
    return generation[: generation.rindex(":") + 1]
