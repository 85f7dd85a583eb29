"""Real pictures for the proof, of the kind that a network learnt from, as the runtime would feed them to its graph."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from colorize_run import colour
from colorize_run.model.contract import WorkingSize
from PIL import Image

from export.errors import ExportError
from export.parity import Case, FloatArray
from training.checkpoint import Checkpoint
from training.datasets import cifar
from training.families import CIFAR, FLOWERS, PHOTOGRAPHS, family_of

COUNT = 8  # faces or photographs; CIFAR-10 pictures are all of one size, so HORSES go into one batch
HORSES = 3


def cases(checkpoint: Checkpoint, size: WorkingSize, data_dir: Path) -> list[Case]:
    """CIFAR-10 horses, or faces or photographs of the split that validated ``checkpoint``.

    Empty for a segmenter, whose masks `export.parity.on_flowers` compares. Errors: TrainingError, ExportError when
    ``data_dir`` holds no such pictures, or too few.
    """
    family = family_of(checkpoint.kind)
    if family is CIFAR:
        return [_horses(checkpoint, data_dir)]
    if family is FLOWERS:
        return []
    pictures = family.load_split(data_dir, "validation", (), checkpoint.split_seed)[:COUNT]
    images: list[npt.NDArray[np.uint8]] = list(pictures.images if family is PHOTOGRAPHS else pictures)
    if not images:
        raise ExportError(f"There are too few {family.name} in {data_dir}: a tenth of them is for validation, which is none.")
    return [_case(f"validation {family.name} {i}", image, size, family.grey_weights) for i, image in enumerate(images)]


def _horses(checkpoint: Checkpoint, data_dir: Path) -> Case:
    horses = cifar.load_images(data_dir)[:HORSES].astype(np.float32).transpose(0, 3, 1, 2) / np.float32(255)
    planes = horses if checkpoint.kind.sees_colour else horses.mean(axis=1, keepdims=True)
    return Case(f"CIFAR-10 horses {HORSES}x{planes.shape[1]}x32x32", planes)


def _case(name: str, image: npt.NDArray[np.uint8], size: WorkingSize, weights: tuple[float, float, float]) -> Case:
    """A picture in grey, reduced to the working size, and padded."""
    small = colour.resize(Image.fromarray(image), size.fit(image.shape[1], image.shape[0]))
    grey: FloatArray = colour.to_grey(np.asarray(small), weights)
    h, w = grey.shape
    padded = np.pad(grey, ((0, size.pad(h) - h), (0, size.pad(w) - w)), mode="edge")
    return Case(f"{name} {padded.shape[1]}x{padded.shape[0]}", padded[None, None])
