"""Make the README's pictures again: ``python -m benchmarks.readme_pictures``, with the model that ships.

``docs/images/before-after.jpg``: each sample photograph in grey on its left half and colourized on its right half.
``docs/images/luma.jpg``: a grey JPEG coloured, by how much its luma has changed then (nothing), and by how much it changes when
lightness is kept instead and the picture is compressed again: 64 times as bright as the difference is.
``docs/images/report.webp``: the slider of a real report page, driven by a headless Chromium.
The sample photographs are reduced to grey first, so that the network gets what a person with an old photograph has.
"""

import io
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.options import LIGHTNESSES
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from benchmarks.__main__ import SAMPLES

IMAGES = SAMPLES.parent / "images"
HEIGHT = 340  # pixels of the wide picture
SHOWN = ("rocket.jpg", "chelsea.jpg")
POSITIONS = [*range(96, 3, -4), *[4] * 8, *range(4, 97, 4), *[96] * 8]  # of the slider, in per cent
MILLISECONDS = 70  # per frame


def grey_copies(folder: Path) -> None:
    """Write the sample photographs in grey into ``folder``."""
    folder.mkdir()
    for name in SHOWN:
        with Image.open(SAMPLES / name) as photograph:
            photograph.convert("L").save(folder / name, quality=95)


def wide(grey: Path, coloured: Path) -> Image.Image:
    """One row of photographs, (HEIGHT, sum of widths, 3): the left half of each is grey, the right half is coloured."""
    parts: list[Image.Image] = []
    for name in SHOWN:
        with Image.open(grey / name) as before, Image.open(coloured / name) as after:
            size = round(before.width * HEIGHT / before.height), HEIGHT
            part = after.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            half = before.convert("RGB").resize(size, Image.Resampling.LANCZOS).crop((0, 0, size[0] // 2, HEIGHT))
        part.paste(half, (0, 0))
        part.paste((255, 255, 255), (size[0] // 2 - 1, 0, size[0] // 2 + 1, HEIGHT))
        parts.append(part)
    gap = 6
    row = Image.new("RGB", (sum(part.width for part in parts) + gap * (len(parts) - 1), HEIGHT), "white")
    left = 0
    for part in parts:
        row.paste(part, (left, 0))
        left += part.width + gap
    return row


def luma_of(path: Path | io.BytesIO) -> np.ndarray:
    """Y' (H, W) of a JPEG, as it is coded."""
    with Image.open(path) as image:
        image.draft("YCbCr", None)
        return np.asarray(image.getchannel(0), np.int16)


def untouched(grey: Path) -> Image.Image:
    """A row of three: the coloured picture, and what has become of its luma, for both ways."""
    colorizer, parts = Colorizer("photo", "cpu"), list[Image.Image]()
    for name in LIGHTNESSES:
        data, _ = colorizer.colorize_file(grey, control=Control(lightness=name))
        change = np.abs(luma_of(io.BytesIO(data)) - luma_of(grey)) * 64
        if not parts:
            parts.append(Image.open(io.BytesIO(data)).convert("RGB"))
        parts.append(Image.fromarray(change.clip(0, 255).astype(np.uint8)).convert("RGB"))
    width, height = parts[0].size
    row = Image.new("RGB", (3 * width + 12, height), "white")
    for index, part in enumerate(parts):
        row.paste(part, (index * (width + 6), 0))
    return row


def frames(page: Page) -> list[Image.Image]:
    """Screenshots of a report's last picture, at each position of its slider."""
    pair = page.locator(".pair").last
    pair.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.pair img')].every(image => image.src && image.complete)")
    slider = page.locator("figure input[type=range]").last
    result = []
    for position in POSITIONS:
        slider.evaluate("(node, value) => { node.value = value; node.dispatchEvent(new Event('input')); }", position)
        result.append(Image.open(io.BytesIO(pair.screenshot())).convert("RGB"))
    return result


def record(report: Path) -> list[Image.Image]:
    """Open the report in Chromium, and move its slider."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 560, "height": 900})
        page.goto(report.as_uri())
        result = frames(page)
        browser.close()
    return result


@click.command(help=__doc__)
def main() -> None:
    """Colourize the samples, and write the pictures into docs/images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grey_copies(folder / "old")
        command = [sys.executable, "-m", "colorize_run", "old", "-o", "new", "--report", "run.html", "-m", "photo"]
        subprocess.run(command, cwd=folder, check=True)
        wide(folder / "old", folder / "new").save(IMAGES / "before-after.jpg", quality=84, optimize=True)
        untouched(folder / "old" / "chelsea.jpg").save(IMAGES / "luma.jpg", quality=84, optimize=True)
        first, *others = record(folder / "run.html")
    target = IMAGES / "report.webp"
    first.save(target, save_all=True, append_images=others, duration=MILLISECONDS, loop=0, quality=55, method=6)
    for path in (IMAGES / "before-after.jpg", IMAGES / "luma.jpg", target):
        click.echo(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
