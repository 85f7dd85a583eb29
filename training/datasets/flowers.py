"""Oxford 17 Flowers with their trimaps, for segmentation. Source: Nilsback and Zisserman 2006 and 2007."""

import csv
import io
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from colorize_run import colour
from PIL import Image
from scipy.io import loadmat
from torchvision.datasets.utils import download_url

from training.datasets.near_duplicates import near_duplicates
from training.datasets.photos import ByteArray
from training.datasets.pictures import Batch, WholeBatches, fingerprint
from training.errors import TrainingError
from training.files import remove_what_stays_empty
from training.progress import track

CLASSES = ("background", "flower")
CLASS_COLOURS = ((0, 0, 0), (128, 0, 0))
UNLABELLED = 255  # in masks; loss and metrics ignore these pixels

SHARED_ARCHIVE = "oxford17_flowers.zip"
URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
PUBLIC_FILES = ("17flowers.tgz", "trimaps.tgz", "datasplits.mat")
_DAMAGED = (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
_BORDER = (0, 0, 0)


@dataclass(frozen=True)
class Flowers:
    """Pictures (H, W, 3) uint8, and the mask (h, w) of each: 0 background, 1 flower, 255 unlabelled.

    A mask may be of another size than its picture: both show the same rectangle.
    """

    names: list[str]
    images: list[ByteArray]
    masks: list[ByteArray]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, chosen: slice) -> "Flowers":
        return Flowers(self.names[chosen], self.images[chosen], self.masks[chosen])

    def subset(self, indices: npt.NDArray[np.int64]) -> "Flowers":
        """Those at ``indices``, in that order."""
        return Flowers(*([part[i] for i in indices] for part in (self.names, self.images, self.masks)))

    def fingerprint(self) -> str:
        """SHA-256 of all pictures and masks."""
        return fingerprint([*self.images, *self.masks])


def load_flowers(data_dir: Path) -> Flowers:
    """Load every flower that has a trimap, by name.

    ``data_dir`` holds ``oxford17_flowers.zip``, or the public archives, which are downloaded there when missing.
    Errors: TrainingError.
    """
    return _load(data_dir)[0]


def load_split(data_dir: Path, name: str, seed: int) -> Flowers:
    """Load a split: train and validation, all, or test, which only the public archives have. Errors: TrainingError."""
    return load_flowers(data_dir) if name == "all" else load_splits(data_dir, (name,), seed)[0]


def load_splits(data_dir: Path, names: Sequence[str], seed: int) -> list[Flowers]:
    """Load several splits at once. Errors: TrainingError."""
    flowers, official, pairs = _load(data_dir)
    sides = _official_sides(flowers, official) if official else _seeded_sides(flowers, seed)
    sides = _with_duplicates_together(flowers, sides, pairs)
    splits = []
    for name in names:
        chosen = np.flatnonzero(sides == name)
        if not len(chosen):
            raise TrainingError(f"The flowers in {data_dir} have no {name} split, which needs datasplits.mat.")
        # In random order, so that the first few are a mixture
        splits.append(flowers.subset(np.random.default_rng(seed).permutation(chosen)))
    return splits


Splits = dict[str, set[str]]  # split -> names
Pairs = list[tuple[str, str]]


def _load(data_dir: Path) -> tuple[Flowers, Splits, Pairs]:
    """Flowers, the official splits where there are any, and the known pairs of near-duplicates."""
    shared = data_dir / SHARED_ARCHIVE
    try:
        if shared.is_file():
            with zipfile.ZipFile(shared) as archive:
                files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
            return _decode(files), {}, _pairs(files)
        with remove_what_stays_empty(data_dir):
            _fetch(data_dir)
        files = {}
        for name in PUBLIC_FILES[:2]:
            with tarfile.open(data_dir / name) as tar:
                for member in track([member for member in tar if member.isfile()], f"Reading {name}"):
                    contents = tar.extractfile(member)
                    assert contents is not None
                    files[member.name] = contents.read()
        splits = data_dir / PUBLIC_FILES[2]
        return _decode(files), _official_splits(splits) if splits.is_file() else {}, []
    except _DAMAGED as error:
        raise TrainingError(
            f"The flowers in {data_dir} cannot be read ({str(error) or type(error).__name__}): delete the damaged file, and"
            " it is downloaded again."
        ) from error


def _fetch(data_dir: Path) -> None:
    for name in PUBLIC_FILES:
        if (data_dir / name).is_file():
            continue
        try:
            partial = f"{name}.partial"  # so that a partial download is not taken for the archive
            download_url(URL + name, str(data_dir), partial)
            (data_dir / partial).replace(data_dir / name)
        except (OSError, RuntimeError) as error:
            if name == PUBLIC_FILES[2]:  # a seeded split replaces it
                print(f"{name} could not be downloaded ({error}): a random tenth is used for validation.", file=sys.stderr)
                continue
            raise TrainingError(
                f"{name} is not in {data_dir} and could not be downloaded ({error}); fetch {URL}{name} on a connected"
                " machine and put it there."
            ) from error


def _official_splits(path: Path) -> Splits:
    """The first of the three official splits; their numbers count from 1."""
    keys = {"train": "trn1", "validation": "val1", "test": "tst1"}
    try:
        mat = loadmat(path)
        return {split: {f"image_{int(number):04}" for number in mat[key].ravel()} for split, key in keys.items()}
    except Exception as error:  # SciPy raises nearly anything on a damaged file
        raise TrainingError(f"{path} is damaged ({type(error).__name__}): delete it, and it is downloaded again.") from error


def _pairs(files: Mapping[str, bytes]) -> Pairs:
    rows = csv.DictReader(io.StringIO(files.get("near_duplicates.csv", b"").decode()))
    return [(Path(row["a"]).stem, Path(row["b"]).stem) for row in rows]


def _decode(files: Mapping[str, bytes]) -> Flowers:
    pictures = {Path(name).stem: data for name, data in files.items() if name.endswith(".jpg")}
    trimaps = {Path(name).stem: data for name, data in files.items() if name.endswith(".png")}
    names = sorted(pictures.keys() & trimaps.keys())
    if not names:
        raise TrainingError("The archives contain no picture with a trimap.")
    images, masks = [], []
    for name in track(names, "Reading flowers"):
        with Image.open(io.BytesIO(pictures[name])) as image:
            images.append(np.array(image.convert("RGB")))
        with Image.open(io.BytesIO(trimaps[name])) as image:
            masks.append(mask_of(np.array(image.convert("RGB"))))
    return Flowers(names, images, masks)


def mask_of(trimap: ByteArray) -> ByteArray:
    """Convert a trimap (h, w, 3) in its colours to a mask: the border is unlabelled, all but the flower is background."""
    mask: ByteArray = (trimap == CLASS_COLOURS[1]).all(axis=2).astype(np.uint8)
    mask[(trimap == _BORDER).all(axis=2)] = UNLABELLED
    return mask


def _official_sides(flowers: Flowers, official: Splits) -> npt.NDArray[np.str_]:
    of_name = {name: split for split, names in official.items() for name in names}
    return np.array([of_name.get(name, "train") for name in flowers.names])


def _seeded_sides(flowers: Flowers, seed: int, fraction: float = 0.1) -> npt.NDArray[np.str_]:
    held_out = np.random.default_rng(seed).permutation(len(flowers))[: round(len(flowers) * fraction)]
    sides = np.full(len(flowers), "train", "<U10")
    sides[held_out] = "validation"
    return sides


def _with_duplicates_together(flowers: Flowers, sides: npt.NDArray[np.str_], pairs: Pairs) -> npt.NDArray[np.str_]:
    """Move near-duplicates of a held-out picture to its split: training has fewer pictures, and nothing leaks."""
    group = near_duplicates(flowers.images)
    index = {name: i for i, name in enumerate(flowers.names)}
    for a, b in pairs:
        if a in index and b in index:
            group[group == group[index[b]]] = group[index[a]]
    sides = sides.copy()
    for side in ("validation", "test"):
        sides[np.isin(group, group[sides == side])] = side
    return sides


def fitted(image: ByteArray, mask: ByteArray, size: tuple[int, int]) -> tuple[npt.NDArray[np.float32], ByteArray]:
    """Picture (H, W, 3), 0..1, as the runtime would resize it, and mask (H, W) of ``size`` (width, height)."""
    small = np.asarray(colour.resize(Image.fromarray(image), size)).astype(np.float32) / np.float32(255)
    return small, np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


class FlowerSamples(WholeBatches):
    """Square samples: ``input`` (N, 3, S, S), R, G, B, 0..1, ``target`` (N, S, S) class numbers, 255 unlabelled.

    Without ``augment`` the whole picture, squeezed into the square, as in the original recipe. With it, sample
    k·len + i is the k-th variant of picture i: turned, scaled, squeezed, mirrored, and in another light. The variant
    depends only on ``seed`` and k·len + i. In the last quarter of ``epochs`` S is ``final_side``, if that is given. Masks
    are taken from the nearest pixel, never blended.
    """

    def __init__(self, flowers: Flowers, side: int, seed: int, *, augment: bool, final_side: int = 0, epochs: int = 0) -> None:
        self.flowers, self.side, self.seed, self.augment = flowers, side, seed, augment
        self.final_side, self.final_epoch = final_side or side, epochs - epochs // 4

    def __len__(self) -> int:
        return len(self.flowers)

    def fingerprint(self) -> str:
        """SHA-256 of the flowers."""
        return self.flowers.fingerprint()

    def __getitems__(self, indices: list[int]) -> Batch:
        pictures, masks = (np.stack(part) for part in zip(*map(self._sample, indices), strict=True))
        planes = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))
        return {"input": torch.from_numpy(planes), "target": torch.from_numpy(masks.astype(np.int64))}

    def _sample(self, index: int) -> tuple[npt.NDArray[np.float32], ByteArray]:
        image, mask = self.flowers.images[index % len(self)], self.flowers.masks[index % len(self)]
        if not self.augment:
            return fitted(image, mask, (self.side, self.side))
        rng = np.random.default_rng((self.seed, index))
        side = self.side if index // len(self) < self.final_epoch else self.final_side
        place = _random_place(image.shape[1], image.shape[0], side, rng)
        size, flags = (side, side), cv2.WARP_INVERSE_MAP
        picture = cv2.warpAffine(image, place, size, flags=flags | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        whole = cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        labels = cv2.warpAffine(whole, place, size, flags=flags | cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
        return _in_another_light(picture.astype(np.float32) / np.float32(255), rng), np.asarray(labels, np.uint8)


def _random_place(width: int, height: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Affine matrix (2, 3) from the sample to a part of the picture: turned by up to 25°, 0.5 to 1.25 of its short side."""
    angle, scale = np.deg2rad(rng.uniform(-25, 25)), min(width, height) * np.exp(rng.uniform(np.log(0.5), np.log(1.25))) / side
    squeeze = np.exp(rng.uniform(-0.15, 0.15))
    mirror = -1 if rng.random() < 0.5 else 1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag([mirror * scale * squeeze, scale / squeeze])
    # Range of the part's middle: inside the picture, and a little beyond
    room = np.maximum(np.array([width, height]) - scale * side, 0) / 2 + 0.05 * side
    middle = np.array([width, height]) / 2 + rng.uniform(-room, room)
    return np.column_stack([linear, middle - linear @ np.array([side, side]) / 2])


def _in_another_light(rgb: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Change exposure, contrast, saturation and white balance; sometimes blur, add noise, recompress or remove colour."""
    grey = rgb.mean(axis=2, keepdims=True)
    saturation = 0.0 if rng.random() < 0.05 else rng.uniform(0.6, 1.4)
    mixed = grey + (rgb - grey) * np.float32(saturation)
    mixed = mixed * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    middle = np.float32(mixed.mean())
    mixed = (mixed - middle) * np.float32(rng.uniform(0.75, 1.3)) + middle * np.float32(rng.uniform(0.6, 1.35))
    if rng.random() < 0.2:
        mixed = cv2.GaussianBlur(mixed, (0, 0), rng.uniform(0.3, 1.6))
    if rng.random() < 0.2:
        mixed = mixed + rng.normal(0, rng.uniform(0.01, 0.05), mixed.shape).astype(np.float32)
    result: npt.NDArray[np.float32] = np.clip(mixed, 0, 1).astype(np.float32)
    if rng.random() < 0.2:
        result = _recompressed(result, int(rng.integers(25, 90)))
    return result


def _recompressed(rgb: npt.NDArray[np.float32], quality: int) -> npt.NDArray[np.float32]:
    buffer = io.BytesIO()
    Image.fromarray((rgb * 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer)).astype(np.float32) / np.float32(255)
