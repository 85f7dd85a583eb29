"""What ``--like`` does to photographs whose truth is known: ``python -m benchmarks.likeness FOLDER``.

FOLDER holds folders of colour photographs, one for each subject. Each photograph in grey is coloured without a reference, with
itself as the reference, and with another one of its subject; printed is the mean distance from the truth in a*, b* of each.
"""

from pathlib import Path

import click
import numpy as np
from colorize_run import Colorizer
from colorize_run.control import Control
from PIL import Image

from benchmarks.results_pictures import distance

_EACH = 6  # photographs of a subject


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Print the mean distances on the photographs in the folders of FOLDER."""
    colorizer = Colorizer(device="cpu")
    rows = []
    for subject in sorted(path for path in folder.iterdir() if path.is_dir()):
        paths = sorted(path for path in subject.rglob("*.*") if path.suffix in (".jpg", ".png", ".webp"))
        for path, other in list(zip(paths[::4], paths[10::4], strict=False))[:_EACH]:
            truth, reference = (Image.open(name).convert("RGB") for name in (path, other))
            grey = truth.convert("L")
            results = [colorizer.colorize(grey, Control(like=like)) for like in (None, truth, reference)]
            rows.append([distance(picture, truth) for picture in (grey, *results)])
    grey_error, plain, own, another = np.mean(rows, axis=0)
    click.echo(
        f"{len(rows)} photographs: grey {grey_error:.1f}, no reference {plain:.1f}, itself {own:.1f}, another {another:.1f}"
    )


if __name__ == "__main__":
    main()
