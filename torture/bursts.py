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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from torture.kills import QUICK, judge_disposed
from torture.oracle import judge
from torture.rig import ROOT, Broken, Golden, Watch, children, picture, rss, wait_for


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


def backlog(folder: Path, model: Path, _golden: Golden, files: int) -> tuple[int, int]:
    """``files`` that wait in the folder, names of one file: each is counted. Returns the supervisor's peak MB before, after."""
    watch = Watch(folder, model, "--settle", "3600")
    with watch:
        assert watch.process is not None
        watch.wait_ready()
        before = rss(watch.process.pid, "VmHWM")
        (folder / "one").write_bytes(picture(1))
        for number in range(files):
            os.link(folder / "one", watch.inbox / f"IMG_{number:06}.jpg")
        wait_for(lambda: watch.health()["pending"] == files, 120 + files / 500, "not all are counted")
        time.sleep(10)  # more scans
        if watch.health()["unaccounted"]:
            raise Broken("files are unaccounted for")
        peak = rss(watch.process.pid, "VmHWM")
        watch.stop()
    return before, peak


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


def throughput(folder: Path, _stub: Path, _golden: Golden, model: str, batches: int, size: int = 40) -> list[float]:
    """Ratios, watch against one `Colorizer` in one process with the same threads, batch by batch on the same pictures.

    Both are there all the time, and take turns: a machine that others use as well is not the same for two runs of a minute.
    The watch's time is from the first claim to the last output; the other's is decode, network and encode alone.
    """
    data, ratios = photographs(batches * size), []
    watch, source = Watch(folder, Path(model)), folder / "source"
    source.mkdir()
    names = [f"p{number:05}.jpg" for number in range(len(data))]
    for name, each in zip(names, data, strict=True):
        (source / name).write_bytes(each)
    with watch, Alone(model, [source / name for name in names]) as alone:
        watch.wait_ready()
        for first in range(0, len(names), size):
            for number in range(first, first + size):
                watch.put(names[number], data[number])
            while len(os.listdir(watch.outbox)) < 1 + first + size:  # cheap to look at; the state folder is one more
                time.sleep(0.2)
            time.sleep(0.2)
            times = [event["time"] for event in watch.events("claimed", "done")[-2 * size :]]
            ratios.append(alone.seconds(first, first + size) / (max(times) - min(times)))
        if watch.stop() != 0:
            raise Broken("did not stop cleanly")
    return ratios


class Alone:
    """One `Colorizer` in a process of its own, which works on request.

    In a session of its own, too, as the watch's worker is: the scheduler shares cores out by session.
    """

    def __init__(self, model: str, files: list[Path]) -> None:
        command = [sys.executable, "-m", "torture.reference", model, *map(str, files)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        )
        self._line()

    def __enter__(self) -> "Alone":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def seconds(self, first: int, last: int) -> float:
        """Seconds for these files, one after the other."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{first} {last}\n")
        self._process.stdin.flush()
        return float(self._line())


@dataclass
class Sample:
    """One look at a running watch: seconds since the first, resident kB of the supervisor and the worker, open descriptors."""

    when: float
    kb: float
    worker_kb: float
    descriptors: int
    unaccounted: int


def soak(
    folder: Path, model: Path, golden: Golden, seconds: float, rate: float, inputs: str = "keep"
) -> tuple[int, int, list[Sample]]:
    """``rate`` files a second for ``seconds``, one in a hundred bad. Returns files, files quarantined, and samples."""
    chance = random.Random(1)
    options = ("--input", "move", "--done-dir", str(folder / "gone")) if inputs == "move" else ("--input", inputs)
    watch = Watch(folder, model, *QUICK, "--incomplete-timeout", "2", *options)
    made: dict[bytes, bytes] = {}
    bad: dict[bytes, str] = {}
    samples: list[Sample] = []
    over = threading.Event()

    with watch:
        assert watch.process is not None
        watch.wait_ready()
        sampler = threading.Thread(target=_sample, args=(watch, samples, over, max(1.0, seconds / 360)))
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
    if inputs == "keep":
        judge(watch, golden, made, bad)
    else:
        judge_disposed(watch, golden, made, folder / "gone" if inputs == "move" else None, bad)
    if any(each.unaccounted for each in samples):
        raise Broken("files were unaccounted for")
    return len(made), len(bad), samples


def _sample(watch: Watch, samples: list[Sample], over: threading.Event, every: float) -> None:
    assert watch.process is not None
    pid, start = watch.process.pid, time.monotonic()
    while not over.wait(every):
        workers = max((rss_kb(child) for child in children(pid)), default=0.0)
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        unaccounted = watch.health()["unaccounted"]
        samples.append(Sample(time.monotonic() - start, rss_kb(pid), workers, descriptors, unaccounted))


def trend(samples: list[Sample]) -> str:
    """How memory and descriptors changed after the first quarter."""
    later = [each for each in samples if each.when > samples[-1].when / 4]
    hours = [each.when / 3600 for each in later]
    slope = statistics.linear_regression(hours, [each.kb / 1024 for each in later]).slope
    worker = statistics.linear_regression(hours, [each.worker_kb / 1024 for each in later]).slope
    fds = [each.descriptors for each in later]
    return (
        f"supervisor {later[0].kb / 1024:.1f} to {later[-1].kb / 1024:.1f} MB, {slope:+.2f} an hour; descriptors {min(fds)} to"
        f" {max(fds)}; worker {later[-1].worker_kb / 1024:.0f} MB, {worker:+.1f} an hour"
    )


def rss_kb(pid: int) -> float:
    """Resident memory in KB; 0 for a process that is over."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0.0)
