"""Does "it already has colours" mean what the owner of a picture means? ``python -m benchmarks.prints FOLDER [--count N]``.

FOLDER holds folders of colour photographs. N of each become one picture of every kind: a grey or toned print with paper,
frame, bed of a scanner, stamps or stains (`surrounded`, `marked`), which is to be coloured, or a colour photograph, pale,
bordered, vivid, with one small coloured thing, or with a grey poster in it (`in_colour`), which is to be left alone. The
runtime's rule was made with most kinds; the "other kinds" were added when it was finished, and only judged. Three of four
become JPEG files of quality 40 to 95, the others PNG. Printed is for every kind how many the runtime judges as their owner
does; and, for these prints, the mean share of the new colours that the photograph itself gets (1 is right) and that its
surroundings and marks get (0 is right). The same FOLDER and seed give the same pictures. ``--wrong`` keeps what was judged
wrongly.
"""

import functools
import io
import math
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import click
import cv2
import numpy as np
from colorize_run.image import reader
from colorize_run.prints import Look, look_at
from PIL import Image

from benchmarks.lightness import SUFFIXES
from benchmarks.prints import in_colour, marked, surrounded
from benchmarks.prints.parts import FloatArray, Maker, Rng, grey_of, scanned

_LONG_SIDE = 720  # pixels of the photographs, which collections often keep smaller than anyone scans
_DIFFERENT = 110.0  # of 255: stains leave more of the difference between white and black, ink and stamps less
_EDGE, _LEAST = 13, 0.004  # pixels: twice what the edge of a photograph may be off; and share of the picture that counts


class Judged(NamedTuple):
    """How many pictures of a kind are right, the seconds it took, and the `shares` of the prints."""

    right: int
    seconds: float
    shares: list[tuple[float, float]]


def chosen(folder: Path, count: int, seed: int) -> list[Path]:
    """As many photographs of every folder in ``folder``."""
    rng, found = np.random.default_rng(seed), list[Path]()
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in source.rglob("*.*") if path.suffix.lower() in SUFFIXES)
        found += [paths[index] for index in sorted(rng.permutation(len(paths))[:count])]
    return found


def made(path: Path, kind: Maker, seed: int) -> bytes:
    """A file of this kind, made from the photograph ``path``."""
    rng = _chances(path, kind, seed)
    picture = kind(_photograph(path), rng)
    image = Image.fromarray(scanned(picture[..., :3], rng))
    file = io.BytesIO()
    if picture.shape[2] == 4:
        image.putalpha(Image.fromarray(picture[..., 3].astype(np.uint8)))
    if image.mode == "RGBA" or rng.random() < 0.25:
        image.save(file, "PNG", compress_level=1)
    else:
        image.save(file, "JPEG", quality=int(rng.integers(40, 96)), subsampling=int(rng.choice([0, 2])))
    return file.getvalue()


def _chances(path: Path, kind: Maker, seed: int) -> Rng:
    return np.random.default_rng([seed, zlib.crc32(f"{path.name} {kind.__name__}".encode())])


@functools.cache
def _photograph(path: Path) -> FloatArray:
    with Image.open(path) as image:
        photograph = image.convert("RGB")
    scale = _LONG_SIDE / max(photograph.size)
    size = round(photograph.width * scale), round(photograph.height * scale)
    return np.asarray(photograph.resize(size, Image.Resampling.BICUBIC), np.float32)


def shares(look: Look, path: Path, kind: Maker, seed: int) -> tuple[float, float]:
    """The mean shares of the new colours inside and outside of the photograph; NaN where there is none.

    The photograph is where a white and a black photograph make a difference; what lies near its edge does not count.
    """
    photograph = _photograph(path)
    white, black = (kind(np.full_like(photograph, level), _chances(path, kind, seed)) for level in (255, 0))
    there = (np.abs(grey_of(white[..., :3]) - grey_of(black[..., :3])) > _DIFFERENT).astype(np.uint8)
    opaque = white[..., 3] > 0 if white.shape[2] == 4 else np.ones(there.shape, np.bool_)
    share = np.ones(there.shape, np.float32) if look.share is None else cv2.resize(look.share, there.shape[::-1])
    parts = (cv2.erode(part, np.ones((_EDGE, _EDGE), np.uint8)) > 0 for part in (there, 1 - there))
    inside, outside = (share[part & opaque] for part in parts)
    first, second = (float(part.mean()) if part.size > _LEAST * share.size else math.nan for part in (inside, outside))
    return first, second


def judged(kind: Maker, paths: list[Path], seed: int, *, colours: bool, wrong: Path | None) -> Judged:
    """Judge a picture of a kind of each photograph, and print the line of the kind."""
    right, seconds, found = 0, 0.0, list[tuple[float, float]]()
    for number, path in enumerate(paths):
        data = made(path, kind, seed)
        picture = reader.read(io.BytesIO(data))
        start = time.perf_counter()
        look = look_at(picture)
        seconds += time.perf_counter() - start
        right += look.has_colours == colours
        if not colours and not look.has_colours:
            found.append(shares(look, path, kind, seed))
        if wrong is not None and look.has_colours != colours:
            (wrong / f"{kind.__name__}_{number:04}.{'png' if data[1:4] == b'PNG' else 'jpg'}").write_bytes(data)
    _say(kind.__name__, right, len(paths), found)
    return Judged(right, seconds, found)


def _say(name: str, right: int, count: int, found: list[tuple[float, float]]) -> None:
    means = []
    for where, values in zip(("inside", "outside"), zip(*found, strict=True), strict=False):
        known = [value for value in values if not math.isnan(value)]
        means += [f"{where} {np.mean(known):.2f}"] if known else []
    click.echo(f"  {name:22} {right:5} of {count}  {right / count:6.1%}  {', '.join(means)}".rstrip())


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--count", type=click.IntRange(1), default=4, show_default=True, help="Photographs of each folder.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--wrong", type=click.Path(path_type=Path, file_okay=False), help="Folder for the wrongly judged pictures.")
def main(folder: Path, count: int, seed: int, wrong: Path | None) -> None:
    """Make, judge, and print."""
    paths = chosen(folder, count, seed)
    if not paths:
        raise click.UsageError(f"{folder} has no folders with photographs.")
    if wrong is not None:
        wrong.mkdir(parents=True, exist_ok=True)
    pictures, seconds = 0, 0.0
    for title, kinds, colours in (
        ("prints, to be coloured", surrounded.KINDS + marked.KINDS, False),
        ("prints of other kinds", surrounded.HELD_OUT + marked.HELD_OUT, False),
        ("colour photographs, to be left", in_colour.KINDS, True),
        ("colour photographs of other kinds", in_colour.HELD_OUT, True),
    ):
        click.echo(f"{title}:")
        found = [judged(kind, paths, seed, colours=colours, wrong=wrong) for kind in kinds]
        total = len(paths) * len(kinds)
        _say("all", sum(each.right for each in found), total, [pair for each in found for pair in each.shares])
        pictures, seconds = pictures + total, seconds + sum(each.seconds for each in found)
    click.echo(f"{1e3 * seconds / pictures:.1f} ms a picture")


if __name__ == "__main__":
    main()
