"""How well small chroma is enlarged: ``python -m benchmarks.edges [PHOTOGRAPH…]``.

The true chroma of photographs is averaged over cells, as a network gives it, and enlarged again: bilinearly, and guided
by the photograph's luminance (`colorize_run.colour.guided`) with several windows. Printed is the mean distance from the truth
in a*, b*, over all pixels and over the tenth that lies at the strongest edges of chroma.
"""

from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt
from colorize_run import colour
from colorize_run.colour import guided
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"
WORKING_SIDE = 256  # of the network, whose cells are a quarter of it
FloatArray = npt.NDArray[np.float32]


def _enlarge(planes: FloatArray, size: tuple[int, int]) -> FloatArray:
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in planes])


def _error(found: FloatArray, truth: FloatArray, edges: npt.NDArray[np.bool_]) -> tuple[float, float]:
    distance = np.linalg.norm(found - truth, axis=0)
    return float(distance.mean()), float(distance[edges].mean())


def errors(path: Path, settings: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Errors of one photograph: bilinear, then guided with each (radius as a share of the short side, epsilon)."""
    with Image.open(path) as image:
        rgb = np.asarray(image.convert("RGB"))
    h, w = rgb.shape[:2]
    scale = WORKING_SIDE / min(h, w)
    working = round(w * scale), round(h * scale)
    lab = colour.srgb_to_lab(rgb.astype(np.float32) / np.float32(255))
    truth = np.ascontiguousarray(lab[..., 1:].transpose(2, 0, 1))
    gradient = sum(np.hypot(*np.gradient(plane)) for plane in truth)
    edges = gradient >= np.quantile(gradient, 0.9)
    cells = [cv2.resize(plane, (working[0] // 4, working[1] // 4), interpolation=cv2.INTER_AREA) for plane in truth]
    ab = _enlarge(np.stack(cells), working)
    found = [_error(_enlarge(ab, (w, h)), truth, edges)]
    guide = colour.perceived(np.asarray(colour.resize(Image.fromarray(rgb), working)))
    for share, epsilon in settings:
        lines = _enlarge(guided.slopes_and_offsets(guide, ab, max(1, round(share * WORKING_SIDE)), epsilon), (w, h))
        guided_ab: FloatArray = (lines[:2] * colour.perceived(rgb) + lines[2:]).astype(np.float32)
        found.append(_error(guided_ab, truth, edges))
    return found


@click.command(help=__doc__)
@click.argument("photographs", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(photographs: tuple[Path, ...]) -> None:
    """Measure, and print."""
    paths = photographs or tuple(sorted(SAMPLES.glob("*.jpg")))
    settings = [(share, epsilon) for share in (1 / 128, 1 / 64, 1 / 32) for epsilon in (5e-4, 2e-3)]
    means = np.mean([errors(path, settings) for path in paths], axis=0)
    click.echo(f"{len(paths)} photographs, mean distance in a*, b* of all pixels / at edges of chroma")
    for name, (everywhere, edges) in zip(
        ["bilinear", *(f"radius {s:.4f}, epsilon {e:g}" for s, e in settings)], means, strict=True
    ):
        click.echo(f"  {name}: {everywhere:.2f} / {edges:.2f}")


if __name__ == "__main__":
    main()
