"""Colour photographs of any size, from folders and zip archives, for the photo colourizer."""

import hashlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import cv2
import numpy as np
import numpy.typing as npt
import torch
from colorize_run import colour
from colorize_run.model.contract import CELL
from PIL import Image

from training.datasets.ageing import LUMA_WEIGHTS, aged
from training.datasets.colourless import colourless
from training.datasets.hints import draw
from training.datasets.near_duplicates import near_duplicates
from training.datasets.pictures import Batch, WholeBatches, fingerprint, read_rgb
from training.errors import TrainingError
from training.progress import track

STORED_SIDE = 192  # short side in memory; crops are cut out of this
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_OTHERS = ("face_images", "trimaps", "__macosx")  # names of other data sets that lie beside the photographs
# What zipfile raises on damaged archives and members; RuntimeError: an encrypted one
_DAMAGED = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
_NEAR_GREY = 6.0  # mean chroma; pictures below would teach that things are grey
ByteArray = npt.NDArray[np.uint8]


Stored = ByteArray | bytes | Path  # pixels, or an encoded picture in memory or on the disk


@dataclass(frozen=True)
class Photos:
    """Photographs as they are ``stored``, and the archive or folder of each; maybe what it shows, its subject."""

    stored: Sequence[Stored]
    sources: list[str]
    subjects: Sequence[str] = ()

    @property
    def images(self) -> "Images":
        """The pictures, (H, W, 3) uint8 each."""
        return Images(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, chosen: slice) -> "Photos":
        return Photos(self.stored[chosen], self.sources[chosen], self.subjects[chosen])

    def __add__(self, other: "Photos") -> "Photos":
        subjects = [subject for part in (self, other) for subject in (part.subjects or part.sources)]
        return Photos([*self.stored, *other.stored], self.sources + other.sources, subjects)

    def subset(self, indices: npt.NDArray[np.int64]) -> "Photos":
        """Those at ``indices``, in that order."""
        subjects = [self.subjects[i] for i in indices] if self.subjects else ()
        return Photos([self.stored[i] for i in indices], [self.sources[i] for i in indices], subjects)

    def fingerprint(self) -> str:
        """SHA-256 of all pixels; of the encoded pictures where subjects are known, as there are too many to decode."""
        if not self.subjects:
            return fingerprint(self.images)
        digest = hashlib.sha256()
        for stored in self.stored:
            digest.update(stored.read_bytes() if isinstance(stored, Path) else bytes(stored))
        return digest.hexdigest()


class Images(Sequence[ByteArray]):
    """Pictures that are decoded each time they are used: a hundred thousand would not fit in memory as pixels."""

    def __init__(self, stored: Sequence[Stored]) -> None:
        self._stored = stored

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> ByteArray: ...

    @overload
    def __getitem__(self, index: slice) -> "Images": ...

    def __getitem__(self, index: int | slice) -> "ByteArray | Images":
        if isinstance(index, slice):
            return Images(self._stored[index])
        stored = self._stored[index]
        return stored if isinstance(stored, np.ndarray) else _read(stored, stored.name if isinstance(stored, Path) else "")


def load_photos(data_dir: Path) -> Photos:
    """Load every colour photograph under ``data_dir``, a folder or a zip archive, archives in folders included.

    They are reduced to a short side of STORED_SIDE. Nearly grey ones are left out, and so are faces and masks of other
    data sets in the same folder. Files that cannot be read are an error. Errors: TrainingError.
    """
    photos = load_loose_photos(data_dir)
    if not len(photos):
        raise TrainingError(f"There are no colour photographs ({', '.join(_SUFFIXES)}) in {data_dir}.")
    return photos


def load_loose_photos(data_dir: Path) -> Photos:
    """`load_photos`, but it may find none. Collections (`collection_folders`) are left out."""
    stored: list[Stored] = []
    sources = []
    for name, source, data in _files(data_dir):
        image = _read(data, name)
        if mean_chroma(image) >= _NEAR_GREY:
            stored.append(_compact(image, data))
            sources.append(source)
    return Photos(stored, sources)


def _compact(image: ByteArray, data: bytes | Path) -> bytes:
    """An encoded picture that decodes to ``image``: its own file if that is small, and otherwise PNG."""
    encoded = data.read_bytes() if isinstance(data, Path) else data
    limit = 50_000  # bytes; files of small pictures are smaller
    if len(encoded) < limit and np.array_equal(_read(encoded, ""), image):
        return encoded
    return bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])


def collection_folders(data_dir: Path) -> list[Path]:
    """Folders under ``data_dir`` with a manifest of the columns file, source, subject (`training.datasets.photo_archive`)."""
    manifests = sorted(data_dir.rglob("manifest.csv")) if data_dir.is_dir() else []
    return [manifest.parent for manifest in manifests if _is_manifest(manifest)]


def _is_manifest(path: Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return {"file", "source", "subject"} <= set(file.readline().strip().split(","))


def _is_photograph(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(_SUFFIXES) and not Path(name).name.startswith(".") and not any(part in lower for part in _OTHERS)


def _files(data_dir: Path) -> Iterator[tuple[str, str, bytes | Path]]:
    """(name, source, contents or path) of each picture file, in an order that does not depend on the file system."""
    if not data_dir.exists():
        raise TrainingError(f"{data_dir} does not exist.")
    collections = set(collection_folders(data_dir))
    paths = [data_dir] if data_dir.is_file() else sorted(path for path in data_dir.rglob("*") if path.is_file())
    paths = [path for path in paths if collections.isdisjoint(path.parents)]
    for path in paths:
        if path.suffix.lower() == ".zip" and not any(part in path.name.lower() for part in _OTHERS):
            try:
                with zipfile.ZipFile(path) as archive:
                    names = sorted(name for name in archive.namelist() if _is_photograph(name))
                    for name in track(names, f"Reading {path.name}"):
                        yield f"{path}/{name}", _source(path.stem, name), archive.read(name)
            except _DAMAGED as error:
                raise TrainingError(f"{path} cannot be read: {error}") from error
        elif _is_photograph(str(path.relative_to(data_dir))):
            yield str(path), path.parent.name, path


def _source(archive: str, name: str) -> str:
    """The archive; where it contains several sets, with the set that starts a file's name: ``weather_cloudy10.jpg``."""
    first, _, rest = Path(name).stem.partition("_")
    return f"{archive}/{first}" if archive.startswith("general") and rest else archive


def _read(data: bytes | Path, name: str) -> ByteArray:
    rgb = read_rgb(data, f"The photograph {name}")
    scale = min(1.0, STORED_SIDE / min(rgb.size))
    size = max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))
    return np.array(colour.resize(rgb, size))


def mean_chroma(image: ByteArray) -> float:
    """Mean distance from grey in a*, b* of a picture (H, W, 3)."""
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    return float(np.hypot(*colour.srgb_to_lab(small)[..., 1:].transpose(2, 0, 1)).mean())


def split(photos: Photos, seed: int, fraction: float = 0.1) -> tuple[Photos, Photos]:
    """Training and validation photographs (1 - fraction, fraction), every group of near-duplicates on one side."""
    group = near_duplicates(photos.images)
    names = np.unique(group)
    held_out = np.random.default_rng(seed).permutation(names)[: round(len(names) * fraction)]
    validation = np.isin(group, held_out)
    order = np.random.default_rng(seed).permutation(len(photos))  # so that the first few are a mixture of sources
    return photos.subset(order[~validation[order]]), photos.subset(order[validation[order]])


def square(image: ByteArray, side: int) -> ByteArray:
    """The middle square of a picture at ``side`` x ``side``."""
    h, w = image.shape[:2]
    short = min(h, w)
    top, left = (h - short) // 2, (w - short) // 2
    return np.asarray(colour.resize(Image.fromarray(image[top : top + short, left : left + short]), (side, side)))


class PhotoSamples(WholeBatches):
    """Square samples of photographs: ``input`` (N, 1, S, S) grey 0..1, ``target`` (N, 2, S/4, S/4) mean a*, b* of cells.

    With ``augment``, sample k·len + i is the k-th variant of picture i: a random crop, mirrored or not, made grey like an
    old photograph (`training.datasets.ageing`), sometimes with the border of a scan. The variant depends only on ``seed``
    and k·len + i. A share of ``colourless`` is replaced by pictures without colour (`training.datasets.colourless`). With
    ``hints``, ``input`` (N, 4, S, S) has true hints beside the grey (`training.datasets.hints`).
    Without ``augment``, it is the middle square and its luma. In the last quarter of ``epochs`` S is
    ``final_side``, if that is given.
    """

    def __init__(
        self, photos: Photos, side: int, seed: int, *, augment: bool, final_side: int = 0, epochs: int = 0,
        hints: bool = False, colourless: float = 0.0,
    ) -> None:  # fmt: skip
        self.photos, self.side, self.seed, self.augment = photos, side, seed, augment
        self.final_side, self.final_epoch, self.hints = final_side or side, epochs - epochs // 4, hints
        self.colourless = colourless

    def __len__(self) -> int:
        return len(self.photos)

    def fingerprint(self) -> str:
        """SHA-256 of the photographs."""
        return self.photos.fingerprint()

    def __getitems__(self, indices: list[int]) -> Batch:
        samples = [self._sample(index) for index in indices]
        grey, ab = (np.stack(part) for part in zip(*samples, strict=True))
        planes = [grey[:, None]]
        if self.hints:
            drawn = [draw(part, CELL, self._generator(index, 2)) for part, index in zip(ab, indices, strict=True)]
            planes.append(np.stack(drawn))
        target = torch.from_numpy(ab).permute(0, 3, 1, 2).contiguous()
        return {"input": torch.from_numpy(np.concatenate(planes, axis=1)), "target": target}

    def _generator(self, *place: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *place))

    def chroma(self, limit: int) -> npt.NDArray[np.float32]:
        """Chroma of the cells of ``limit`` photographs, without augmentation: (M, 2)."""
        pictures = (square(image, 64).astype(np.float32) / np.float32(255) for image in self.chroma_pictures(limit))
        return np.concatenate([self._chroma(picture) for picture in pictures]).reshape(-1, 2)

    def chroma_pictures(self, limit: int) -> Sequence[ByteArray]:
        """The pictures, at most ``limit``, that stand for all when their chroma is clustered."""
        return self.photos.images[:limit]

    def position(self, index: int) -> int:
        """The photograph of sample ``index``."""
        return index % len(self)

    def _sample(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        image = self.photos.images[self.position(index)]
        side = self.side if index // len(self) < self.final_epoch else self.final_side
        if not self.augment:
            middle: npt.NDArray[np.float32] = square(image, self.side).astype(np.float32) / np.float32(255)
            return middle @ LUMA_WEIGHTS, self._chroma(middle)
        rng = self._generator(index)
        rgb: npt.NDArray[np.float32] = _random_crop(image, side, rng).astype(np.float32) / np.float32(255)
        grey, ab = aged(rgb, rng), self._chroma(rgb)
        if self.colourless and rng.random() < self.colourless:
            grey, ab = colourless(grey, rng), np.zeros_like(ab)
        if rng.random() < 0.05:
            _add_border(grey, ab, rng)
        return grey, ab

    def _chroma(self, rgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        cells = rgb.shape[0] // CELL
        small = cv2.resize(rgb, (cells, cells), interpolation=cv2.INTER_AREA)
        return colour.srgb_to_lab(small)[..., 1:].astype(np.float32)  # type: ignore[arg-type]


def _random_crop(image: ByteArray, side: int, rng: np.random.Generator) -> ByteArray:
    """A part of the picture, 30 % of its area or more, squeezed by up to a quarter, mirrored half the time."""
    h, w = image.shape[:2]
    area, aspect = rng.uniform(0.3, 1), np.exp(rng.uniform(-0.25, 0.25))
    longest = np.sqrt(area) * min(h, w)
    crop_h = min(h, max(1, round(longest / np.sqrt(aspect))))
    crop_w = min(w, max(1, round(longest * np.sqrt(aspect))))
    top, left = rng.integers(0, h - crop_h + 1), rng.integers(0, w - crop_w + 1)
    crop = image[top : top + crop_h, left : left + crop_w]
    shrinks = min(crop_h, crop_w) > side
    resized = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized[:, ::-1] if rng.random() < 0.5 else resized)


def _add_border(grey: npt.NDArray[np.float32], ab: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Cover one to four sides of a sample, in place, with the colourless border of a print or a scan."""
    tone = rng.uniform(0, 0.15) if rng.random() < 0.4 else rng.uniform(0.75, 1)
    for axis in rng.permutation(4)[: rng.integers(1, 5)]:
        cells = int(rng.integers(1, max(2, ab.shape[0] // 8)))
        for plane, width, value in ((grey, cells * CELL, tone), (ab, cells, 0)):
            turned = plane.swapaxes(0, 1) if axis % 2 else plane
            turned[slice(None, width) if axis < 2 else slice(-width, None)] = value
