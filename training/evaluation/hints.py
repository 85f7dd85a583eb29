"""What colour hints gain: the error with a few true hints, and how well a hint is followed where it was given."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from colorize_run.colour import srgb_to_lab
from torch import Tensor

from training.datasets import hints
from training.datasets.ageing import LUMA_WEIGHTS
from training.datasets.photos import Photos, square
from training.progress import track

COUNTS = (1, 10)  # hints in a picture
RADIUS = 3  # a hint is a square of 7 pixels
Hinted = Callable[[Tensor, Tensor], Tensor]


def measure_hints(predict: Hinted, photos: Photos, side: int, seed: int = 0) -> dict[str, float]:
    """Gain of true hints at random places on the middle squares of ``photos``, reduced to ``side``.

    ``predict``: grey (N, 1, H, W) and hints (N, 3, H, W), a*, b* and mask -> a*, b* (N, 2, H, W). For each of COUNTS:
    ``hints_N_error_reduction``, by what fraction the mean error in a*, b* is below that without hints, and
    ``hints_N_patch_error``, the mean distance in a*, b* between a hint and the mean result in its square.
    """
    errors: dict[int, list[float]] = {count: [] for count in (0, *COUNTS)}
    patches: dict[int, list[float]] = {count: [] for count in (0, *COUNTS)}
    rng = np.random.default_rng(seed)
    for image in track(photos.images, f"Evaluating hints on {len(photos)} photographs"):
        truth = square(image, side).astype(np.float32) / np.float32(255)
        ab = srgb_to_lab(truth)[..., 1:]
        places = rng.integers(RADIUS, side - RADIUS, (max(COUNTS), 2))
        planes = [_planes(ab, places[:count]) for count in errors]
        grey = torch.from_numpy(truth @ LUMA_WEIGHTS).expand(len(planes), 1, side, side)
        results = predict(grey, torch.from_numpy(np.stack(planes))).permute(0, 2, 3, 1).numpy()
        for count, result in zip(errors, results, strict=True):
            errors[count].append(float(np.linalg.norm(result - ab, axis=2).mean()))
            patches[count] += [_distance(result, ab, place) for place in places[:count]]
    without = np.mean(errors[0])
    gains = {f"hints_{count}_error_reduction": float(1 - np.mean(errors[count]) / without) for count in COUNTS}
    return {**gains, **{f"hints_{count}_patch_error": float(np.mean(patches[count])) for count in COUNTS}}


def _patch(y: int, x: int) -> tuple[slice, slice]:
    return slice(y - RADIUS, y + RADIUS + 1), slice(x - RADIUS, x + RADIUS + 1)


def _planes(ab: npt.NDArray[np.float32], places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    planes = hints.planes((ab.shape[0], ab.shape[1]))
    for y, x in places.tolist():
        hints.add(planes, y, x, RADIUS, ab[_patch(y, x)].mean(axis=(0, 1)))
    return hints.in_ab(planes)


def _distance(result: npt.NDArray[np.float32], ab: npt.NDArray[np.float32], place: npt.NDArray[np.int64]) -> float:
    inside = _patch(*place.tolist())
    return float(np.linalg.norm(result[inside].mean(axis=(0, 1)) - ab[inside].mean(axis=(0, 1))))
