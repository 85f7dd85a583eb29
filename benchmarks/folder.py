"""Speed of a folder by the number of jobs: ``python -m benchmarks.folder [--pictures N] [--jobs N] [--rounds N]``.

Grey JPEGs of two megapixels: photographs, enlarged, each with grain of its own. Round by round and in turn, whole processes
are timed; their start, which does not depend on the number of pictures, is timed on one picture and taken off. Quoted are
medians of the rounds' ratios to ``--jobs 1`` as a person would run it: one process with a thread for each core.

Beside it, what this machine can do at best: as many programs as there are jobs that know nothing of each other, each with one
thread and its share of the pictures, against one such program; and designs that were not taken: threads that share one
session, and decoding, network and encoding in processes of their own.
"""

import contextlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from colorize_run import Colorizer
from colorize_run.network import Prediction
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"
SIZE = (1632, 1224)


def make(folder: Path, count: int) -> None:
    """Grey JPEGs, no two alike."""
    bases = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        with Image.open(path) as photograph:
            bases.append(np.asarray(photograph.convert("L").resize(SIZE, Image.Resampling.BICUBIC), np.int16))
    for number in range(count):
        random = np.random.default_rng(number)
        grain = random.integers(-12, 13, (SIZE[1], SIZE[0]), np.int16)
        pixels = (np.roll(bases[number % len(bases)], number, axis=1) + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=90)


def program(source: Path, jobs: int, core: int | None = None) -> list[str]:
    """The command that does a folder; with ``core``, held to one core."""
    cores = sorted(os.sched_getaffinity(0))
    limit = f"os.sched_setaffinity(0, [{cores[core % len(cores)]}]); " if core is not None else ""
    code = f"import os, sys; {limit}from colorize_run.cli import main; main(sys.argv[1:])"
    target = source.parent / f"out-{source.name}"
    return [sys.executable, "-c", code, str(source), "-o", str(target), "--jobs", str(jobs), "--device", "cpu"]


def timed(*commands: list[str]) -> float:
    """Seconds until all programs have ended, side by side; their outputs are gone afterwards."""
    start = time.perf_counter()
    running = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    took = time.perf_counter() - start
    if any(codes):
        raise click.ClickException(f"a program ended with exit codes {codes}")
    for command in commands:
        shutil.rmtree(command[5])
    return took


def parts(folder: Path, jobs: int) -> list[Path]:
    """The same pictures in as many folders as there are jobs, as links."""
    found = []
    for job in range(jobs):
        part = folder.parent / f"part-{job}"
        part.mkdir()
        for path in sorted(folder.iterdir())[job::jobs]:
            (part / path.name).symlink_to(path)
        found.append(part)
    return found


def in_threads(colorizer: Colorizer, folder: Path, jobs: int) -> float:
    """Seconds of threads that share one colourizer."""
    paths = sorted(folder.iterdir())
    colorizer.colorize_file(paths[0])
    with ThreadPoolExecutor(jobs) as pool, tempfile.TemporaryDirectory(dir=folder.parent) as out:
        start = time.perf_counter()
        for _ in pool.map(lambda path: _write(Path(out) / path.name, colorizer.colorize_file(path)[0]), paths):
            pass
        return time.perf_counter() - start


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Remote(Colorizer):
    """A colourizer whose network runs in another process, while other threads decode, join and encode in this one."""

    def __init__(self) -> None:
        super().__init__("photo", "cpu", 1)
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_network, args=(theirs,), daemon=True)
        self._process.start()
        self._lock = threading.Lock()

    def _run(
        self,
        planes: npt.NDArray[np.float32],
        wanted: tuple[str, ...] | None = None,
        hints: npt.NDArray[np.float32] | None = None,
    ) -> Prediction:
        del wanted, hints
        with self._lock:
            self._line.send(planes)
            return Prediction(self._line.recv(), None)


def _network(line: Any) -> None:
    colorizer = Colorizer("photo", "cpu", 1)
    with contextlib.suppress(EOFError):  # the other end is closed
        while True:
            line.send(colorizer._run(line.recv()).ab)


def rounds_of(folder: Path, jobs: int, rounds: int, first: int) -> dict[str, list[float]]:
    """Seconds of the ``first`` designs, round by round."""
    single = folder.parent / "single"
    single.mkdir()
    (single / "00000.jpg").symlink_to(folder / "00000.jpg")
    shares = parts(folder, jobs)
    shared, remote = Colorizer("photo", "cpu", 1), Remote()
    designs: dict[str, Callable[[], float]] = {
        "--jobs 1: one process, a thread for each core": lambda: timed(program(folder, 1)) - timed(program(single, 1)),
        f"--jobs {jobs}: processes of one thread": lambda: timed(program(folder, jobs)) - timed(program(single, jobs)),
        "one program on one core": lambda: timed(program(folder, 1, 0)) - timed(program(single, 1, 0)),
        f"{jobs} such programs, a share each": lambda: (
            timed(*(program(share, 1, core) for core, share in enumerate(shares))) - timed(program(single, 1, 0))
        ),
        f"{jobs} threads that share a session": lambda: in_threads(shared, folder, jobs),
        "network in a process of its own": lambda: in_threads(remote, folder, jobs),
    }
    designs = dict(list(designs.items())[:first])
    found: dict[str, list[float]] = {name: [] for name in designs}
    for number in range(rounds):
        order = list(designs) if number % 2 == 0 else list(reversed(designs))
        for name in order:
            found[name].append(designs[name]())
    return found


@click.command(help=__doc__)
@click.option("--pictures", type=click.IntRange(4), default=100, show_default=True)
@click.option("--jobs", type=click.IntRange(2), default=2, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--designs", type=click.IntRange(2, 6), default=6, show_default=True, help="Only the first of them.")
def main(pictures: int, jobs: int, rounds: int, designs: int) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in"
        source.mkdir()
        make(source, pictures)
        found = rounds_of(source, jobs, rounds, designs)
    first = next(iter(found.values()))
    click.echo(f"{pictures} grey JPEGs of {SIZE[0]} x {SIZE[1]}, {rounds} rounds, speed against --jobs 1 (median, range);"
               f" load of the machine {os.getloadavg()[2]:.1f}:")  # fmt: skip
    for name, seconds in found.items():
        ratios = [base / took for base, took in zip(first, seconds, strict=True)]
        speed = pictures / statistics.median(seconds)
        click.echo(f"  {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), {speed:.1f} images/s")
    if designs < 4:
        return
    _, second, alone, together, *_ = found.values()
    ceiling = statistics.median(one / both for one, both in zip(alone, together, strict=True))
    gain = statistics.median(one / both for one, both in zip(alone, second, strict=True))
    click.echo(f"  ceiling of this machine: {jobs} independent programs are {ceiling:.2f} times as fast as one on one core;")
    click.echo(f"  --jobs {jobs} is {gain:.2f} times as fast as that one: {gain / ceiling:.2f} of the ceiling")


if __name__ == "__main__":
    main()
