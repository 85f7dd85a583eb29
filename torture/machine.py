"""Faults of the machine: clocks that jump, slow disks, a C library whose calls fail at random."""

import functools
import glob
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

from torture.faults import NO_RESERVE, failing
from torture.kills import QUICK, fill
from torture.oracle import judge
from torture.rig import Broken, Golden, Watch, picture

JUMPS = (-86_400, 86_400, -315_360_000, 315_360_000, 3_000_000_000)  # seconds
MTIMES = (-2_177_452_800, 0, 4_294_967_296, 9_000_000_000)  # 1901, 1970, 2106, 2255


@functools.cache
def no_faketime() -> str:
    """Why clocks cannot be moved here; empty if they can."""
    return "" if _faketime() else "needs libfaketime"


def _faketime() -> str:
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1") + glob.glob("/usr/lib/faketime/libfaketime.so.1")), "")


def jumping_clock(folder: Path, model: Path, golden: Golden, seed: int, jumps: int = 4) -> None:
    """The wall clock jumps by days and decades while files of all times come: each is done once, and nothing else happens."""
    chance = random.Random(seed)
    stamp = folder / "stamp"
    watch = Watch(
        folder, model, *QUICK, LD_PRELOAD=_faketime(), FAKETIME_TIMESTAMP_FILE=str(stamp), FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1", NO_FAKE_STAT="1",
    )  # fmt: skip
    stamp.write_text("+0\n")
    made: dict[bytes, bytes] = {}
    with watch:
        watch.wait_ready()
        for jump in chance.sample(JUMPS, jumps):
            fresh = fill(watch, 4, len(made))
            for name, when in zip(fresh, MTIMES, strict=True):
                os.utime(watch.inbox / os.fsdecode(name), (when, when))
            made |= fresh
            time.sleep(chance.uniform(0.0, 0.3))
            moved = stamp.with_suffix(".new")
            moved.write_text(f"{jump:+d}\n")
            moved.replace(stamp)
        watch.wait_quiet()
        time.sleep(1.2)  # another scan
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made)
    times = [event["time"] for event in watch.events()]
    if max(times) - min(times) < 80_000:
        raise Broken("the clock did not jump: this proves nothing")
    if len(watch.events("done", "same")) != len(made) or watch.events("quarantined", "strike", "vanished", "blocked"):
        raise Broken("a jump of the clock had an effect")


def slow_disk(folder: Path, model: Path, golden: Golden, side: str, call: str, seconds: float) -> float:
    """One kind of system call takes long on the input's or output's disk: all is done, health stays true.

    Returns the seconds that the last scan took.
    """
    backing, control = folder / "backing", folder / "control"
    with failing(folder / ("in" if side == "input" else "out"), backing, control):
        watch = Watch(folder, model, *NO_RESERVE, "--remote-settle", "0.3", state=folder / "state")
        with watch:
            watch.wait_ready()
            control.write_text(f"{call} delay {seconds}")
            made = {}
            for number in range(4):
                name, data = f"p{number}.jpg", picture(number)
                made[name.encode()] = data
                if side == "input":
                    (backing / name).write_bytes(data)
                else:
                    watch.put(name, data)
            end = time.monotonic() + 30 + 60 * seconds
            while not watch.is_quiet():
                health = watch.health()
                if not health["healthy"] or health["blocked"]:
                    raise Broken(f"a slow disk was taken for a broken one: {health}")
                if time.monotonic() > end:
                    raise Broken(f"not done in time: {health}")
                time.sleep(0.1)
            control.unlink()
            if watch.stop(60) != 0:
                raise Broken("did not stop cleanly")
        judge(watch, golden, made)
    if watch.events("strike", "quarantined", "vanished"):
        raise Broken("a slow disk was held against a file")
    return float(watch.health()["scan_seconds"])


@functools.cache
def no_fiu() -> str:
    """Why calls of the C library cannot be made to fail here; empty if they can."""
    return "" if shutil.which("fiu-run") and shutil.which("fiu-ctrl") else "needs fiu-run and fiu-ctrl (fiu-utils)"


def failing_library(folder: Path, model: Path, golden: Golden, seed: int, faults: str, share: float) -> int:
    """Calls of the C library (``faults``, as libfiu names them) fail at random in supervisor and worker, then no more.

    Neither ends but by a code of its own. Files that were given up meanwhile are done once they are retried. Returns how
    many those were.
    """
    watch = Watch(folder, model, *NO_RESERVE, "--incomplete-timeout", "600")
    pipes = folder / "fiu"
    watch._command[:0] = ["fiu-run", "-x", "-f", str(pipes)]
    made = fill(watch, 3)
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        health = watch.health()
        for pid in (health["pid"], *health["workers"]):
            _control(pipes, pid, f"enable_random name={faults},probability={share}")
        made |= fill(watch, 20, 3)
        time.sleep(2.5)
        if watch.process.poll() is not None:
            raise Broken(f"the supervisor ended with {watch.process.returncode}")
        _control(pipes, health["pid"], f"disable name={faults}")
        for pid in health["workers"]:
            if Path(f"/proc/{pid}").exists():
                _control(pipes, pid, f"disable name={faults}")
        watch.wait_quiet(90)
        given_up = [name for name, row in watch.rows().items() if row["state"] == "quarantined"]
        if given_up:
            subprocess.run([*watch._command[4:7], "watch", "retry", watch.outbox, "--all"], check=True, capture_output=True)
            watch.wait_quiet(90)
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made)
    return len(given_up)


def scarce_memory(folder: Path, model: Path, golden: Golden) -> None:
    """The supervisor runs out of memory while it reads answers, and at its ledger: each file is done all the same, and soon."""
    watch = Watch(folder, model, *QUICK, site="memory")
    made = fill(watch, 60)
    with watch:
        watch.wait_quiet(60)
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    judge(watch, golden, made)
    if len(watch.events("bug")) != 10 or watch.events("strike"):
        raise Broken("the supervisor's memory was held against a file, or never scarce")


def _control(pipes: Path, pid: int, command: str) -> None:
    subprocess.run(["fiu-ctrl", "-f", pipes, "-c", command, str(pid)], check=False, capture_output=True, timeout=20)
