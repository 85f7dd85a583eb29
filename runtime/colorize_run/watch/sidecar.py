"""Quarantine's notes: a JSON file with the reason for each input that was given up."""

import contextlib
import json
import os
import time
from typing import Any

from colorize_run.watch import durable
from colorize_run.watch.pending import Item
from colorize_run.watch.settings import shortened

_FOLDER = b"quarantine/"


def write(state: int, item: Item, err_class: str, err: str, header: dict[str, Any]) -> None:
    """Write the reason durably below the folder ``state``. Errors: OSError."""
    found = {
        "name": os.fsdecode(item.name), "name_hex": item.name.hex(), "class": err_class, "reason": err,
        "sha256": header.get("sha"), "size": int(item.gen.split(":")[2]), "generation": item.gen,
        "strikes": item.strikes, "interrupted": item.interrupted, "first_seen": item.first_seen, "last_seen": time.time(),
    }  # fmt: skip
    folder, _, base = item.name.rpartition(b"/")
    with durable.folder_beneath(state, _FOLDER + folder, make=True) as fd:
        durable.write(fd, shortened(base, b".json"), json.dumps(found, indent=1).encode() + b"\n")


def remove(state: int, name: bytes) -> None:
    """Remove the reason for an earlier quarantine of a file, if there is one."""
    folder, _, base = name.rpartition(b"/")
    with contextlib.suppress(OSError), durable.folder_beneath(state, _FOLDER + folder) as fd:
        os.unlink(shortened(base, b".json"), dir_fd=fd)
