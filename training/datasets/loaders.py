"""Loaders whose order can be resumed. Apart from `training.datasets.pictures`: Lightning takes seconds to import."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import lightning as L
from torch.utils.data import DataLoader, DistributedSampler

from training.datasets.pictures import Batch, Samples
from training.errors import TrainingError


def _as_is(batch: Any) -> Any:
    """Collate nothing: `Pictures.__getitems__` has already made the batch."""
    return batch


class EpochSampler(DistributedSampler[Any]):
    """Indices that include the epoch: k·len + i is sample i in epoch k; each epoch draws a ``share`` (0..1) of all."""

    share = 1.0

    def __iter__(self) -> Iterator[int]:
        drawn = itertools.islice(super().__iter__(), len(self))
        return (self.epoch * len(self.dataset) + index for index in drawn)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return math.ceil(super().__len__() * self.share)


class PictureData(L.LightningDataModule):
    """Training and validation loaders over two data sets; ``workers`` processes make the batches (0: this one).

    An epoch is a fraction ``share`` of the training pictures, drawn again for each epoch.
    """

    def __init__(
        self, train: Samples, validation: Samples, batch_size: int, seed: int, workers: int = 0, share: float = 1.0
    ) -> None:
        super().__init__()
        self.train, self.validation, self.batch_size, self.seed = train, validation, batch_size, seed
        self.workers, self.share = workers, share
        if not len(validation):
            raise TrainingError(f"{len(train)} pictures are too few: a tenth of them is for validation, which is none.")
        if len(train) * share < batch_size:
            raise TrainingError(f"{round(len(train) * share)} pictures are too few for batches of {batch_size}.")

    def _loader(self, dataset: Samples, *, shuffle: bool) -> DataLoader[Batch]:
        trainer = self.trainer
        replicas, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        # The order depends only on seed and epoch (which Lightning sets in the sampler), never on how many random
        # numbers were drawn before: a resumed run gets the same batches as an uninterrupted one.
        sampler = EpochSampler(dataset, replicas, rank, shuffle=shuffle, seed=self.seed)  # type: ignore[arg-type]
        sampler.share = self.share if shuffle else 1.0
        return DataLoader(
            dataset,  # type: ignore[arg-type]
            self.batch_size,
            sampler=sampler,
            collate_fn=_as_is,
            drop_last=shuffle,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self.validation, shuffle=False)
