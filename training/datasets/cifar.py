"""CIFAR-10 for colourization: horses by default, any classes on request."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.datasets import CIFAR10

from training.errors import TrainingError
from training.palette import nearest_colour

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HORSES_FILE = "cifar10_horses_train.npz"
_PICTURES_AT_ONCE = 5000

Batch = dict[str, Tensor]


def load_images(data_dir: Path, classes: Sequence[str] = ("horse",), *, test: bool = False) -> npt.NDArray[np.uint8]:
    """Load CIFAR-10 pictures of ``classes`` in their official order: (N, 32, 32, 3) uint8.

    ``data_dir`` holds ``cifar10_horses_train.npz`` (training horses alone), or torchvision's CIFAR-10, which is
    downloaded there when missing. Errors: TrainingError when it can be neither read nor downloaded.
    """
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise TrainingError(f"CIFAR-10 has no class {', '.join(unknown)}; it has {', '.join(CLASSES)}.")
    horses = data_dir / HORSES_FILE
    if horses.is_file() and tuple(classes) == ("horse",) and not test:
        return _load_horses(horses)
    try:
        cifar = CIFAR10(data_dir, train=not test, download=True)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"CIFAR-10 is not in {data_dir} and could not be downloaded ({error}); fetch"
            f" {CIFAR10.url} on a connected machine and unpack it there."
        ) from error
    wanted = np.isin(np.asarray(cifar.targets), [CLASSES.index(name) for name in classes])
    return np.asarray(cifar.data)[wanted]


def _load_horses(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            images: npt.NDArray[np.uint8] = archive["images"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is no archive with an array `images`: {error}.") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
        raise TrainingError(f"{path} should hold images (N, 32, 32, 3) of uint8, found {images.shape} of {images.dtype}.")
    return images


def split_indices(count: int, seed: int, fraction: float = 0.1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split ``range(count)`` at random into training and validation indices (1 - fraction, fraction)."""
    order = np.random.default_rng(seed).permutation(count)
    held_out = round(count * fraction)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def load_split(data_dir: Path, split: str, classes: Sequence[str], split_seed: int) -> npt.NDArray[np.uint8]:
    """Load a split: ``train`` and ``validation`` divide the official training set, ``all`` is the whole of it, or ``test``."""
    images = load_images(data_dir, classes, test=split == "test")
    if split in ("test", "all"):
        return images
    train, validation = split_indices(len(images), split_seed)
    return images[train if split == "train" else validation]


def to_tensor(images: npt.NDArray[np.uint8]) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 as byte / 256, the assignment's scale."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 256


class PaletteDataset(Dataset[Batch]):
    """Grey pictures with the nearest palette colour of each pixel, kept in memory.

    ``grey`` (N, 1, H, W) float32 is the mean of R, G, B in byte / 256; ``target`` (N, H, W) int64.
    """

    def __init__(self, images: npt.NDArray[np.uint8], colours: npt.NDArray[np.float32]) -> None:
        n, h, w, _ = images.shape
        palette = torch.from_numpy(colours)
        self.grey = torch.empty((n, 1, h, w))
        self.target = torch.empty((n, h, w), dtype=torch.uint8)  # at most 256 colours
        for start in range(0, n, _PICTURES_AT_ONCE):  # all 50,000 at once in float32 would take 2 GB
            rgb = to_tensor(images[start : start + _PICTURES_AT_ONCE])
            self.grey[start : start + len(rgb)] = rgb.mean(dim=1, keepdim=True)
            self.target[start : start + len(rgb)] = nearest_colour(rgb, palette).to(torch.uint8)

    def __len__(self) -> int:
        return len(self.grey)

    def __getitem__(self, index: int) -> Batch:
        return {"grey": self.grey[index], "target": self.target[index].long()}

    def __getitems__(self, indices: list[int]) -> Batch:
        """A whole batch at once: DataLoader calls this instead of one ``__getitem__`` a picture."""
        return {"grey": self.grey[indices], "target": self.target[indices].long()}


def _as_is(batch: Any) -> Any:
    """Collate: `PaletteDataset.__getitems__` has already made the batch."""
    return batch


class CifarData(L.LightningDataModule):
    """Seeded 90/10 training and validation loaders over CIFAR-10 with palette targets."""

    def __init__(
        self,
        data_dir: Path,
        colours: npt.NDArray[np.float32],
        classes: Sequence[str],
        batch_size: int,
        seed: int,
        split_seed: int,
    ) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.train = PaletteDataset(load_split(data_dir, "train", classes, split_seed), colours)
        self.validation = PaletteDataset(load_split(data_dir, "validation", classes, split_seed), colours)
        if len(self.train) < batch_size or not len(self.validation):
            raise TrainingError(f"{len(self.train)} pictures are too few for batches of {batch_size}.")

    def _loader(self, dataset: PaletteDataset, *, shuffle: bool) -> DataLoader[Batch]:
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        # The order depends on seed and epoch alone (Lightning tells the sampler its epoch), never on how many
        # random numbers were drawn before: a resumed run sees the batches that an uninterrupted one sees.
        sampler: DistributedSampler[Batch] = DistributedSampler(dataset, replicas, rank, shuffle=shuffle, seed=self.seed)
        return DataLoader(dataset, self.batch_size, sampler=sampler, collate_fn=_as_is, drop_last=shuffle)

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.validation, shuffle=False)
