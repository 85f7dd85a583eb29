"""Faults of a FUSE mount: system calls that fail for a while, and a share that another machine writes to."""

import errno
import os
import time
from pathlib import Path

from torture.faults import HEALING, NO_RESERVE, _end, failing
from torture.oracle import check_outputs
from torture.rig import Broken, Golden, Watch, picture, wait_for

OUTPUT_CALLS = ("open", "write", "fsync", "rename", "unlink", "stat")
INPUT_CALLS = ("open", "read", "readdir", "stat")
ERRNOS = (errno.EIO, errno.EACCES, errno.ENOSPC, errno.EROFS, errno.ESTALE)


def failing_call(folder: Path, model: Path, golden: Golden, side: str, call: str, number: int, share: float) -> float:
    """One kind of system call fails on the input or output folder's file system, for a while, then heals."""
    backing, control = folder / "backing", folder / "control"
    mount = folder / ("in" if side == "input" else "out")
    with failing(mount, backing, control):
        options = (*NO_RESERVE, "--remote-settle", "0.3")
        watch = Watch(folder, model, *options, state=folder / "state")
        with watch:
            watch.wait_ready()
            made = _behind(watch, backing, side, 0, 3)
            watch.wait_quiet()
            hidden = control.with_suffix(".new")
            hidden.write_text(f"{call} {number} {share}")
            hidden.rename(control)
            made |= _behind(watch, backing, side, 3, 8)
            time.sleep(2.0)
            done = len(watch.events("done"))
            control.unlink()
            since = time.monotonic()
            wait_for(lambda: len(watch.events("done")) > done or watch.is_quiet(), HEALING, "work does not go on after healing")
            seconds = time.monotonic() - since
            watch.wait_quiet(60)
            if any(row["state"] == "quarantined" for row in watch.rows().values()):
                raise Broken("a fault of the surroundings was held against a file")
            _end(watch, golden, made)
        if side == "output":
            check_outputs(watch, golden)
    return seconds


def _behind(watch: Watch, backing: Path, side: str, first: int, last: int) -> dict[bytes, bytes]:
    """Pictures for the inbox; behind the mount's back where that is the one that fails, as another machine would."""
    made = {}
    for number in range(first, last):
        name = f"p{number}.jpg"
        made[name.encode()] = picture(number)
        if side == "input":
            (backing / f".{name}").write_bytes(picture(number))
            (backing / f".{name}").rename(backing / name)
        else:
            watch.put(name, picture(number))
    return made


def remote_writer(folder: Path, model: Path, golden: Golden, files: int) -> None:
    """A share whose files are written slowly by another machine: no events, and leases that are wrongly granted.

    Half of them have their full size and an old time from the start, as Windows copies do.
    """
    with failing(folder / "in", folder / "backing", folder / "control"):
        watch = Watch(folder, model, "--poll", "0.1", "--remote-settle", "1.0")
        made = {f"p{number}.bmp": picture(number, ".bmp") for number in range(files)}
        with watch:
            watch.wait_ready()
            for part in range(4):
                for number, (name, data) in enumerate(made.items()):
                    _write_part(folder / "backing" / name, data, part, preallocated=number % 2 == 0)
                time.sleep(0.4)
            _end(watch, golden, {name.encode(): data for name, data in made.items()})
        if watch.events("quarantined"):
            raise Broken("a slow writer's file was quarantined")
        if {event["out_sha"] for event in watch.events("done")} != {golden(data) for data in made.values()}:
            raise Broken("an output came from a half-written file")


def _write_part(path: Path, data: bytes, part: int, *, preallocated: bool) -> None:
    """One of four parts of a file, and its time put back if it has its full size from the start."""
    size = -(-len(data) // 4)
    if part == 0:
        path.write_bytes(bytes(len(data)) if preallocated else b"")
    with path.open("r+b") as file:
        file.seek(part * size)
        file.write(data[part * size : (part + 1) * size])
    if preallocated:
        os.utime(path, (1e9, 1e9))
