"""What all data sets share: pictures in memory, seeded splits, and loaders whose order can be resumed."""

import hashlib
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from training.errors import TrainingError

Batch = dict[str, Tensor]


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
    """Inputs with their targets, kept in memory in a compact type.

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


def _as_is(batch: Any) -> Any:
    """Collate: `Pictures.__getitems__` has already made the batch."""
    return batch


class Samples(Protocol):
    """A data set in memory that makes whole batches."""

    def __len__(self) -> int: ...

    def __getitems__(self, indices: list[int]) -> Batch:
        """A batch; index k·len + i is the k-th time that sample i is asked for, where that makes a difference."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 of what the samples are made of."""
        ...


class EpochSampler(DistributedSampler[Any]):
    """Indices that tell the epoch: k·len + i is sample i in epoch k; of all, each epoch draws a ``share`` anew."""

    share = 1.0

    def __iter__(self) -> Iterator[int]:
        drawn = itertools.islice(super().__iter__(), len(self))
        return (self.epoch * len(self.dataset) + index for index in drawn)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return math.ceil(super().__len__() * self.share)


class PictureData(L.LightningDataModule):
    """Training and validation loaders over two data sets; ``workers`` processes make the batches (0: this one).

    ``share`` of the training pictures, drawn anew, make an epoch.
    """

    def __init__(
        self, train: Samples, validation: Samples, batch_size: int, seed: int, workers: int = 0, share: float = 1.0
    ) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size, self.seed = train, validation, batch_size, seed
        self.workers, self.share = workers, share
        if not len(validation):
            raise TrainingError(f"{len(train)} pictures are too few: a tenth of all is for validation, and that is none.")
        if len(train) * share < batch_size:
            raise TrainingError(f"{round(len(train) * share)} pictures are too few for batches of {batch_size}.")

    def _loader(self, dataset: Samples, *, shuffle: bool) -> DataLoader[Batch]:
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        # The order depends on seed and epoch alone (Lightning tells the sampler its epoch), never on how many
        # random numbers were drawn before: a resumed run sees the batches that an uninterrupted one sees.
        sampler = EpochSampler(dataset, replicas, rank, shuffle=shuffle, seed=self.seed)  # type: ignore[arg-type]
        sampler.share = self.share if shuffle else 1.0
        return DataLoader(
            dataset, self.batch_size, sampler=sampler, collate_fn=_as_is, drop_last=shuffle,  # type: ignore[arg-type]
            num_workers=self.workers, persistent_workers=self.workers > 0,
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.validation, shuffle=False)
