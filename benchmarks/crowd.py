"""Thousands of pictures in one run: ``python -m benchmarks.crowd [--pictures N] [--side PIXELS] [--keep FOLDER]``.

Memory: once a second, the resident memory of the run and of its workers beside the number of pictures done; stated are the
slope of a straight line through these after the first tenth, in MB per 1,000 pictures, and the highest of each fifth.

The page: its weight, and where Chromium and playwright are installed, seconds until it can be used, and milliseconds of
filtering by name.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"


def make(folder: Path, count: int, side: int) -> None:
    """Grey JPEGs of several sizes around ``side``, cut out of photographs, and one in 200 that is broken."""
    bases = []
    for path in sorted(SAMPLES.glob("*.jpg")):
        with Image.open(path) as photograph:
            bases.append(photograph.convert("L").resize((2 * side, 2 * side)))
    random = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 500:02}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        width, height = (int(side * scale) for scale in random.uniform(0.7, 1.0, 2))
        left, top = int(random.integers(side)), int(random.integers(side))
        bases[number % len(bases)].crop((left, top, left + width, top + height)).save(path, quality=85)
        if number % 200 == 199:
            path.write_bytes(path.read_bytes()[: 500 + number])


def resident(process: int) -> dict[int, float]:
    """Resident memory in MB of a process and of each of its children, by number."""
    children = map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())
    page = os.sysconf("SC_PAGE_SIZE") / 1e6
    return {one: int(Path(f"/proc/{one}/statm").read_text().split()[1]) * page for one in (process, *children)}


def watched(arguments: list[str], report: Path) -> tuple[list[tuple[int, dict[int, float]]], int, float]:
    """Run a program; pictures done, and MB by process, once a second; the program's number, and seconds in all."""
    samples: list[tuple[int, dict[int, float]]] = []
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "colorize_run", *arguments], stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(1)
            try:
                sample = report.read_bytes().count(b"\n"), resident(process.pid)
            except (OSError, ValueError):  # not begun, or a process has just ended
                continue
            if all(sample[1].values()) and len(sample[1]) > 1 and process.poll() is None:
                samples.append(sample)
    if process.returncode not in (0, 1):
        raise click.ClickException(f"the run ended with exit code {process.returncode}")
    return samples, process.pid, time.perf_counter() - start


def memory(samples: list[tuple[int, dict[int, float]]], process: int) -> Iterator[str]:
    """How the memory of the run went, and that of its workers."""
    done = np.array([count for count, _ in samples]) / 1000
    run = np.array([sizes[process] for _, sizes in samples])
    everything = np.array([sum(sizes.values()) for _, sizes in samples])
    for name, curve in (("the run itself", run), ("its workers together", everything - run), ("all", everything)):
        slope = np.polyfit(done, curve, 1)[0]
        peaks = ", ".join(f"{fifth.max():.0f}" for fifth in np.array_split(curve, 5))
        yield f"memory of {name}: {slope:+.2f} MB per 1,000 pictures; at most {peaks} MB in each fifth"


def load(page: Path) -> str:
    """How a browser takes the page, in words."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return "no Chromium here"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        start = time.perf_counter()
        tab.goto(page.as_uri(), timeout=120_000)
        tab.wait_for_function("document.querySelector('#count').textContent && document.querySelector('.pair img[src]')")
        ready = time.perf_counter() - start
        took = tab.evaluate(
            "() => { const start = performance.now(), field = document.getElementById('search'); field.value = '1.jpg';"
            " field.dispatchEvent(new Event('input')); document.body.offsetHeight; return performance.now() - start; }"
        )
        shown = tab.locator("#count").text_content()
        browser.close()
    return f"ready after {ready:.2f} s, filtered by name in {took:.0f} ms ({shown})"


@click.command(help=__doc__)
@click.option("--pictures", type=click.IntRange(100), default=5_000, show_default=True)
@click.option("--side", type=click.IntRange(64), default=400, show_default=True, help="Longest side of the pictures.")
@click.option("--model", default="photo", show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Leave the reports here.")
def main(pictures: int, side: int, model: str, keep: Path | None) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = keep or Path(name)
        folder.mkdir(exist_ok=True)
        source, lines, page = Path(name) / "in", folder / "run.jsonl", folder / "run.html"
        source.mkdir()
        lines.unlink(missing_ok=True)  # a further run would append
        make(source, pictures, side)
        arguments = [str(source), "-o", str(Path(name) / "out"), "-r", "-m", model, "--device", "cpu", "--overwrite"]
        samples, process, took = watched([*arguments, "--report", str(lines), "--report", str(page)], lines)
        click.echo(f"{pictures} pictures of at most {side} x {side} in {took:.0f} s with both reports")
        for line in memory([sample for sample in samples if pictures / 10 < sample[0] < pictures], process):
            click.echo(line)
        click.echo(f"page: {page.stat().st_size / 1e6:.1f} MB; {load(page)}")


if __name__ == "__main__":
    main()
