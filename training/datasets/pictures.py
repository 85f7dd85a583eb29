"""Shared by all data sets: how pictures are read and scaled, pictures in memory, and seeded splits."""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from colorize_run.image.picture import to_bytes
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from training.errors import TrainingError

Batch = dict[str, Tensor]


def read_rgb(source: Path | bytes, what: str) -> Image.Image:
    """Read a picture from a file or its bytes: upright, R, G, B of 8 bits. Errors: TrainingError about ``what``."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if image.mode in ("I", "F"):
                raise TrainingError(f"{what} contains 32-bit numbers, whose white is unknown: save it with 8 or 16 bits.")
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):  # Pillow would clip values above 255
                upright = Image.fromarray(to_bytes(np.asarray(upright, np.uint16)))
            return upright.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(f"{what} cannot be read: it is not a picture, or damaged ({type(error).__name__}).") from error


def split_indices(count: int, seed: int, fraction: float = 0.1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split ``range(count)`` at random into training and validation indices (1 - fraction, fraction)."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = round(count * fraction)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 as byte / 256, the assignment's scale."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 256


def fingerprint(arrays: Iterable[npt.NDArray[Any]]) -> str:
    """SHA-256 of arrays and their shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


class WholeBatches(Dataset[Batch], ABC):
    """A data set that makes whole batches: DataLoader calls ``__getitems__`` instead of one ``__getitem__`` a picture."""

    def __getitem__(self, index: int) -> Batch:
        return {name: value[0] for name, value in self.__getitems__([index]).items()}

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> Batch:
        """The batch of these samples."""


class Pictures(WholeBatches):
    """Inputs with their targets, stored in memory in a compact type.

    ``input`` (N, C, H, W); ``target`` (N, H, W) class numbers, (N, C, H, W) or (N, C). Batches come as float32,
    class numbers as int64.
    """

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self.input, self.target = inputs, target

    def fingerprint(self) -> str:
        """SHA-256 of all inputs and targets."""
        digest = hashlib.sha256()
        for tensor in (self.input, self.target):
            digest.update(tensor.contiguous().numpy().reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.input)

    def __getitems__(self, indices: list[int]) -> Batch:
        indices = [index % len(self) for index in indices]
        target = self.target[indices]
        return {"input": self.input[indices].float(), "target": target.float() if target.is_floating_point() else target.long()}


class Samples(Protocol):
    """A data set in memory that makes whole batches."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch; index k·len + i is sample i in epoch k, for data sets where the epoch makes a difference."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of the data from which the samples are made."""
        ...
