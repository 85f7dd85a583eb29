"""Palettes: reading them, nearest colours, soft labels, rebalancing weights, and the annealed mean."""

import io
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from colorize_run.colour import srgb_to_lab
from torch import Tensor

from training.conventions import FROM_256THS
from training.errors import TrainingError
from training.files import read_bytes

MAX_COLOURS = 256
_PIXELS_AT_ONCE = 1 << 20


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles only arrays and their numbers: any other name in a file is refused before it is looked up."""

    _NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # the functions that pickle calls to make an array and a number
        ("multiarray", "_reconstruct"): np.ndarray(0).__reduce__()[0],
        ("multiarray", "scalar"): np.float64(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        inner = module.removeprefix("numpy.core.").removeprefix("numpy._core.")  # before NumPy 2, and since
        try:
            return self._NAMES[inner, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array.") from None


def _read_array(file: io.BytesIO) -> npt.NDArray[Any]:
    """Read the array in a ``.npy`` file: of numbers or, as in the hand-out, of arrays."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _shape, _order, dtype = header(file)
    if dtype.hasobject:
        return np.asarray(_ArrayUnpickler(file, encoding="bytes").load())
    file.seek(0)
    array: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return array


def load_palette(path: str | Path) -> npt.NDArray[np.float32]:
    """Read a palette of K colours: (K, 3) float32, RGB, 0..1 (byte / 256, as the assignment scales pictures).

    Reads a plain ``.npy`` array of that shape, or the assignment's hand-out, a pickled pair whose first item is
    that array; only arrays are unpickled, so no code in the file is run. Errors: TrainingError.
    """
    data = read_bytes(path)
    try:
        loaded = _read_array(io.BytesIO(data))
        colours = np.asarray(loaded[0] if loaded.dtype == object else loaded, dtype=np.float32)
    except Exception as error:  # NumPy and pickle raise nearly anything on a damaged or foreign file
        raise TrainingError(
            f"{path} is not a palette in a NumPy file: give one of `python -m training palette`, or the assignment's."
        ) from error
    if colours.ndim and len(colours) > MAX_COLOURS:
        raise TrainingError(f"{path} has {len(colours)} colours; at most {MAX_COLOURS} fit the labels, which are bytes.")
    if colours.ndim != 2 or colours.shape[1] != 3 or len(colours) < 2 or not 0 <= colours.min() <= colours.max() <= 1:
        raise TrainingError(
            f"{path} is not a palette: it should hold two or more colours R, G, B in 0..1, but its shape is {colours.shape}."
        )
    return colours


def nearest_colour(images: Tensor, colours: Tensor) -> Tensor:
    """Index of the nearest palette colour in RGB: (N, 3, H, W) and (K, 3), both in byte / 256, -> (N, H, W) int64.

    Works through the pictures in chunks, so that 50,000 CIFAR pictures need well under 2 GB.
    """
    n, _, h, w = images.shape
    nearest = torch.empty((n, h, w), dtype=torch.int64)
    pictures_at_once = max(1, _PIXELS_AT_ONCE // (h * w))
    for start in range(0, n, pictures_at_once):
        chunk = images[start : start + pictures_at_once].permute(0, 2, 3, 1).reshape(-1, 3)
        # |x - c|² without |x|², which is the same for every colour
        distance = (colours * colours).sum(dim=1) - 2 * (chunk @ colours.T)
        nearest[start : start + pictures_at_once] = distance.argmin(dim=1).view(-1, h, w)
    return nearest


def palette_to_ab(colours: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """CIELAB a*, b* of palette colours: (K, 3) RGB in byte / 256 -> (K, 2)."""
    encoded = np.clip(colours * FROM_256THS, 0, 1).astype(np.float32)
    return srgb_to_lab(encoded[None])[0, :, 1:]


def annealed_mean(logits: Tensor, palette_ab: Tensor, temperature: Tensor) -> Tensor:
    """Mean a*, b* under softmax(logits / temperature): (N, K, H, W), (K, 2) -> (N, 2, H, W).

    Temperature -> 0 gives the most probable colour, 1 the plain mean. Source: Zhang, Isola, Efros 2016,
    "Colorful Image Colorization", section 2.3.
    """
    probabilities = torch.softmax(logits / temperature, dim=1)
    return torch.einsum("nkhw,kc->nchw", probabilities, palette_ab)


class SoftLabels:
    """Soft labels of chroma: its nearest palette colours, weighted by a Gaussian of their distance.

    ``palette`` (K, 2) a*, b*. They are looked up in a grid of step 2, which is faster than a distance to each colour.
    Source: Zhang, Isola, Efros 2016, "Colorful Image Colorization": five neighbours, sigma 5.
    """

    _LIMIT, _STEP = 110, 2

    def __init__(self, palette: npt.NDArray[np.float32], neighbours: int = 5, sigma: float = 5.0) -> None:
        axis = np.arange(-self._LIMIT, self._LIMIT + 1, self._STEP, dtype=np.float64)
        grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 1, 2)
        square = ((grid - palette[None]) ** 2).sum(axis=2)
        nearest = np.argsort(square, axis=1)[:, :neighbours]
        square = np.take_along_axis(square, nearest, axis=1)
        weights = np.exp(-(square - square[:, :1]) / (2 * sigma**2))
        self._side = len(axis)
        self._nearest = torch.from_numpy(nearest)
        self._weights = torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))

    def __call__(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """Colours, nearest first, and their weights, which sum to 1: (N, 2, H, W) -> 2 x (N, neighbours, H, W)."""
        steps = ((ab.clamp(-self._LIMIT, self._LIMIT) + self._LIMIT) / self._STEP).round().long()
        cell = (steps[:, 0] * self._side + steps[:, 1]).cpu()
        labels, weights = (table[cell].permute(0, 3, 1, 2).to(ab.device) for table in (self._nearest, self._weights))
        return labels, weights


def rebalancing_weights(
    target: Tensor, colours: npt.NDArray[np.float32], mix: float = 0.5, sigma: float = 5.0
) -> npt.NDArray[np.float32]:
    """Weights (K,) that give rare colours of a palette more of the loss; their mean over ``target`` is 1.

    ``colours`` are (K, 3) RGB in byte / 256, or (K, 2) a*, b*; ``target`` holds their indices.

    The colours' frequency in ``target`` is smoothed over neighbours in a*, b* with a Gaussian of ``sigma``, mixed
    with ``mix`` of a uniform one, and inverted. Black, grey and white are one colour in a*, b* and get one weight.
    Source: Zhang, Isola, Efros 2016, "Colorful Image Colorization", equation 4, except for the scale: their weights have
    mean 1 under the smoothed frequency.
    """
    frequency = torch.bincount(target.flatten().int(), minlength=len(colours)).double().numpy()
    frequency /= frequency.sum()
    ab = (palette_to_ab(colours) if colours.shape[1] == 3 else colours).astype(np.float64)
    kernel = np.exp(-((ab[:, None] - ab[None]) ** 2).sum(axis=2) / (2 * sigma**2))
    smoothed = (kernel / kernel.sum(axis=0)) @ frequency  # each colour distributes its frequency over its neighbours
    weights = 1 / ((1 - mix) * smoothed + mix / len(colours))
    weights /= (weights * frequency).sum()
    result: npt.NDArray[np.float32] = weights.astype(np.float32)
    return result
