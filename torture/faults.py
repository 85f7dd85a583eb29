"""Faults of the environment: full and read-only disks, folders that vanish, failing system calls, damaged ledgers."""

import contextlib
import errno
import functools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CalledProcessError

from torture.kills import QUICK, fill
from torture.oracle import judge
from torture.rig import ROOT, Broken, Golden, Watch, mounted, picture, wait_for

HEALING = 5.0  # seconds after a fault is gone, within which work must go on
NO_RESERVE = (*QUICK, "--min-free", "0")


@functools.cache
def no_mounts() -> str:
    """Why file systems cannot be mounted here; empty if they can."""
    if os.geteuid() != 0:
        return "mounts need root"
    with tempfile.TemporaryDirectory() as place:
        try:
            with mounted(Path(place), "tmpfs", "tmpfs", "size=64k"):
                return ""
        except (OSError, CalledProcessError):
            return "mounts are not allowed here"


@functools.cache
def no_fuse() -> str:
    """Why FUSE does not work here; empty if it does."""
    if reason := no_mounts():
        return reason
    with tempfile.TemporaryDirectory() as place:
        try:
            with failing(Path(place) / "mount", Path(place) / "backing", Path(place) / "control"):
                return ""
        except (OSError, Broken):
            return "needs mfusepy, libfuse and /dev/fuse"


def _resumes(watch: Watch, since: float) -> float:
    """Seconds from the fault's end to the first output after it. Errors: Broken after HEALING."""
    done = len(watch.events("done"))
    wait_for(lambda: len(watch.events("done")) > done, HEALING, "work does not go on after healing")
    return time.monotonic() - since


def _end(watch: Watch, golden: Golden, made: dict[bytes, bytes]) -> None:
    watch.wait_quiet(90)
    if watch.stop() != 0:
        raise Broken("did not stop cleanly")
    judge(watch, golden, made)
    if watch.health()["unaccounted"]:
        raise Broken("files are unaccounted for")


def ballast(folder: Path) -> Path:
    """A file that takes all the space there is."""
    path = folder / ".ballast"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


def full_output(folder: Path, model: Path, golden: Golden, kind: str) -> float:
    """No bytes (``kind`` bytes) or no inodes left for outputs, then freed. Returns the seconds until work went on."""
    options = "size=1m" if kind == "bytes" else "size=8m,nr_inodes=12"
    with mounted(folder / "out", "tmpfs", "tmpfs", options):
        watch = Watch(folder, model, *NO_RESERVE, state=folder / "state")
        with watch:
            watch.wait_ready()
            if kind == "bytes":
                extra = [ballast(watch.outbox)]
            else:
                extra = [watch.outbox / f".x{number}" for number in range(30)]
                with contextlib.suppress(OSError):
                    for path in extra:
                        path.touch()
            made = fill(watch, 8)
            watch.wait_event("blocked", 10)
            time.sleep(1)
            if left := [path.name for path in watch.outbox.iterdir() if path not in extra]:
                raise Broken(f"on a full disk there are {left}")
            for path in extra:
                path.unlink(missing_ok=True)
            seconds = _resumes(watch, time.monotonic())
            if any(row["strikes"] for row in watch.rows().values()):
                raise Broken("a full disk was held against a file")
            _end(watch, golden, made)
    return seconds


def full_state(folder: Path, model: Path, golden: Golden) -> float:
    """No space for the ledger, then freed."""
    with mounted(folder / "state", "tmpfs", "tmpfs", "size=6m") as state:
        watch = Watch(folder, model, *NO_RESERVE, state=state)
        with watch:
            watch.wait_ready()
            made = fill(watch, 3)
            watch.wait_quiet()
            stuffing = ballast(state)
            made |= fill(watch, 200, 3)
            watch.wait_event("blocked", 30)
            time.sleep(1)
            done = {row["out"] for row in watch.rows().values() if row["state"] == "done"}
            written = {os.fsencode(path.name) for path in watch.outbox.iterdir()}
            if len(written - done) > 4:
                raise Broken(f"{len(written - done)} outputs were written without a record")
            stuffing.unlink()
            seconds = _resumes(watch, time.monotonic())
            _end(watch, golden, made)
    return seconds


def read_only_output(folder: Path, model: Path, golden: Golden) -> float:
    """The output's disk becomes read-only, and is repaired."""
    with mounted(folder / "out", "tmpfs", "tmpfs", "size=8m") as out:
        watch = Watch(folder, model, *NO_RESERVE, state=folder / "state")
        with watch:
            watch.wait_ready()
            made = fill(watch, 3)
            watch.wait_quiet()
            subprocess.run(["mount", "-o", "remount,ro", str(out)], check=True, capture_output=True)
            made |= fill(watch, 5, 3)
            watch.wait_event("blocked", 10, why="output")
            time.sleep(1)
            subprocess.run(["mount", "-o", "remount,rw", str(out)], check=True, capture_output=True)
            seconds = _resumes(watch, time.monotonic())
            _end(watch, golden, made)
    return seconds


def output_gone(folder: Path, model: Path, golden: Golden, how: str) -> float:
    """The output folder is renamed away (``how`` moved) or replaced by a link (linked) while it runs, then put back."""
    watch = Watch(folder, model, *NO_RESERVE, state=folder / "state")
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(parents=True)
    with watch:
        watch.wait_ready()
        made = fill(watch, 3)
        watch.wait_quiet()
        watch.outbox.rename(folder / "aside")
        if how == "linked":
            watch.outbox.symlink_to(elsewhere)
        made |= fill(watch, 5, 3)
        watch.wait_event("blocked", 10, why="output")
        time.sleep(1)
        if list(elsewhere.iterdir()):
            raise Broken("outputs were written through a link")
        if how == "linked":
            watch.outbox.unlink()
        (folder / "aside").rename(watch.outbox)
        seconds = _resumes(watch, time.monotonic())
        _end(watch, golden, made)
    return seconds


def source_gone(folder: Path, model: Path, golden: Golden, how: str) -> float:
    """The input folder's mount goes away (``how`` unmounted) or its folder is renamed (moved); nothing is inferred from it."""
    backing = folder / "backing"
    backing.mkdir(parents=True)
    bind = mounted(folder / "in", "none", str(backing), "bind") if how == "unmounted" else contextlib.nullcontext()
    with bind:
        watch = Watch(folder, model, *QUICK)
        with watch:
            watch.wait_ready()
            made = fill(watch, 10)
            watch.wait_quiet()
            done = len(watch.events("claimed"))
            if how == "unmounted":
                subprocess.run(["umount", "-l", str(watch.inbox)], check=True, capture_output=True)
            else:
                watch.inbox.rename(folder / "aside")
            watch.wait_event("source_lost", 10)
            time.sleep(1)
            if how == "unmounted":
                subprocess.run(["mount", "--bind", str(backing), str(watch.inbox)], check=True, capture_output=True)
            else:
                (folder / "aside").rename(watch.inbox)
            since = time.monotonic()
            made |= fill(watch, 5, 10)
            seconds = _resumes(watch, since)
            watch.wait_quiet()
            if len(watch.events("claimed")) != done + 5:
                raise Broken("files that were done were worked on again")
            if watch.events("vanished") or any(row["gone"] for row in watch.rows().values()):
                raise Broken("files were taken for deleted")
            _end(watch, golden, made)
    return seconds


def damaged_ledger(folder: Path, model: Path, golden: Golden, seed: int) -> str:
    """The ledger is damaged, cut off or removed between two runs: rebuilt or refused, and every output right in the end."""
    chance = random.Random(seed)
    watch = Watch(folder, model, *QUICK, "--once")
    made = fill(watch, 10)
    if watch.run_once() != 0:
        raise Broken("the first run failed")
    path = watch.state / "ledger.db"
    data = bytearray(path.read_bytes())
    how = chance.choice(("flipped", "cut", "removed", "emptied", "text"))
    if how == "flipped":
        for _ in range(chance.randint(1, 2000)):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del data[chance.randrange(1, len(data)) :]
    elif how == "text":
        data = bytearray(b"this is no database\n" * 200)
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(b"" if how == "emptied" else data)
    made |= fill(watch, 3, 10)
    made[b"p0.jpg"] = picture(200)
    watch.put("p0.jpg", made[b"p0.jpg"])
    code = watch.run_once()
    if code == 73:  # refused: a person must say that what is there may be replaced
        watch.log.unlink()  # it holds a sentence
        code = Watch(folder, model, *QUICK, "--once", "--adopt").run_once()
        how += ", refused"
    if code != 0:
        raise Broken(f"{how}: exit code {code}")
    judge(watch, golden, made)
    return how


def two_at_once(folder: Path, model: Path, golden: Golden) -> None:
    """A second watch on the same folders ends with 75, whatever its state folder; the first one continues."""
    watch = Watch(folder, model, *QUICK)
    made = fill(watch, 5)
    with watch:
        watch.wait_ready()
        for state in (None, folder / "other"):
            second = Watch(folder, model, *QUICK, "--adopt", state=state)
            second.log = folder / "second"  # one sentence for a person, no JSON
            if second.run_once() != 75:
                raise Broken("two watches run at once")
            second.log.unlink()
        _end(watch, golden, made)


def lost_device(folder: Path, model: Path, golden: Golden, device: str) -> None:
    """CUDA fails during the work, and in new workers: ``auto`` continues with the CPU and reports it, ``cuda`` ends with 69."""
    watch = Watch(folder, model, *QUICK, "--device", device, site="gpu", TORTURE_GPU="4")
    watch.log = folder / "log"
    made = fill(watch, 12)
    with watch:
        assert watch.process is not None
        if device == "cuda":
            if watch.process.wait(30) != 69:
                raise Broken(f"exit code {watch.process.returncode}")
            rows = watch.rows()
            if any(row["strikes"] or row["state"] == "quarantined" for row in rows.values()):
                raise Broken("a lost device was held against a file")
            return
        watch.wait_event("degraded", 30)
        watch.wait_quiet()
        wait_for(lambda: watch.health()["degraded"] == 1.0 and watch.health()["provider"]["actual"] == "cpu", 6, "not reported")
        _end(watch, golden, made)
    if watch.events("strike"):
        raise Broken("a lost device was held against a file")


@contextlib.contextmanager
def failing(mount: Path, backing: Path, control: Path) -> Iterator[None]:
    """A FUSE mount that fails as ``control`` says. Errors: OSError where there is no FUSE."""
    for path in (mount, backing):
        path.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "torture.fuse", str(mount), str(backing), str(control)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT,
    )  # fmt: skip
    try:
        wait_for(lambda: os.path.ismount(mount) or process.poll() is not None, 10, "FUSE does not mount")
        if process.poll() is not None:
            raise OSError(errno.ENODEV, "FUSE does not work here")
        yield
    finally:
        control.unlink(missing_ok=True)
        subprocess.run(["umount", "-l", str(mount)], check=False, capture_output=True)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
