"""What stays as it is, luma or CIELAB's lightness: ``python -m benchmarks.lightness FOLDER [--count N] [--sheet FILE]``.

Colour photographs from FOLDER (searched with its sub-folders) are made grey JPEGs by the weights of JPEG's own luma, as cameras
and most programs do it, and coloured both ways by the model that ships. Quoted are, over the photographs, the mean and the
95th percentile of the mean |ΔL*| from the grey picture and from the photograph, and the mean distance in a*, b* from it, for
all and for the quarter with the most chroma. The sheet shows each photograph in grey, with its lightness kept, with its luma
kept, and as it was.
"""

import io
import os
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from colorize_run import Colorizer
from colorize_run.colour import srgb_to_lab
from colorize_run.control import Control
from colorize_run.options import LIGHTNESSES
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
ROW = 200  # pixels, height of the sheet's rows
Figures = dict[str, list[tuple[float, float, float]]]


def photographs(folder: Path, count: int) -> list[Image.Image]:
    """Photographs in colour, chosen with a seed; their short side is 480 at most."""
    names = (Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names)
    paths = sorted(path for path in names if path.suffix.lower() in SUFFIXES)
    found: list[Image.Image] = []
    for index in np.random.default_rng(0).permutation(len(paths)):
        with Image.open(paths[index]) as image:
            photograph = image.convert("RGB")
        photograph.thumbnail((960, 480))
        if np.ptp(np.asarray(photograph).astype(int), axis=2).mean() > 8:
            found.append(photograph)
        if len(found) == count:
            break
    return found


def lab_of(image: Image.Image) -> npt.NDArray[np.floating]:
    """CIELAB (H, W, 3)."""
    return srgb_to_lab(np.asarray(image.convert("RGB"), np.float32) / np.float32(255))


def measure(colorizer: Colorizer, photograph: Image.Image, figures: Figures) -> list[Image.Image]:
    """Add to ``figures`` what both ways make of a photograph; returns the grey picture, both results, and the photograph."""
    file = io.BytesIO()
    photograph.convert("L").save(file, "JPEG", quality=95)
    grey, truth, shown = Image.open(file), lab_of(photograph), []
    for name in LIGHTNESSES:
        data, _ = colorizer.colorize_file(io.BytesIO(file.getvalue()), control=Control(lightness=name))
        shown.append(Image.open(io.BytesIO(data)))
        after = lab_of(shown[-1])
        from_grey, from_truth = (float(np.abs(after - lab)[..., 0].mean()) for lab in (lab_of(grey), truth))
        figures[name].append((from_grey, from_truth, float(np.linalg.norm((after - truth)[..., 1:], axis=-1).mean())))
    return [grey, *shown[::-1], photograph]


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Two photographs in a row."""
    width = 300
    page = Image.new("RGB", (8 * width, ROW * -(-len(rows) // 2)), "white")
    for index, row in enumerate(rows):
        for column, image in enumerate(row):
            small = image.convert("RGB")
            small.thumbnail((width - 4, ROW - 4))
            page.paste(small, (width * (column + 4 * (index % 2)), ROW * (index // 2)))
    return page


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=100, show_default=True)
@click.option("--sheet", "target", type=click.Path(path_type=Path), help="Write the first twenty as a picture.")
def main(folder: Path, count: int, target: Path | None) -> None:
    """Measure, and print."""
    colorizer = Colorizer("photo", "cpu")
    figures: Figures = {name: [] for name in LIGHTNESSES}
    found = photographs(folder, count)
    if not found:
        raise click.UsageError(f"{folder} holds no colour photographs (JPEG, PNG or WebP).")
    rows = [measure(colorizer, photograph, figures) for photograph in found]
    chroma = np.array([np.linalg.norm(lab_of(photograph)[..., 1:], axis=-1).mean() for photograph in found])
    for label, chosen in (("all", chroma >= 0), ("most chroma", chroma >= np.quantile(chroma, 0.75))):
        for name in LIGHTNESSES:
            table = np.array(figures[name])[chosen]
            grey, truth, error = table.mean(axis=0)
            click.echo(
                f"{label}, {len(table)} photographs, {name} kept: |ΔL*| from grey {grey:.2f}"
                f" (95 %: {np.quantile(table[:, 0], 0.95):.2f}), from the photograph {truth:.2f}"
                f" (95 %: {np.quantile(table[:, 1], 0.95):.2f}); a*b* {error:.2f}"
            )
    if target:
        sheet(rows[:20]).save(target)


if __name__ == "__main__":
    main()
