"""Faces of 128 x 128 pixels for the Lab family: lightness in, chroma out."""

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from colorize_run import colour
from PIL import Image
from torch import Tensor

from training.conventions import LUMA, from_ab
from training.datasets.pictures import Pictures, read_rgb, split_indices
from training.errors import TrainingError
from training.progress import track

SIZE = 128
_SUFFIXES = (".jpg", ".jpeg", ".png")


def load_faces(data_dir: Path) -> npt.NDArray[np.uint8]:
    """Load ``face_images.zip`` or the folder ``face_images`` of ``data_dir``: (N, 128, 128, 3) uint8, by name.

    Any pictures will do; of pictures of other sizes the middle square is resized. Errors: TrainingError.
    """
    archive, folder = data_dir / "face_images.zip", data_dir / "face_images"
    try:
        if archive.is_file():
            with zipfile.ZipFile(archive) as z:
                names = sorted(name for name in z.namelist() if _is_picture(name))
                pictures = [_read(z.read(name), name) for name in names]
        elif folder.is_dir():
            pictures = [_read(path, path.name) for path in sorted(folder.rglob("*")) if _is_picture(str(path))]
        else:
            raise TrainingError(
                f"There is neither face_images.zip nor a folder face_images in {data_dir}: put pictures of faces there."
            )
    except (OSError, RuntimeError, zipfile.BadZipFile) as error:  # RuntimeError: an encrypted member
        raise TrainingError(f"The faces in {data_dir} cannot be read: {error}") from error
    if not pictures:
        raise TrainingError(f"{archive if archive.is_file() else folder} contains no pictures ({', '.join(_SUFFIXES)}).")
    return np.stack(pictures)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not Path(name).name.startswith(".") and "__MACOSX" not in name


def _read(source: Path | bytes, name: str) -> npt.NDArray[np.uint8]:
    """A picture's middle square at 128 x 128, (128, 128, 3)."""
    rgb = read_rgb(source, f"The face {name}")
    side = min(rgb.size)
    left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
    return np.asarray(colour.resize(rgb.crop((left, top, left + side, top + side)), (SIZE, SIZE)))


def load_split(data_dir: Path, split: str, split_seed: int) -> npt.NDArray[np.uint8]:
    """Load a split: ``train`` and ``validation`` are 90 % and 10 %, ``all`` is both."""
    if split == "test":
        raise TrainingError("The faces have no official test split: use train, validation or all.")
    images = load_faces(data_dir)
    if split == "all":
        return images
    train, validation = split_indices(len(images), split_seed)
    return images[train if split == "train" else validation]


def augmented(images: npt.NDArray[np.uint8], folds: int, seed: int) -> npt.NDArray[np.uint8]:
    """``folds`` copies per picture: itself, then flipped at random, cropped to 85 % or more, R, G, B scaled by 0.6 to 1.

    (N, H, W, 3) uint8 -> (folds * N, H, W, 3). Source: the Lab project's ten-fold augmentation, plus the picture
    itself: a network that learnt from no picture at full brightness is wrong on them.
    """
    rng = np.random.default_rng(seed)
    h, w = images.shape[1:3]
    result = np.empty((folds * len(images), h, w, 3), np.uint8)
    result[: len(images)] = images
    for i in track(range(len(result) - len(images)), "Making variants of faces"):
        picture = result[len(images) + i]
        image = Image.fromarray(images[i % len(images)])
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        side = rng.uniform(0.85, 1)
        left, top = rng.uniform(0, 1 - side, 2) * (w, h)
        crop = image.resize((w, h), Image.Resampling.BILINEAR, (left, top, left + side * w, top + side * h))
        picture[...] = np.rint(np.asarray(crop) * rng.uniform(0.6, 1))
    return result


def lightness_and_chroma(images: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """(N, H, W, 3) uint8 -> L*/100 of the grey picture (N, 1, H, W), and a*, b* (N, 2, H, W); float32."""
    ab = np.stack([colour.srgb_to_lab(image.astype(np.float32) / 255)[..., 1:] for image in images])
    lightness = np.stack([colour.lightness(colour.to_grey(image, LUMA)) for image in images])
    return torch.from_numpy(lightness[:, None] / 100).float(), torch.from_numpy(ab).permute(0, 3, 1, 2).contiguous()


def chroma_dataset(images: npt.NDArray[np.uint8], output: str, *, mean: bool = False) -> Pictures:
    """Lightness with chroma in the scale of a network with this ``output``; with ``mean`` the picture's mean chroma, (N, 2).

    Stored in half precision: an error of at most 0.06 in a*.
    """
    inputs, targets = [], []
    for start in track(range(0, len(images), 500), "Faces to lightness and chroma, by 500"):
        lightness, ab = lightness_and_chroma(images[start : start + 500])
        target = from_ab(ab, output)
        inputs.append(lightness.half())
        targets.append(target.mean(dim=(2, 3)) if mean else target.half())
    return Pictures(torch.cat(inputs), torch.cat(targets))
