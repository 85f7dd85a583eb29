"""CIFAR-10 for colourization: horses by default, any classes on request."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torchvision.datasets import CIFAR10

from training.datasets.pictures import Pictures, split_indices, to_tensor
from training.errors import TrainingError
from training.files import remove_what_stays_empty
from training.palette import nearest_colour

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HORSES_FILE = "cifar10_horses_train.npz"
_PICTURES_AT_ONCE = 5000


def load_images(data_dir: Path, classes: Sequence[str] = ("horse",), *, test: bool = False) -> npt.NDArray[np.uint8]:
    """Load CIFAR-10 pictures of ``classes`` in their official order: (N, 32, 32, 3) uint8.

    ``data_dir`` holds torchvision's CIFAR-10, which is downloaded there when missing, or arrays of it:
    ``cifar10_train.npz`` and ``cifar10_test.npz`` with ``images`` and ``labels``, or ``cifar10_horses_train.npz``
    (only training horses). Errors: TrainingError when it can be neither read nor downloaded.
    """
    unknown = sorted(set(classes) - set(CLASSES))
    if unknown:
        raise TrainingError(f"CIFAR-10 has no class {', '.join(unknown)}; its classes are {', '.join(CLASSES)}.")
    labels_of_classes = [CLASSES.index(name) for name in classes]
    whole = data_dir / f"cifar10_{'test' if test else 'train'}.npz"
    if whole.is_file():
        images, labels = (_read_array(whole, name) for name in ("images", "labels"))
        return images[np.isin(labels, labels_of_classes)]
    horses = data_dir / HORSES_FILE
    if horses.is_file() and tuple(classes) == ("horse",) and not test:
        return _read_array(horses, "images")
    only_horses = f"; {horses.name}, which is there, contains only the training horses" if horses.is_file() else ""
    try:
        with remove_what_stays_empty(data_dir):
            cifar = CIFAR10(data_dir, train=not test, download=True)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"CIFAR-10 is not in {data_dir} and could not be downloaded ({error}){only_horses}; fetch"
            f" {CIFAR10.url} on a connected machine and unpack it there."
        ) from error
    return np.asarray(cifar.data)[np.isin(np.asarray(cifar.targets), labels_of_classes)]


def _read_array(path: Path, name: str) -> npt.NDArray[np.uint8]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            array: npt.NDArray[np.uint8] = archive[name]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise TrainingError(f"{path} is not an archive with an array `{name}`: {error}.") from error
    if name == "images" and (array.dtype != np.uint8 or array.ndim != 4 or array.shape[1:] != (32, 32, 3)):
        raise TrainingError(f"{path} should contain images (N, 32, 32, 3) of uint8, not {array.shape} of {array.dtype}.")
    return array


def load_split(data_dir: Path, split: str, classes: Sequence[str], split_seed: int) -> npt.NDArray[np.uint8]:
    """Load a split: ``train`` and ``validation`` divide the official training set, ``all`` is the whole of it, or ``test``."""
    images = load_images(data_dir, classes, test=split == "test")
    if split in ("test", "all"):
        return images
    train, validation = split_indices(len(images), split_seed)
    return images[train if split == "train" else validation]


def palette_dataset(images: npt.NDArray[np.uint8], colours: npt.NDArray[np.float32], *, sees_colour: bool = False) -> Pictures:
    """Pictures (N, 32, 32, 3) with the nearest palette colour of each pixel as target, (N, 32, 32).

    The input is the mean of R, G, B, (N, 1, 32, 32), or with ``sees_colour`` R, G, B; both in byte / 256.
    """
    n, h, w, _ = images.shape
    palette = torch.from_numpy(colours)
    inputs = torch.empty((n, 3 if sees_colour else 1, h, w))
    target = torch.empty((n, h, w), dtype=torch.uint8)  # at most 256 colours
    for start in range(0, n, _PICTURES_AT_ONCE):  # all 50,000 at once in float32 would take 2 GB
        rgb = to_tensor(images[start : start + _PICTURES_AT_ONCE])
        inputs[start : start + len(rgb)] = rgb if sees_colour else rgb.mean(dim=1, keepdim=True)
        target[start : start + len(rgb)] = nearest_colour(rgb, palette).to(torch.uint8)
    return Pictures(inputs, target)


def rgb_dataset(images: npt.NDArray[np.uint8]) -> Pictures:
    """Grey pictures, (N, 1, 32, 32), with R, G, B as target, (N, 3, 32, 32), all in byte / 256."""
    rgb = to_tensor(images)
    return Pictures(rgb.mean(dim=1, keepdim=True), rgb)
