"""Make the pictures of docs/results.md again: ``python -m benchmarks.results_pictures FOLDER``, with the model that ships.

FOLDER holds colour pictures, such as ``skimage/data`` of the scikit-image package and matplotlib's ``sample_data``. For each
of NAMES that is there, ``docs/images/NAME.jpg`` shows it in grey, colourized, and as it is, and a line gives the mean distance
in a*, b* from the truth of both. ``docs/images/hints.jpg`` shows a sample in grey, colourized, with HINTS, and as it is.
"""

from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from colorize_run import Colorizer
from colorize_run.colour import srgb_to_lab
from colorize_run.control import Control
from colorize_run.hints import Hint, Hints
from PIL import Image, ImageDraw

from benchmarks.__main__ import SAMPLES
from benchmarks.readme_pictures import IMAGES

HEIGHT, GAP = 220, 3  # pixels
NAMES = ("astronaut", "camera", "chelsea", "coffee", "grace_hopper", "hubble_deep_field", "ihc", "rocket")
# Of docs/samples/coffee.jpg: saucer, handle, and the table at both sides
HINTS = (
    Hint(270, 288, (178, 58, 30)),
    Hint(225, 265, (140, 45, 30)),
    Hint(500, 80, (196, 112, 66)),
    Hint(60, 120, (150, 74, 44)),
    Hint(560, 300, (120, 60, 40)),
)


def distance(first: Image.Image, second: Image.Image) -> float:
    """Mean distance in a*, b* of two pictures of one size."""
    labs: list[npt.NDArray[np.float32]] = [
        srgb_to_lab(np.asarray(image.convert("RGB"), np.float32) / np.float32(255)) for image in (first, second)
    ]
    return float(np.linalg.norm((labs[0] - labs[1])[..., 1:], axis=2).mean())


def strip(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size beside each other, HEIGHT pixels high."""
    width = round(pictures[0].width * HEIGHT / pictures[0].height)
    row = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, HEIGHT), "white")
    for i, picture in enumerate(pictures):
        row.paste(picture.convert("RGB").resize((width, HEIGHT), Image.Resampling.LANCZOS), (i * (width + GAP), 0))
    return row


def hints_picture(colorizer: Colorizer) -> Image.Image:
    """The sample with and without hints, which are marked by rings."""
    with Image.open(SAMPLES / "coffee.jpg") as image:
        truth = image.convert("RGB")
    grey = truth.convert("L")
    hinted = colorizer.colorize(grey, Control(hints=Hints(HINTS)))
    click.echo(f"hints: {distance(colorizer.colorize(grey), truth):.1f} -> {distance(hinted, truth):.1f}")
    draw = ImageDraw.Draw(hinted)
    for hint in HINTS:
        draw.ellipse((hint.x - 8, hint.y - 8, hint.x + 8, hint.y + 8), outline="white", width=3)
    return strip([grey, colorizer.colorize(grey), hinted, truth])


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Make the pictures of docs/results.md from the pictures in FOLDER and its sub-folders."""
    colorizer = Colorizer(device="cpu")
    hints_picture(colorizer).save(IMAGES / "hints.jpg", quality=85)
    for path in sorted(path for path in folder.rglob("*.*") if path.stem in NAMES and path.suffix in (".png", ".jpg")):
        with Image.open(path) as image:
            truth = image.convert("RGB")
            has_colours = image.mode != "L"
        grey = truth.convert("L")
        coloured = colorizer.colorize(grey)
        strip([grey, coloured, *([truth] if has_colours else [])]).save(IMAGES / f"{path.stem}.jpg", quality=85)
        click.echo(f"{path.stem}: {distance(grey, truth):.1f} -> {distance(coloured, truth):.1f}")


if __name__ == "__main__":
    main()
