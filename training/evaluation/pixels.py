"""Scores of a network on pictures that it may or may not have seen, and the pictures that it makes of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from colorize_run.colour import lab_to_srgb
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.image import PeakSignalNoiseRatio

from training.checkpoint import Checkpoint
from training.conventions import FROM_256THS, to_ab
from training.datasets import cifar, faces, flowers, photos
from training.datasets.pictures import Batch, Pictures, to_tensor
from training.errors import TrainingError
from training.evaluation.colourfulness import colourfulness
from training.evaluation.masks import MaskJudge
from training.evaluation.photos import PhotoJudge, Predict, by_source, figures, measure
from training.networks import NETWORKS, Network
from training.palette import annealed_mean, nearest_colour, palette_to_ab
from training.progress import track

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """Judges one kind of network: what it predicts as pictures, and how far that is from the truth.

    ``colours`` (K, 3) is the palette in byte / 256 that accuracy counts in; Lab networks have none. ``output`` is
    the scale of a Lab network's chroma, "sigmoid" or "tanh".
    """

    kind: Network
    colours: FloatArray
    output: str = "sigmoid"

    grid_pictures: ClassVar[int] = 12
    grid_scale: ClassVar[int] = 3

    def dataset(self, images: npt.NDArray[np.uint8]) -> Pictures:
        """Inputs and targets of pictures (N, H, W, 3) uint8."""
        if self.kind.target == "palette":
            return cifar.palette_dataset(images, self.colours, sees_colour=self.kind.sees_colour)
        if self.kind.target == "rgb":
            return cifar.rgb_dataset(images)
        return faces.chroma_dataset(images, self.output, mean=self.kind.target == "mean-chroma")

    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        """What the network's ``output`` looks like: (N, 3, H, W) RGB, 0..1.

        A palette network shows its most probable colours, a Lab network its chroma under its input's lightness.
        """
        if self.kind.target == "palette":
            return torch.from_numpy(self.colours * np.float32(FROM_256THS))[output.argmax(dim=1).cpu()].permute(0, 3, 1, 2)
        if self.kind.target == "rgb":
            return (output.cpu() * FROM_256THS).clamp(0, 1)
        ab = to_ab(output.cpu(), self.output)
        if ab.ndim == 2:
            ab = ab[:, :, None, None].expand(-1, -1, *inputs.shape[2:])
        lab = torch.cat([inputs.cpu() * 100, ab], dim=1).permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(lab_to_srgb(lab)).permute(0, 3, 1, 2)

    def expected(self, logits: Tensor) -> Tensor:
        """Mean palette colour under a palette network's probabilities, which makes the squared error least: (N, 3, H, W)."""
        colours = torch.from_numpy(self.colours * np.float32(FROM_256THS))
        return torch.einsum("nkhw,kc->nchw", torch.softmax(logits, dim=1), colours)

    def score(self, network: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 100) -> dict[str, float]:
        """Figures of a network in evaluation mode, in float32, on pictures (N, H, W, 3) uint8.

        Palette: ``loss`` (cross-entropy), ``accuracy`` and ``balanced_accuracy`` (0..1, over pixels; balanced is the
        mean over the colours that occur in the truth), and ``expected_psnr`` of the mean colour instead of the most
        probable one. RGB: ``mse`` in byte / 256, and both accuracies of the nearest colours. Chroma: ``mse`` in
        (ab + 128) / 256, and ``ab_error``, the mean distance in a*, b*. All but the mean chroma: ``psnr`` in dB,
        ``colourfulness`` of the prediction, and of the truth (`colourfulness`).
        """
        device = next(network.parameters()).device
        dataset = self.dataset(images)
        figures = _Figures(self)
        with torch.no_grad():
            for start in track(range(0, len(dataset), batch_size), f"Judging {len(dataset)} pictures"):
                batch = dataset.__getitems__(list(range(start, min(start + batch_size, len(dataset)))))
                output = network(batch["input"].to(device)).cpu()
                figures.update(batch, output, images[start : start + batch_size])
        return figures.compute()

    def rows(self, network: nn.Module, images: npt.NDArray[np.uint8]) -> list[FloatArray]:
        """Rows of a grid: what the network sees, bilinear enlargement where it restores, the truth, and its picture.

        ``network`` in evaluation mode, ``images`` (N, H, W, 3) uint8; each row (N, H, W, 3), 0..1.
        """
        batch = self.dataset(images).__getitems__(list(range(len(images))))
        inputs = batch["input"]
        with torch.no_grad():
            output = network(inputs.to(next(network.parameters()).device)).cpu().float()
        if self.kind.sees_colour:
            pooled = F.interpolate(F.avg_pool2d(inputs, 4), scale_factor=4.0, mode="nearest") * FROM_256THS
            shown = [pooled, enlarged(images)]
        elif self.kind.on_faces:
            shown = [self.pictures(inputs, torch.zeros_like(batch["target"]) + (0.5 if self.output == "sigmoid" else 0.0))]
        else:
            shown = [(inputs * FROM_256THS).expand(-1, 3, -1, -1)]
        rows = [*shown, to_tensor(images) * FROM_256THS, self.pictures(inputs, output)]
        return [row.permute(0, 2, 3, 1).numpy() for row in rows]


class _Figures:
    """Adds up figures over batches."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.kind = judge, judge.kind
        self.sums: dict[str, float] = {}
        self.count = 0
        k = len(judge.colours)
        self.accuracies: dict[str, MulticlassAccuracy] = {}
        self.true_pixels = torch.zeros(k, dtype=torch.int64)  # of each colour
        if k and not self.kind.on_faces:  # judged by one process alone, also where several have trained
            self.accuracies["accuracy"] = MulticlassAccuracy(k, average="micro", sync_on_compute=False)
            self.accuracies["balanced_accuracy"] = MulticlassAccuracy(k, average=None, sync_on_compute=False)
        self.psnr, self.expected_psnr = (
            PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), sync_on_compute=False) for _ in range(2)
        )

    def _add(self, name: str, values: Tensor) -> None:
        """Add one figure a picture."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.double().sum())

    def update(self, batch: Batch, output: Tensor, images: npt.NDArray[np.uint8]) -> None:
        target = batch["target"]
        self.count += len(output)
        if self.kind.target == "palette":
            self._add("loss", F.cross_entropy(output, target, reduction="none").mean(dim=(1, 2)))
            self._count(output.argmax(dim=1), target)
        elif self.kind.target == "rgb":
            self._add("mse", (output - target).square().mean(dim=(1, 2, 3)))
            palette = torch.from_numpy(self.judge.colours)
            if len(palette):
                self._count(nearest_colour(output, palette), nearest_colour(target, palette))
        else:
            ab, truth = to_ab(output, self.judge.output), to_ab(target, self.judge.output)
            self._add("mse", ((ab - truth) / 256).square().flatten(1).mean(dim=1))
            self._add("ab_error", (ab - truth).norm(dim=1).reshape(len(ab), -1).mean(dim=1))
        if self.kind.target != "mean-chroma":
            predicted, true = self.judge.pictures(batch["input"], output), to_tensor(images) * FROM_256THS
            self.psnr.update(predicted, true)
            if self.kind.target == "palette":
                self.expected_psnr.update(self.judge.expected(output), true)
            self._add("colourfulness", colourfulness(predicted))
            self._add("true_colourfulness", colourfulness(true))

    def _count(self, predicted: Tensor, target: Tensor) -> None:
        self.true_pixels += torch.bincount(target.flatten(), minlength=len(self.true_pixels))
        for metric in self.accuracies.values():
            metric.update(predicted, target)

    def compute(self) -> dict[str, float]:
        figures = {name: value / self.count for name, value in self.sums.items()}
        # "macro" would count a colour that is nowhere in the truth as 0 % as soon as one pixel is given it
        occurring = self.true_pixels > 0
        for name, metric in self.accuracies.items():
            value = metric.compute()
            figures[name] = float(value[occurring].mean() if value.ndim else value)
        if self.kind.target != "mean-chroma":
            figures["psnr"] = float(self.psnr.compute())
        if self.kind.target == "palette":
            figures["expected_psnr"] = float(self.expected_psnr.compute())
        return figures


def enlarged(images: npt.NDArray[np.uint8]) -> Tensor:
    """What a network restores, by plain means: pooled by 4 and enlarged bilinearly, (N, H, W, 3) -> (N, 3, H, W) 0..1."""
    small = F.avg_pool2d(to_tensor(images) * FROM_256THS, 4)
    return F.interpolate(small, scale_factor=4.0, mode="bilinear", align_corners=False)


AnyJudge = Judge | PhotoJudge | MaskJudge


def judge_of(network: str, arguments: dict[str, Any], colours: FloatArray) -> AnyJudge:
    """The judge of a network of this name, built with these arguments."""
    if NETWORKS[network].on_flowers:
        return MaskJudge()
    if NETWORKS[network].on_photos:
        return PhotoJudge(colours)
    return Judge(NETWORKS[network], colours, arguments.get("output", "sigmoid"))


def load_split(
    kind: Network, data_dir: Path, split: str, classes: tuple[str, ...], seed: int
) -> npt.NDArray[np.uint8] | photos.Photos | flowers.Flowers:
    """Pictures of a split for a kind of network: flowers, photographs, faces or CIFAR-10 ``classes``."""
    if kind.on_flowers:
        return flowers.load_split(data_dir, split, seed)
    if kind.on_photos:
        return photos.load_split(data_dir, split, seed)
    return faces.load_split(data_dir, split, seed) if kind.on_faces else cifar.load_split(data_dir, split, classes, seed)


def classes_to_judge(checkpoint: Checkpoint, asked: tuple[str, ...] | None, split: str) -> tuple[str, ...]:
    """CIFAR-10 classes of ``split`` that ``checkpoint`` can be judged on: those ``asked`` for, or those it learnt from.

    Training and validation pictures are told apart within the classes of the run. Of any others, the tenth that
    would be called validation may have been learnt from. Errors: TrainingError.
    """
    learnt = tuple(checkpoint.recipe.get("classes") or ("horse",))  # the hand-out, and what is older than the record
    if asked is None:
        return learnt
    if not asked:
        raise TrainingError("--classes names no class of CIFAR-10.")
    if split in ("train", "validation") and set(asked) <= set(cifar.CLASSES) and set(asked) != set(learnt):
        raise TrainingError(
            f"{checkpoint.model} learnt from {', '.join(learnt)}, and only these were divided into train and validation: judge"
            " other --classes with --split test or all."
        )
    return asked


def refuse_what_means_nothing(checkpoint: Checkpoint, *, classes: bool, on_photos: bool, grid: bool) -> None:
    """TrainingError for options that judging ``checkpoint`` would pass over in silence, or could not follow."""
    kind, model = checkpoint.kind, checkpoint.model
    if on_photos and (kind.target != "palette" or kind.sees_colour):
        own = " (it is judged on photographs anyway)" if kind.on_photos else ""
        raise TrainingError(
            f"--photos is for networks that colour grey pictures of CIFAR-10 by a palette, and {model} is none{own}:"
            " leave it away."
        )
    if classes and (on_photos or kind.on_faces or kind.on_photos or kind.on_flowers):
        raise TrainingError(f"{model} is not judged on CIFAR-10{' here' if on_photos else ''}: leave --classes away.")
    if grid and on_photos:
        raise TrainingError("--photos draws no grid of a CIFAR-10 network: leave --grid away.")


def evaluate(checkpoint: Checkpoint, images: Any, device: str = "cpu") -> dict[str, Any]:
    """`Judge.score` of a checkpoint on ``images`` (N, H, W, 3), and their number; with what there is to beat, if anything.

    That is the PSNR of bilinear enlargement for a network that restores colour, and the variance of the faces' mean
    chroma, which is the error of the best constant (``constant_mse``), for one that predicts it. Photographs are judged
    by `PhotoJudge`, as a whole and by ``sources``, beside the constant colour that is best on average (``mean_colour``).
    Masks are judged by `MaskJudge`.
    """
    judge = judge_of(checkpoint.network, checkpoint.arguments, checkpoint.colours)
    network = checkpoint.build().to(device)
    if isinstance(judge, PhotoJudge):
        return evaluate_on_photos(judge.predictor(network), images)
    if isinstance(judge, MaskJudge):
        return {**judge.score(network, images), "pictures": len(images)}
    scores = judge.score(network, images)
    if judge.kind.sees_colour:
        psnr = PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), sync_on_compute=False)
        scores["bilinear_psnr"] = float(psnr(enlarged(images), to_tensor(images) * FROM_256THS))
    if judge.kind.target == "mean-chroma":
        scores["constant_mse"] = float(judge.dataset(images).target.var(dim=0, correction=0).mean())
    return {**scores, "pictures": float(len(images))}


def evaluate_on_photos(predict: Predict, found: photos.Photos) -> dict[str, Any]:
    """Figures of ``predict``, grey (N, 1, H, W) -> a*, b*, on photographs: all, each source, and of one colour for all."""
    measured = measure(predict, found)
    mean = torch.from_numpy(photos.PhotoSamples(found, 64, 0, augment=False).chroma(len(found)).mean(axis=0))
    constant = measure(lambda grey: mean[None, :, None, None].expand(len(grey), 2, *grey.shape[2:]), found)
    return {
        **figures(measured),
        "photographs": len(found),
        "sources": by_source(measured, found.sources),
        "mean_colour": figures(constant),
    }


def small_predictor(checkpoint: Checkpoint, device: str = "cpu") -> Predict:
    """A palette network that sees grey pictures of CIFAR-10 as the runtime uses it: at 32 pixels, its chroma enlarged."""
    network, palette = checkpoint.build().to(device), torch.from_numpy(palette_to_ab(checkpoint.colours))

    def predict(grey: Tensor) -> Tensor:
        small = F.interpolate(grey, (32, 32), mode="bilinear", antialias=True)
        with torch.no_grad():
            ab = annealed_mean(network((small / FROM_256THS).to(device)).cpu(), palette, torch.tensor(1.0))
        return F.interpolate(ab, grey.shape[2:], mode="bilinear", align_corners=False)

    return predict
