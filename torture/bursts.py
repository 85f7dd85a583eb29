"""Many files: a flood while the watch is stopped, latency, throughput against one process, and a long soak."""

import io
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from torture.kills import QUICK
from torture.rig import ROOT, Broken, Golden, Watch, children, judge, picture, rss, wait_for


def flood(folder: Path, model: Path, golden: Golden, files: int) -> tuple[float, int, int]:
    """``files`` dropped while the process is stopped. Returns seconds a file, and the supervisor's peak MB before, after."""
    watch = Watch(folder, model, "--min-free", "0")
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        before = rss(watch.process.pid, "VmHWM")
        watch.process.send_signal(signal.SIGSTOP)
        made = {}
        for number in range(files):
            name, data = f"f{number}.jpg", picture(number % 300)
            (watch.inbox / name).write_bytes(data)
            made[name.encode()] = data
        start = time.monotonic()
        watch.process.send_signal(signal.SIGCONT)
        while sum(row["state"] == "done" for row in watch.rows().values()) < files:
            if time.monotonic() - start > 60 + files * 0.2:
                raise Broken(f"not done in time: {watch.health()}")
            if watch.health()["unaccounted"]:
                raise Broken("files are unaccounted for")
            time.sleep(1 + files / 10_000)
        seconds = time.monotonic() - start
        peak = rss(watch.process.pid, "VmHWM")
        watch.stop()
    judge(watch, golden, made)
    return seconds / files, before, peak


def latency(folder: Path, model: Path, _golden: Golden, files: int, others: int = 0) -> list[float]:
    """Seconds from a file's closing to its claim, sorted; half are renamed in, half written in place; default options.

    ``others`` files lie in the folder already, done.
    """
    watch, closed, chance = Watch(folder, model), {}, random.Random(1)
    for number in range(others):
        watch.put(f"old{number}.jpg", picture(0))
    with watch:
        watch.wait_ready().wait_quiet(60 + others * 0.1)
        for number in range(files):
            name = f"l{number}.jpg"
            if number % 2:
                watch.put(name, picture(number % 300))
            else:
                (watch.inbox / name).write_bytes(picture(number % 300))
            closed[name] = time.time()
            time.sleep(chance.uniform(0.05, 0.3))
        watch.wait_quiet()
        claims = {event["name"]: event["time"] for event in watch.events("claimed")}
        watch.stop()
    return sorted(claims[name] - when for name, when in closed.items())


def photographs(count: int) -> list[bytes]:
    """Grey JPEGs of 640 x 480, all different."""
    with Image.open(ROOT / "docs" / "samples" / "coffee.jpg") as sample:
        base = np.asarray(sample.resize((640, 480)).convert("L"))
    found = []
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 6, (480, 640))
        file = io.BytesIO()
        Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        found.append(file.getvalue())
    return found


def throughput(folder: Path, _stub: Path, _golden: Golden, model: str, files: int, rounds: int) -> list[float]:
    """Ratios, watch against one `Colorizer` in one process with the same threads, round by round, on the same pictures.

    The watch's time is from its first claim to its last output; the other's is decode, network and encode alone.
    """
    data, ratios = photographs(files), []
    for number in range(rounds):
        place = folder / str(number)
        watch = Watch(place, Path(model), "--once")
        for index, each in enumerate(data):
            watch.put(f"p{index}.jpg", each)
        if watch.run_once(600) != 0:
            raise Broken("the watch failed")
        events = watch.events("claimed", "done")
        watched = max(event["time"] for event in events) - min(event["time"] for event in events)
        # In a session of its own, as the watch's worker is: the scheduler shares cores out by session.
        command = [sys.executable, "-m", "torture.reference", model, *map(str, sorted(watch.inbox.iterdir()))]
        alone = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, start_new_session=True)
        ratios.append(float(alone.stdout) / watched)
    return ratios


def soak(folder: Path, model: Path, golden: Golden, seconds: float, rate: float) -> dict[str, float]:
    """``rate`` files a second for ``seconds``, one in a hundred bad. Returns files, RSS slope in MB an hour, descriptors."""
    chance = random.Random(1)
    watch = Watch(folder, model, *QUICK, "--incomplete-timeout", "2")
    made: dict[bytes, bytes] = {}
    bad: dict[bytes, str] = {}
    samples: list[tuple[float, float, int, float]] = []  # seconds, KB, descriptors, the worker's MB
    over = threading.Event()

    def sample() -> None:
        assert watch.process is not None
        pid, start = watch.process.pid, time.monotonic()
        while not over.wait(max(1.0, seconds / 200)):
            workers = [rss(child) for child in children(pid)]
            samples.append((time.monotonic() - start, rss_kb(pid), len(os.listdir(f"/proc/{pid}/fd")), max(workers, default=0)))
            if watch.health()["unaccounted"]:
                samples.append((-1, 0, 0, 0))

    with watch:
        watch.wait_ready()
        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            start, number = time.monotonic(), 0
            while time.monotonic() - start < seconds:
                name, data = f"s{number}.jpg", picture(number % 300)
                if chance.random() < 0.01:
                    data = data[: len(data) // 2]
                    bad[name.encode()] = "undecodable"
                watch.put(name, data)
                made[name.encode()] = data
                number += 1
                time.sleep(max(0.0, start + number / rate - time.monotonic()))
            wait_for(watch.is_quiet, 60, "not done in time")
        finally:
            over.set()
            sampler.join()
        watch.stop()
    judge(watch, golden, made, bad)
    return {
        "files": float(len(made)),
        "bad": float(len(bad)),
        **_trend([each for each in samples if each[0] > seconds / 4], samples),
    }


def _trend(later: list[tuple[float, float, int, float]], samples: list[tuple[float, float, int, float]]) -> dict[str, float]:
    """What memory and descriptors did after the first quarter."""
    if any(when < 0 for when, *_ in samples):
        raise Broken("files were unaccounted for")
    slope = statistics.linear_regression([each[0] / 3600 for each in later], [each[1] / 1024 for each in later]).slope
    return {
        "slope": slope, "rss": later[-1][1] / 1024, "fds_first": float(later[0][2]),
        "fds_most": float(max(each[2] for each in later)), "worker": float(later[-1][3]),
    }  # fmt: skip


def rss_kb(pid: int) -> float:
    """Resident memory in KB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmRSS"))
