"""Large collections of photographs: folders with a manifest of sources and subjects, read while training goes on."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.datasets.photos import (
    ByteArray,
    Photos,
    PhotoSamples,
    collection_folders,
    load_loose_photos,
    load_photos,
    split,
)
from training.errors import TrainingError

HELD_OUT = "held-out.txt"  # beside a manifest: names of sources that are never trained on, one a line


@dataclass(frozen=True)
class PhotoSplits:
    """Photographs by their use: ``sources`` are those of whole sources that are never trained on, maybe none."""

    train: Photos
    validation: Photos
    sources: Photos


def load_splits(data_dir: Path, seed: int) -> PhotoSplits:
    """Load the photographs under ``data_dir`` as they are used for training.

    Loose photographs and zip archives are split at random by ``seed``, as always. Those of collections (folders with a
    manifest) all join the training, except held-out sources; where there are only collections, they are split at random.
    A collection must not contain near-duplicates of the loose photographs. Errors: TrainingError.
    """
    collected, held_out = load_collections(data_dir)
    loose = load_loose_photos(data_dir) if len(collected) or len(held_out) else load_photos(data_dir)
    train, validation = split(loose if len(loose) else collected, seed)
    if len(loose) and len(collected):
        train = train + collected
    return PhotoSplits(train, validation, held_out)


def load_split(data_dir: Path, name: str, seed: int) -> Photos:
    """Load the split ``name`` of the photographs: train, validation, sources or all. Errors: TrainingError."""
    if name == "test":
        raise TrainingError("The photographs have no official test split: use train, validation, sources or all.")
    if name == "all":
        collected, held_out = load_collections(data_dir)
        return load_loose_photos(data_dir) + collected + held_out if len(collected) else load_photos(data_dir)
    photos: Photos = getattr(load_splits(data_dir, seed), name)
    if name == "sources" and not len(photos):
        raise TrainingError(f"There are no photographs of held-out sources in {data_dir}: no {HELD_OUT} beside a manifest.")
    return photos


def load_collections(data_dir: Path) -> tuple[Photos, Photos]:
    """Photographs of the collections under ``data_dir``: for training, and of held-out sources.

    A collection is a folder with a ``manifest.csv`` of the columns file, source and subject, which has already been
    reduced and cleaned of near-duplicates and grey pictures. The files stay on the disk. Errors: TrainingError.
    """
    rows = [row for folder in collection_folders(data_dir) for row in _rows(folder)]
    return _photos([row for row in rows if not row.held_out]), _photos([row for row in rows if row.held_out])


@dataclass(frozen=True)
class _Row:
    path: Path
    source: str
    subject: str
    held_out: bool


def _rows(folder: Path) -> list[_Row]:
    listed = folder / HELD_OUT
    names = tuple(line.strip() for line in listed.read_text().splitlines() if line.strip()) if listed.is_file() else ()
    rows = []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            source, path = row["source"], folder / row["file"]
            if not path.is_file():
                raise TrainingError(f"{path} does not exist, but {folder / 'manifest.csv'} lists it.")
            # A source may be several folders of one repository: owner+name+folder
            held_out = any(source == name or source.startswith(f"{name}+") for name in names)
            rows.append(_Row(path, source, row["subject"], held_out))
    return rows


def _photos(rows: list[_Row]) -> Photos:
    return Photos([row.path for row in rows], [row.source for row in rows], [row.subject for row in rows])


class BalancedSamples(PhotoSamples):
    """`PhotoSamples` that draws photographs by subject: a subject counts by the square root of its number.

    So no large source dominates, and the pictures of a small one are not repeated without end. What sample i is depends on
    ``seed`` and i alone; an epoch has as many samples as there are photographs.
    """

    def __init__(
        self, photos: Photos, side: int, seed: int, *, final_side: int = 0, epochs: int = 0, hints: bool = False,
        colourless: float = 0.0,
    ) -> None:  # fmt: skip
        options: Any = {"final_side": final_side, "epochs": epochs, "hints": hints, "colourless": colourless}
        super().__init__(photos, side, seed, augment=True, **options)
        subjects = photos.subjects or photos.sources
        counts = Counter(subjects)
        weights = np.cumsum([counts[subject] ** -0.5 for subject in subjects])
        self._until = weights / weights[-1]

    def position(self, index: int) -> int:
        """See `PhotoSamples`."""
        drawn = np.random.default_rng((self.seed, index, 1)).random()
        return min(int(np.searchsorted(self._until, drawn, side="right")), len(self) - 1)

    def chroma_pictures(self, limit: int) -> list[ByteArray]:
        """See `PhotoSamples`."""
        return [self.photos.images[self.position(index)] for index in range(min(limit, len(self)))]


def sampled(photos: Photos, side: int, seed: int, **options: Any) -> PhotoSamples:
    """Training samples of ``photos`` with further ``options`` of `PhotoSamples`: balanced where their subjects are known."""
    if photos.subjects:
        return BalancedSamples(photos, side, seed, **options)
    return PhotoSamples(photos, side, seed, augment=True, **options)
