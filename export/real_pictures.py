"""Real pictures for the proof, of the kind that a network learnt from, as the runtime would show them to its graph."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from colorize_run import colour
from colorize_run.contract import WorkingSize
from PIL import Image

from export.errors import ExportError
from export.parity import Case, FloatArray
from training.checkpoint import Checkpoint
from training.conventions import LUMA
from training.datasets import cifar, faces, photos

COUNT = 8  # faces or photographs; of CIFAR-10, whose pictures are all of one size, HORSES in one batch
HORSES = 3


def cases(checkpoint: Checkpoint, size: WorkingSize, data_dir: Path) -> list[Case]:
    """CIFAR-10 horses, or faces or photographs of the split that validated ``checkpoint``.

    None for a segmenter, whose masks `export.parity.on_flowers` compares. Errors: TrainingError, ExportError when
    ``data_dir`` holds no such pictures, or too few.
    """
    kind, seed = checkpoint.kind, checkpoint.recipe.get("split_seed", 0)
    if kind.on_flowers:
        return []
    if kind.on_faces:
        return _seen("face", list(faces.load_split(data_dir, "validation", seed)[:COUNT]), size, data_dir)
    if kind.on_photos:
        return _seen("photograph", photos.load_split(data_dir, "validation", seed).images[:COUNT], size, data_dir)
    horses = cifar.load_images(data_dir)[:HORSES].astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
    planes = horses if kind.sees_colour else horses.mean(axis=1, keepdims=True)
    return [Case(f"CIFAR-10 horses {HORSES}x{planes.shape[1]}x32x32", planes)]


def _seen(what: str, images: list[npt.NDArray[np.uint8]], size: WorkingSize, data_dir: Path) -> list[Case]:
    """Grey pictures reduced to the working size, and padded."""
    if not images:
        raise ExportError(f"The {what}s in {data_dir} are too few: a tenth of them is for validation, and that is none.")
    found = []
    for i, image in enumerate(images):
        small = colour.resize(Image.fromarray(image), size.fit(image.shape[1], image.shape[0]))
        grey: FloatArray = colour.to_grey(np.asarray(small), LUMA)
        h, w = grey.shape
        padded = np.pad(grey, ((0, size.pad(h) - h), (0, size.pad(w) - w)), mode="edge")
        found.append(Case(f"validation {what} {i} {padded.shape[1]}x{padded.shape[0]}", padded[None, None]))
    return found
