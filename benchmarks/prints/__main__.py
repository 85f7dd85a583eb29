"""Does "it already has colours" mean what the owner of a picture means? ``python -m benchmarks.prints FOLDER [--count N]``.

FOLDER holds folders of colour photographs. N of each become one picture of every kind: a grey or toned print with paper,
frame, stamps or stains (`surrounded`, `marked`), which is to be coloured, or a colour photograph, pale, bordered, or with one
small coloured thing (`in_colour`), which is to be left alone. The runtime's rule was made with most kinds; the "other kinds"
were added when it was finished, and only judged. Three of four become JPEG files of quality 40 to 95, the others PNG.
Printed is for every kind how many the runtime judges as their owner does, and for how many prints it found surroundings or
marks that keep their colours. The same FOLDER and seed give the same pictures. ``--wrong`` keeps what was judged wrongly.
"""

import io
import time
import zlib
from pathlib import Path

import click
import numpy as np
from colorize_run.image import reader
from colorize_run.prints import Look, look_at
from PIL import Image

from benchmarks.lightness import SUFFIXES
from benchmarks.prints import in_colour, marked, surrounded
from benchmarks.prints.parts import Maker, scanned

_LONG_SIDE = 720  # pixels of the photographs, which collections often keep smaller than anyone scans


def chosen(folder: Path, count: int, seed: int) -> list[Path]:
    """As many photographs of every folder in ``folder``."""
    rng, found = np.random.default_rng(seed), list[Path]()
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in source.rglob("*.*") if path.suffix.lower() in SUFFIXES)
        found += [paths[index] for index in sorted(rng.permutation(len(paths))[:count])]
    return found


def made(path: Path, kind: Maker, seed: int) -> bytes:
    """A file of this kind, made from the photograph ``path``."""
    rng = np.random.default_rng([seed, zlib.crc32(f"{path.name} {kind.__name__}".encode())])
    with Image.open(path) as image:
        photograph = image.convert("RGB")
    scale = _LONG_SIDE / max(photograph.size)
    photograph = photograph.resize(
        (round(photograph.width * scale), round(photograph.height * scale)), Image.Resampling.BICUBIC
    )
    picture = Image.fromarray(scanned(kind(np.asarray(photograph, np.float32), rng), rng))
    file = io.BytesIO()
    if rng.random() < 0.25:
        picture.save(file, "PNG", compress_level=1)
    else:
        picture.save(file, "JPEG", quality=int(rng.integers(40, 96)), subsampling=int(rng.choice([0, 2])))
    return file.getvalue()


def judged(kind: Maker, paths: list[Path], seed: int, *, colours: bool, wrong: Path | None) -> tuple[int, float]:
    """Print the line of a kind; returns how many were right, and the seconds of all judgements."""
    right, apart, seconds = 0, 0, 0.0
    for number, path in enumerate(paths):
        data = made(path, kind, seed)
        picture = reader.read(io.BytesIO(data))
        start = time.perf_counter()
        look: Look = look_at(picture)
        seconds += time.perf_counter() - start
        right += look.has_colours == colours
        apart += look.share is not None
        if wrong is not None and look.has_colours != colours:
            (wrong / f"{kind.__name__}_{number:04}.{'png' if data[1:4] == b'PNG' else 'jpg'}").write_bytes(data)
    found = "" if colours else f", {apart} with surroundings or marks"
    click.echo(f"  {kind.__name__:20} {right:5} of {len(paths)}  {right / len(paths):6.1%}{found}")
    return right, seconds


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
        right, total = sum(each[0] for each in found), len(paths) * len(kinds)
        click.echo(f"  {'all':20} {right:5} of {total}  {right / total:6.1%}")
        pictures, seconds = pictures + total, seconds + sum(each[1] for each in found)
    click.echo(f"{1e3 * seconds / pictures:.1f} ms a picture")


if __name__ == "__main__":
    main()
