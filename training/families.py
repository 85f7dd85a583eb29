"""The kinds of data, and everything that depends on them: one table of four rows."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.checkpoint import load
from training.clustering import kmeans_chroma, kmeans_palette
from training.conventions import LUMA, MEAN_OF_CHANNELS
from training.datasets import cifar, faces, flowers, photo_archive, photos
from training.datasets.loaders import PictureData
from training.datasets.pictures import Pictures
from training.errors import TrainingError
from training.evaluation.evaluator import Evaluator
from training.evaluation.masks import MaskEvaluator
from training.evaluation.photos import PhotoEvaluator
from training.evaluation.pixels import (
    ChromaEvaluator,
    MeanChromaEvaluator,
    PaletteEvaluator,
    PixelEvaluator,
    RGBEvaluator,
)
from training.networks import Network, Target
from training.networks.deeplab import Base
from training.networks.photo import PhotoColorizer
from training.palette import SoftLabels, rebalancing_weights
from training.recipe import Recipe
from training.tasks import ChromaClassification, MaskClassification, PaletteClassification, SquaredError, Task

CLUSTERED = 4000  # photographs whose chroma makes the palette and the frequency of its colours
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Data:
    """The data of a run: ``data_dir``, CIFAR-10 ``classes``, and ``extra_classes`` that join the training pictures.

    ``colours`` (K, 3) is the palette in byte / 256, or None to cluster the training pictures. ``weights``: a file of
    pretrained weights for a network that starts with some; None: the library that has them downloads them. ``start``: a
    checkpoint whose weights and palette the training begins with.
    """

    data_dir: Path
    classes: tuple[str, ...] = ("horse",)
    extra_classes: tuple[str, ...] = ()
    colours: FloatArray | None = None
    weights: Path | None = None
    start: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """Data in memory: loaders, the evaluator of the network, the validation pictures, and a description."""

    pictures: PictureData
    evaluator: Evaluator
    validation: Any  # (N, H, W, 3) uint8, Photos or Flowers
    description: str
    classes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 of all training and validation pictures with their targets."""
        parts = (self.pictures.train, self.pictures.validation)
        return hashlib.sha256("".join(part.fingerprint() for part in parts).encode()).hexdigest()


@dataclass(frozen=True)
class Family:
    """One kind of data: how it is loaded, what learns from it and how, and what the exported model says of it."""

    name: str
    """As messages call it."""
    prepare: Callable[[Recipe, Data, int], Prepared]
    """Loads the data of a run; the last argument is the number of processes that make batches. Errors: TrainingError."""
    load_split: Callable[[Path, str, tuple[str, ...], int], Any]
    """(data_dir, split, CIFAR-10 classes, split seed) -> pictures for the evaluator. Errors: TrainingError."""
    make_task: Callable[[nn.Module, Recipe, Prepared, Base | None], Task]
    """The network in the task that trains it."""
    evaluator: Callable[[Network, dict[str, Any], FloatArray], Evaluator]
    """The evaluator of a network with these arguments and this palette."""
    single: Callable[[npt.NDArray[np.uint8]], Any]
    """One picture (H, W, 3) as pictures for the evaluator."""
    grey_weights: tuple[float, float, float]
    """Weights of R, G, B in the grey that the networks get."""
    input_side: int
    """Side in pixels of the input at which `describe` computes shapes and MACs."""
    short_side: int
    """Short side to which `activations` reduces a picture."""
    runtime_task: Literal["colorize", "segment"] = "colorize"
    """What the runtime does with an exported network."""
    mask_classes: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Names of the classes of masks, with the colours in which masks show them, R, G, B, 0..255."""
    has_classes: bool = False
    """Whether its pictures have classes, and its networks a palette of R, G, B."""
    augments_itself: bool = False
    """Whether the data set moves and changes its own pictures."""

    def refuse_useless_options(self, recipe: Recipe, data: Data) -> None:
        """TrainingError for options of ``fit`` that this kind of data would ignore."""
        if not self.has_classes and (data.classes != ("horse",) or data.extra_classes or data.colours is not None):
            raise TrainingError(f"{recipe.model} learns from {self.name}: omit --classes, --extra-classes and --palette.")
        if self.augments_itself and (recipe.augment or recipe.shift != 1):
            raise TrainingError(f"{recipe.model} always augments its {self.name} in its own way: omit --augment and --shift.")
        if recipe.from_scratch and (recipe.arguments.get("last_layer_only") or "classifier" in recipe.arguments):
            raise TrainingError(
                f"{recipe.name} freezes pretrained weights, so it cannot start with random ones: omit --weights none."
            )
        if self.has_classes and not data.classes:
            raise TrainingError("--classes names no class of CIFAR-10.")


def _prepare_cifar(recipe: Recipe, data: Data, _workers: int) -> Prepared:
    train, validation = (
        cifar.load_split(data.data_dir, split, data.classes, recipe.split_seed) for split in ("train", "validation")
    )
    # Without the classes of the run itself: a tenth of those is for validation.
    extra = tuple(name for name in data.extra_classes if name not in data.classes)
    if extra:
        train = np.concatenate([train, cifar.load_images(data.data_dir, extra)])
    count = recipe.arguments.get("num_colours", 24)
    if data.start is not None:
        colours = load(data.start).colours
    else:
        colours = kmeans_palette(train, count, recipe.seed) if data.colours is None else data.colours
    names = "all classes" if set(data.classes) == set(cifar.CLASSES) else ", ".join(data.classes)
    description = f"CIFAR-10 ({names}{' and ' if extra else ''}{', '.join(extra)}), {len(train)} pictures of 32x32"
    evaluator = _cifar_evaluator(recipe.kind, recipe.arguments, colours)
    return _prepared_pixels(recipe, train, validation, evaluator, description, data.classes)


def _prepare_faces(recipe: Recipe, data: Data, _workers: int) -> Prepared:
    train, validation = (faces.load_split(data.data_dir, split, recipe.split_seed) for split in ("train", "validation"))
    description = f"face_images, {len(train)} pictures of {faces.SIZE}x{faces.SIZE}"
    if recipe.folds:
        train = faces.augmented(train, recipe.folds, recipe.seed)
        description += f", {recipe.folds} variants of each"
    evaluator = _face_evaluator(recipe.kind, recipe.arguments, np.zeros((0, 3), np.float32))
    return _prepared_pixels(recipe, train, validation, evaluator, description)


def _prepared_pixels(
    recipe: Recipe,
    train: npt.NDArray[np.uint8],
    validation: npt.NDArray[np.uint8],
    evaluator: PixelEvaluator,
    description: str,
    classes: tuple[str, ...] = (),
) -> Prepared:
    datasets = evaluator.dataset(train), evaluator.dataset(validation)
    pictures = PictureData(*datasets, recipe.batch_size, recipe.seed, share=recipe.share)
    return Prepared(pictures, evaluator, validation, description, classes)


def _prepare_photos(recipe: Recipe, data: Data, workers: int) -> Prepared:
    splits = photo_archive.load_splits(data.data_dir, recipe.split_seed)
    train, validation = splits.train, splits.validation
    options: Any = {"final_side": recipe.final_side, "epochs": recipe.epochs, "hints": recipe.arguments.get("hints", False)}
    options["colourless"] = recipe.colourless
    samples = photo_archive.sampled(train, recipe.side, recipe.seed, **options)
    count, colours = recipe.arguments["num_colours"], np.zeros((0, 2), np.float32)
    if data.start is not None:
        colours = load(data.start).colours
    elif count:
        colours = kmeans_chroma(samples.chroma(CLUSTERED), count, recipe.seed)
    evaluator = PhotoEvaluator(colours)
    held_out = evaluator.dataset(validation, recipe.side)
    pictures = PictureData(samples, held_out, recipe.batch_size, recipe.seed, workers)
    description = f"{len(train)} photographs: {', '.join(sorted(set(train.sources)))}"
    return Prepared(pictures, evaluator, validation, description)


def _prepare_flowers(recipe: Recipe, data: Data, workers: int) -> Prepared:
    train, validation = flowers.load_splits(data.data_dir, ("train", "validation"), recipe.split_seed)
    samples = flowers.FlowerSamples(
        train, recipe.side, recipe.seed, augment=recipe.augmented, final_side=recipe.final_side, epochs=recipe.epochs
    )
    evaluator = MaskEvaluator()
    held_out = evaluator.dataset(validation, recipe.final_side or recipe.side)
    pictures = PictureData(samples, held_out, recipe.batch_size, recipe.seed, workers)
    return Prepared(pictures, evaluator, validation, f"Oxford 17 Flowers, {len(train)} with their trimaps")


def _cifar_evaluator(network: Network, _arguments: dict[str, Any], colours: FloatArray) -> PixelEvaluator:
    return RGBEvaluator(colours) if network.target == "rgb" else PaletteEvaluator(colours, network.sees_colour)


def _face_evaluator(network: Network, arguments: dict[str, Any], _colours: FloatArray) -> PixelEvaluator:
    kind = MeanChromaEvaluator if network.target == "mean-chroma" else ChromaEvaluator
    return kind(arguments.get("output", "sigmoid"))


def _cifar_task(network: nn.Module, recipe: Recipe, prepared: Prepared, _base: Base | None) -> Task:
    if recipe.kind.target == "rgb":
        return SquaredError(network, recipe)
    weights = None
    if recipe.rebalance:
        assert isinstance(prepared.pictures.train, Pictures)
        weights = torch.from_numpy(rebalancing_weights(prepared.pictures.train.target, prepared.evaluator.colours))
    return PaletteClassification(network, recipe, weights)


def _photo_task(network: nn.Module, recipe: Recipe, prepared: Prepared, _base: Base | None) -> Task:
    colours, samples, network = prepared.evaluator.colours, prepared.pictures.train, cast("PhotoColorizer", network)
    assert isinstance(samples, photos.PhotoSamples)
    if recipe.rebalance and len(colours):
        ab = torch.from_numpy(samples.chroma(CLUSTERED)).T[None, :, None]  # (1, 2, 1, M)
        nearest = SoftLabels(colours)(ab)[0][:, 0]
        network.class_weights.copy_(torch.from_numpy(rebalancing_weights(nearest, colours)))
    else:
        network.class_weights.fill_(1)  # a training may begin with the weights of one that did rebalance
    return ChromaClassification(network, recipe, torch.from_numpy(colours))


def _single_flower(image: npt.NDArray[np.uint8]) -> flowers.Flowers:
    return flowers.Flowers([""], [image], [np.full(image.shape[:2], flowers.UNLABELLED, np.uint8)])


CIFAR = Family(
    "CIFAR-10",
    prepare=_prepare_cifar,
    load_split=cifar.load_split,
    make_task=_cifar_task,
    evaluator=_cifar_evaluator,
    single=lambda image: image[None],
    grey_weights=MEAN_OF_CHANNELS,
    input_side=32,
    short_side=32,
    has_classes=True,
)
FACES = Family(
    "faces",
    prepare=_prepare_faces,
    load_split=lambda data_dir, split, _classes, seed: faces.load_split(data_dir, split, seed),
    make_task=lambda network, recipe, _prepared, _base: SquaredError(network, recipe),
    evaluator=_face_evaluator,
    single=lambda image: image[None],
    grey_weights=LUMA,
    input_side=faces.SIZE,
    short_side=faces.SIZE,
)
PHOTOGRAPHS = Family(
    "photographs",
    prepare=_prepare_photos,
    load_split=lambda data_dir, split, _classes, seed: photo_archive.load_split(data_dir, split, seed),
    make_task=_photo_task,
    evaluator=lambda _network, _arguments, colours: PhotoEvaluator(colours),
    single=lambda image: photos.Photos([image], [""]),
    grey_weights=LUMA,
    input_side=256,
    short_side=224,
    augments_itself=True,
)
FLOWERS = Family(
    "flowers",
    prepare=_prepare_flowers,
    load_split=lambda data_dir, split, _classes, seed: flowers.load_split(data_dir, split, seed),
    make_task=lambda network, recipe, _prepared, base: MaskClassification(network, recipe, base),
    evaluator=lambda _network, _arguments, _colours: MaskEvaluator(),
    single=_single_flower,
    grey_weights=MEAN_OF_CHANNELS,
    input_side=256,
    short_side=224,
    runtime_task="segment",
    mask_classes=dict(zip(flowers.CLASSES, flowers.CLASS_COLOURS, strict=True)),
    augments_itself=True,
)

_FAMILIES: dict[Target, Family] = {
    "palette": CIFAR,
    "rgb": CIFAR,
    "chroma": FACES,
    "mean-chroma": FACES,
    "chroma-palette": PHOTOGRAPHS,
    "mask": FLOWERS,
}


def family_of(network: Network) -> Family:
    """The kind of data that a kind of network learns from: what it predicts decides that."""
    return _FAMILIES[network.target]
