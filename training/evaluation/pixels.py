"""Evaluators of networks that learn from small pictures of one size: CIFAR-10 and faces."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from colorize_run.colour import lab_to_srgb
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.image import PeakSignalNoiseRatio

from training.conventions import FROM_256THS, to_ab
from training.datasets import cifar, faces
from training.datasets.pictures import Batch, Pictures, to_tensor
from training.evaluation.colourfulness import colourfulness
from training.evaluation.evaluator import FloatArray
from training.palette import nearest_colour
from training.progress import track

ByteArray = npt.NDArray[np.uint8]


class _Figures:
    """Sums up figures over batches; ``colours`` is the size of the palette in which accuracy is counted."""

    def __init__(self, colours: int) -> None:
        self.sums: dict[str, float] = {}
        self.pictures = 0
        self.accuracies: dict[str, MulticlassAccuracy] = {}
        self.true_pixels = torch.zeros(colours, dtype=torch.int64)  # of each colour
        self.ratios: dict[str, PeakSignalNoiseRatio] = {}
        if colours:  # only one process evaluates, also where several have trained
            self.accuracies["accuracy"] = MulticlassAccuracy(colours, average="micro", sync_on_compute=False)
            self.accuracies["balanced_accuracy"] = MulticlassAccuracy(colours, average=None, sync_on_compute=False)

    def add(self, name: str, values: Tensor) -> None:
        """Add one value for each picture: (N,)."""
        self.sums[name] = self.sums.get(name, 0.0) + float(values.double().sum())

    def add_colours(self, predicted: Tensor, target: Tensor) -> None:
        """Count in how many pixels the predicted palette colour is the true one."""
        self.true_pixels += torch.bincount(target.flatten(), minlength=len(self.true_pixels))
        for metric in self.accuracies.values():
            metric.update(predicted, target)

    def add_psnr(self, name: str, predicted: Tensor, true: Tensor) -> None:
        """Add pictures (N, 3, H, W), 0..1, to a peak signal-to-noise ratio."""
        self.ratios.setdefault(name, _psnr()).update(predicted, true)

    def add_pictures(self, predicted: Tensor, true: Tensor) -> None:
        """Add the PSNR and the colourfulness of pictures (N, 3, H, W), 0..1."""
        self.add_psnr("psnr", predicted, true)
        self.add("colourfulness", colourfulness(predicted))
        self.add("true_colourfulness", colourfulness(true))

    def compute(self) -> dict[str, float]:
        figures = {name: value / self.pictures for name, value in self.sums.items()}
        # "macro" would count a colour that is nowhere in the truth as 0 % as soon as one pixel is given it
        occurring = self.true_pixels > 0
        for name, metric in self.accuracies.items():
            value = metric.compute()
            figures[name] = float(value[occurring].mean() if value.ndim else value)
        return figures | {name: float(metric.compute()) for name, metric in self.ratios.items()}


def _psnr() -> PeakSignalNoiseRatio:
    return PeakSignalNoiseRatio(data_range=1.0, dim=(1, 2, 3), sync_on_compute=False)


def _truth(images: ByteArray) -> Tensor:
    """Pictures (N, H, W, 3) as (N, 3, H, W), 0..1."""
    return to_tensor(images) * FROM_256THS


class PixelEvaluator(ABC):
    """Evaluates networks on pictures (N, H, W, 3) uint8."""

    grid_pictures: int = 12
    grid_scale: int = 3
    colours: FloatArray

    @abstractmethod
    def dataset(self, images: ByteArray) -> Pictures:
        """Inputs and targets of the pictures."""

    @abstractmethod
    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        """Pictures made of a network's ``output``: (N, 3, H, W), 0..1."""

    @abstractmethod
    def measure(self, figures: _Figures, batch: Batch, output: Tensor, true: Tensor) -> None:
        """Add a batch to ``figures``; ``true`` (N, 3, H, W), 0..1, are its pictures."""

    def input_rows(self, inputs: Tensor, images: ByteArray) -> list[Tensor]:
        """Rows that show what the network gets, each (N, 3, H, W), 0..1."""
        return [(inputs * FROM_256THS).expand(-1, 3, -1, -1)]

    def baselines(self, images: ByteArray) -> dict[str, float]:
        """Figures of simple methods to compare with."""
        return {}

    def inputs(self, images: ByteArray) -> Tensor:
        """See `Evaluator`."""
        return self.dataset(images[:1]).__getitems__([0])["input"]

    def score(self, network: nn.Module, images: ByteArray, batch_size: int = 100) -> dict[str, float]:
        """See `Evaluator`; which figures there are depends on the kind of network."""
        device = next(network.parameters()).device
        dataset, figures = self.dataset(images), _Figures(len(self.colours))
        with torch.no_grad():
            for start in track(range(0, len(dataset), batch_size), f"Evaluating {len(dataset)} pictures"):
                batch = dataset.__getitems__(list(range(start, min(start + batch_size, len(dataset)))))
                output = network(batch["input"].to(device)).cpu()
                figures.pictures += len(output)
                self.measure(figures, batch, output, _truth(images[start : start + batch_size]))
        return figures.compute()

    def report(self, network: nn.Module, images: ByteArray) -> dict[str, Any]:
        """See `Evaluator`."""
        return {**self.score(network, images), **self.baselines(images), "pictures": float(len(images))}

    def rows(self, network: nn.Module, images: ByteArray) -> list[FloatArray]:
        """See `Evaluator`."""
        inputs = self.dataset(images).__getitems__(list(range(len(images))))["input"]
        with torch.no_grad():
            output = network(inputs.to(next(network.parameters()).device)).cpu().float()
        rows = [*self.input_rows(inputs, images), _truth(images), self.pictures(inputs, output)]
        return [row.permute(0, 2, 3, 1).numpy() for row in rows]


@dataclass(frozen=True)
class PaletteEvaluator(PixelEvaluator):
    """Evaluates networks that give logits over a palette for each pixel.

    ``colours`` (K, 3) is the palette in byte / 256; ``sees_colour``: the network restores colours instead of adding them.
    Figures: ``loss`` (cross-entropy), ``accuracy`` and ``balanced_accuracy`` (0..1, over pixels; balanced is the mean over
    the colours that occur in the truth), ``psnr`` in dB and ``colourfulness`` of the most probable colours,
    ``expected_psnr`` of the mean colours, ``true_colourfulness``.
    """

    colours: FloatArray
    sees_colour: bool = False

    def dataset(self, images: ByteArray) -> Pictures:
        return cifar.palette_dataset(images, self.colours, sees_colour=self.sees_colour)

    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        """The most probable colours."""
        return self._encoded_colours()[output.argmax(dim=1).cpu()].permute(0, 3, 1, 2)

    def expected(self, logits: Tensor) -> Tensor:
        """Mean colour under the network's probabilities, which makes the squared error smallest: (N, 3, H, W), 0..1."""
        return torch.einsum("nkhw,kc->nchw", torch.softmax(logits, dim=1), self._encoded_colours())

    def _encoded_colours(self) -> Tensor:
        return torch.from_numpy(self.colours * np.float32(FROM_256THS))

    def measure(self, figures: _Figures, batch: Batch, output: Tensor, true: Tensor) -> None:
        target = batch["target"]
        figures.add("loss", F.cross_entropy(output, target, reduction="none").mean(dim=(1, 2)))
        figures.add_colours(output.argmax(dim=1), target)
        figures.add_pictures(self.pictures(batch["input"], output), true)
        figures.add_psnr("expected_psnr", self.expected(output), true)

    def input_rows(self, inputs: Tensor, images: ByteArray) -> list[Tensor]:
        """With ``sees_colour`` the reduced picture and its bilinear enlargement."""
        if not self.sees_colour:
            return super().input_rows(inputs, images)
        reduced = F.interpolate(F.avg_pool2d(inputs, 4), scale_factor=4.0, mode="nearest") * FROM_256THS
        return [reduced, enlarged(images)]

    def baselines(self, images: ByteArray) -> dict[str, float]:
        """``bilinear_psnr`` for a network that restores colours."""
        return {"bilinear_psnr": float(_psnr()(enlarged(images), _truth(images)))} if self.sees_colour else {}


@dataclass(frozen=True)
class RGBEvaluator(PixelEvaluator):
    """Evaluates networks that give R, G, B.

    Figures: ``mse`` in byte / 256, ``psnr`` in dB, ``colourfulness``, ``true_colourfulness``, and both accuracies of the
    nearest of ``colours``, a palette (K, 3) in byte / 256.
    """

    colours: FloatArray

    def dataset(self, images: ByteArray) -> Pictures:
        return cifar.rgb_dataset(images)

    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        return (output.cpu() * FROM_256THS).clamp(0, 1)

    def measure(self, figures: _Figures, batch: Batch, output: Tensor, true: Tensor) -> None:
        target, palette = batch["target"], torch.from_numpy(self.colours)
        figures.add("mse", (output - target).square().mean(dim=(1, 2, 3)))
        if len(palette):
            figures.add_colours(nearest_colour(output, palette), nearest_colour(target, palette))
        figures.add_pictures(self.pictures(batch["input"], output), true)


@dataclass(frozen=True)
class ChromaEvaluator(PixelEvaluator):
    """Evaluates networks that give the chroma of each pixel; ``output`` is its scale, "sigmoid" or "tanh".

    Figures: ``mse`` in (ab + 128) / 256, ``ab_error``, the mean distance in a*, b*, and ``psnr`` in dB,
    ``colourfulness`` and ``true_colourfulness`` of the chroma under the input's lightness.
    """

    output: str = "sigmoid"
    colours: FloatArray = field(default_factory=lambda: np.zeros((0, 3), np.float32), init=False)

    def dataset(self, images: ByteArray) -> Pictures:
        return faces.chroma_dataset(images, self.output)

    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        """The network's chroma under its input's lightness."""
        lab = torch.cat([inputs.cpu() * 100, to_ab(output.cpu(), self.output)], dim=1).permute(0, 2, 3, 1).numpy()
        return torch.from_numpy(lab_to_srgb(lab)).permute(0, 3, 1, 2)

    def measure(self, figures: _Figures, batch: Batch, output: Tensor, true: Tensor) -> None:
        self._measure_chroma(figures, batch, output)
        figures.add_pictures(self.pictures(batch["input"], output), true)

    def _measure_chroma(self, figures: _Figures, batch: Batch, output: Tensor) -> None:
        ab, truth = to_ab(output, self.output), to_ab(batch["target"], self.output)
        figures.add("mse", ((ab - truth) / 256).square().flatten(1).mean(dim=1))
        figures.add("ab_error", (ab - truth).norm(dim=1).reshape(len(ab), -1).mean(dim=1))

    def input_rows(self, inputs: Tensor, images: ByteArray) -> list[Tensor]:
        """The grey picture."""
        grey = torch.full((len(inputs), 2, *inputs.shape[2:]), 0.5 if self.output == "sigmoid" else 0.0)
        return [ChromaEvaluator.pictures(self, inputs, grey)]


@dataclass(frozen=True)
class MeanChromaEvaluator(ChromaEvaluator):
    """Evaluates networks that give the mean chroma of a picture: only ``mse`` and ``ab_error``."""

    def dataset(self, images: ByteArray) -> Pictures:
        return faces.chroma_dataset(images, self.output, mean=True)

    def pictures(self, inputs: Tensor, output: Tensor) -> Tensor:
        """One chroma for the whole picture, under its input's lightness."""
        return super().pictures(inputs, output[:, :, None, None].expand(-1, -1, *inputs.shape[2:]))

    def measure(self, figures: _Figures, batch: Batch, output: Tensor, true: Tensor) -> None:
        self._measure_chroma(figures, batch, output)

    def baselines(self, images: ByteArray) -> dict[str, float]:
        """``constant_mse``: the error of the best constant, which is the variance of the mean chroma."""
        return {"constant_mse": float(self.dataset(images).target.var(dim=0, correction=0).mean())}


def enlarged(images: ByteArray) -> Tensor:
    """Pictures pooled by 4 and enlarged bilinearly, what a network that restores colours must beat: (N, 3, H, W), 0..1."""
    small = F.avg_pool2d(_truth(images), 4)
    return F.interpolate(small, scale_factor=4.0, mode="bilinear", align_corners=False)
