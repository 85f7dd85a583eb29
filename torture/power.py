"""Power cuts: what a disk held at one moment, without what the kernel had not sent it.

An image file with the watch's file system lies on XFS with reflinks; a cut is a copy of the image by reference, made
in one instant and behind the back of the file system within, then mounted and looked at.
"""

import contextlib
import functools
import hashlib
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from torture.faults import no_mounts
from torture.kills import fill
from torture.rig import Broken, Golden, Watch, unmount

INNER = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}


@functools.cache
def missing() -> str:
    """Why the rig cannot be set up here; empty if it can."""
    if reason := no_mounts():
        return reason
    for tool in ("mkfs.xfs", "mkfs.ext4", "losetup"):
        if not shutil.which(tool):
            return f"needs {tool}"
    with tempfile.TemporaryDirectory() as place:
        try:
            with rig(Path(place), "ext4"):
                return ""
        except (OSError, subprocess.CalledProcessError):
            return "loop mounts of XFS are not possible here"


def _run(*command: str | Path) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def _looped(image: Path, folder: Path, *, direct: bool, options: str = "") -> Iterator[Path]:
    """An image mounted by a loop device of its own; both are gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    device = _run("losetup", "-f", "--show", *(["--direct-io=on"] if direct else []), image)
    try:
        _run("mount", *(["-o", options] if options else []), device, folder)
        try:
            yield folder
        finally:
            unmount(folder)
    finally:
        subprocess.run(["losetup", "-d", device], check=False, capture_output=True)


@contextlib.contextmanager
def rig(folder: Path, inner: str) -> Iterator[tuple[Path, Path]]:
    """The inner file system's mount, and its image. Errors: CalledProcessError where loop mounts are not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    outer = folder / "outer.img"
    with outer.open("wb") as file:
        file.truncate(2 << 30)
    _run("mkfs.xfs", "-q", "-f", "-m", "reflink=1", outer)
    with _looped(outer, folder / "outer", direct=False) as place:
        image = place / "inner.img"
        with image.open("wb") as file:
            file.truncate(400 << 20)
        _run(*INNER[inner], image)
        with _looped(image, folder / "inner", direct=True) as mount:
            yield mount, image


def cuts(
    folder: Path, model: Path, golden: Golden, seed: int, trials: int, inner: str, inputs: str = "keep", site: str = ""
) -> int:
    """Cut the power ``trials`` times at random while files come and are done; returns the number of done rows checked.

    ``site`` nosync is the control: there fsync does nothing, and losses must be found.
    Every row that says done has its output, whole and right; every input that is gone has one.
    """
    chance, checked = random.Random(seed), 0
    with rig(folder, inner) as (mount, image):
        place = mount / "watch"
        options = ["--settle", "0.05", "--poll", "0.05", "--min-free", "0"]
        if inputs == "move":
            (mount / "gone").mkdir()
            options += ["--input", "move", "--done-dir", str(mount / "gone")]
        elif inputs == "delete":
            options += ["--input", "delete"]
        watch = Watch(place, model, *options, site=site)
        watch.log = folder / "log"
        made: dict[bytes, bytes] = {}
        with watch:
            watch.wait_ready()
            for _ in range(trials):
                made |= fill(watch, chance.randint(2, 6), len(made))
                _run("sync", "-f", mount)  # the producer's own durability; the watch's is what is tested
                time.sleep(chance.uniform(0.0, 0.35))
                snapshot = image.with_name("snapshot.img")
                _run("cp", "--reflink=always", image, snapshot)
                options_of_mount = "nouuid" if inner == "xfs" else ""
                with _looped(snapshot, folder / "snapshot", direct=False, options=options_of_mount) as after:
                    checked += _check(after / "watch", golden, made, moved=after / "gone" if inputs == "move" else None)
                snapshot.unlink()
            watch.stop()
    return checked


def _check(place: Path, golden: Golden, made: dict[bytes, bytes], moved: Path | None) -> int:
    """Judge what a power cut left; returns the number of done rows."""
    copy = place / "copy"  # the journal of the ledger is replayed by opening it
    shutil.copytree(place / "out" / ".colorize-run", copy)
    with contextlib.closing(sqlite3.connect(copy / "ledger.db")) as database:
        if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise Broken("the ledger is damaged")
        done = [name for (name,) in database.execute("SELECT name FROM file WHERE state='done'")]
    for name in done:
        path = place / "out" / os.fsdecode(name)
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != golden(made[name]):
            raise Broken(f"{name!r} is done, says the ledger, but has no right output")
    for name, data in made.items():
        if not (place / "in" / os.fsdecode(name)).exists() and not list((place / "in").glob(".cz-gone-*")):
            if moved and not (moved / os.fsdecode(name)).exists():
                raise Broken(f"the input {name!r} is neither in the inbox nor where it was moved to")
            path = place / "out" / os.fsdecode(name)
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != golden(data):
                raise Broken(f"the input {name!r} is gone, and has no output")
    return len(done)
