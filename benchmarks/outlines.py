"""How well masks fit, refined against the picture or merely enlarged: ``python -m benchmarks.outlines --data-dir …``.

Validation flowers, at their own size and enlarged twice, through the very class that `colorize-run segment` uses.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt
from colorize_run import segment
from colorize_run.segment import Segmenter
from PIL import Image

from training.datasets.flowers import fitted, load_split
from training.evaluation.masks import boundary_f, picture_iou

ByteArray = npt.NDArray[np.uint8]


def enlarged(segmenter: Segmenter, image: Image.Image) -> ByteArray:
    """The mask without any refinement."""
    planes = [cv2.resize(plane, image.size, interpolation=cv2.INTER_LINEAR) for plane in segmenter.predict(image)]
    return np.asarray(np.argmax(planes, axis=0), np.uint8)


@click.command(help=__doc__)
@click.option("--data-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--model", default="flowers", show_default=True)
@click.option("--first", type=click.IntRange(1), default=40, show_default=True)
@click.option("--sweep", is_flag=True, help="Other radii and epsilons than the runtime's, too.")
def main(data_dir: Path, model: str, first: int, sweep: bool) -> None:
    """Measure, and print."""
    flowers = load_split(data_dir, "validation", 0)[:first]
    for scale in (1, 2):
        cases = []
        for image, mask in zip(flowers.images, flowers.masks, strict=True):
            size = image.shape[1] * scale, image.shape[0] * scale
            picture, truth = fitted(image, mask, size)
            cases.append((Image.fromarray((picture * 255).astype(np.uint8)), truth))
        segmenter = Segmenter(model, "cpu")
        _report(f"x{scale}, enlarged", partial(enlarged, segmenter), cases)
        settings = [(r, e) for r in (1 / 48, 1 / 24, 1 / 16) for e in (1e-4, 3e-4, 1e-3)] if sweep else []
        for radius, epsilon in settings or [(segment._RADIUS, segment._EPSILON)]:
            segment._RADIUS, segment._EPSILON = radius, epsilon
            _report(f"x{scale}, refined, radius 1/{1 / radius:.0f}, epsilon {epsilon:g}", segmenter.segment, cases)


def _report(name: str, apply: Callable[[Image.Image], ByteArray], cases: list[tuple[Image.Image, ByteArray]]) -> None:
    pairs = [(apply(image), truth) for image, truth in cases]
    iou = np.mean([picture_iou(found, truth) for found, truth in pairs])
    click.echo(f"{name}: IoU of pictures {iou:.4f}, boundary F {np.mean([boundary_f(*pair) for pair in pairs]):.4f}")


if __name__ == "__main__":
    main()
