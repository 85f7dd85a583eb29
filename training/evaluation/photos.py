"""Evaluator of colourizers on photographs: how far from the truth, and how colourful."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from colorize_run.colour import lab_to_srgb, srgb_to_lab
from torch import Tensor, nn
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from training.conventions import PHOTO_TEMPERATURE, PHOTO_WORKING_SIZE
from training.datasets.ageing import LUMA_WEIGHTS
from training.datasets.photos import Photos, PhotoSamples, square
from training.evaluation.colourfulness import colourfulness
from training.evaluation.evaluator import FloatArray
from training.evaluation.hints import Hinted, measure_hints
from training.networks.photo import PhotoChroma, PhotoColorizer
from training.progress import track

SIDE = 224  # photographs are evaluated on their middle square of this size
_NEAR_GREY = 5.0  # mean chroma
Predict = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PhotoEvaluator:
    """Evaluates networks on photographs; ``colours`` (K, 2) is the palette of a*, b*, K = 0 without one."""

    colours: FloatArray

    grid_pictures = 16
    grid_scale = 1

    def dataset(self, photos: Photos, side: int = SIDE) -> PhotoSamples:
        """Validation samples of ``photos``."""
        return PhotoSamples(photos, side, 0, augment=False)

    def inputs(self, photos: Photos) -> Tensor:
        """See `Evaluator`."""
        return self.dataset(photos[:1]).__getitems__([0])["input"]

    def predictor(self, network: nn.Module) -> Predict:
        """The network, in evaluation mode, as a function from square grey (N, 1, H, H) to a*, b* (N, 2, H, H)."""
        device = next(network.parameters()).device
        chroma = PhotoChroma(cast("PhotoColorizer", network), torch.from_numpy(self.colours).to(device))
        size = (PHOTO_WORKING_SIZE.short_side, PHOTO_WORKING_SIZE.short_side)

        def predict(grey: Tensor) -> Tensor:
            small = F.interpolate(grey.to(device), size, mode="bilinear", antialias=True)
            with torch.no_grad():
                ab = chroma(small, torch.tensor(PHOTO_TEMPERATURE, device=device)).float().cpu()
            return F.interpolate(ab, grey.shape[2:], mode="bilinear", align_corners=False)

        return predict

    def score(self, network: nn.Module, photos: Photos) -> dict[str, float]:
        """See `Evaluator`: `summary` of what the network predicts for ``photos``."""
        return summary(measure(self.predictor(network), photos))

    def report(self, network: nn.Module, photos: Photos) -> dict[str, Any]:
        """See `Evaluator`; for a network that takes hints, also `measure_hints`."""
        figures = report(self.predictor(network), photos)
        if cast("PhotoColorizer", network).extra_channels:
            figures.update(measure_hints(self.hinted(network), photos, PHOTO_WORKING_SIZE.short_side))
        return figures

    def hinted(self, network: nn.Module) -> Hinted:
        """The network, in evaluation mode, as a function from grey and hints to a*, b*, all at the working size."""
        device = next(network.parameters()).device
        chroma = PhotoChroma(cast("PhotoColorizer", network), torch.from_numpy(self.colours).to(device))

        def predict(grey: Tensor, hints: Tensor) -> Tensor:
            with torch.no_grad():
                ab: Tensor = chroma(grey.to(device), torch.tensor(PHOTO_TEMPERATURE, device=device), hints.to(device))
            return ab.float().cpu()

        return predict

    def rows(self, network: nn.Module, photos: Photos) -> list[FloatArray]:
        """See `Evaluator`: grey, truth and prediction of eight photographs, and again for the next eight."""
        predict, rows = self.predictor(network), []
        for start in range(0, len(photos), 8):
            part = photos[start : start + 8]
            if start and len(part) < 8:
                break
            truth = np.stack([square(image, SIDE) for image in part.images]).astype(np.float32) / np.float32(255)
            lab = srgb_to_lab(truth)
            ab = predict(torch.from_numpy((truth @ LUMA_WEIGHTS)[:, None])).permute(0, 2, 3, 1).numpy()
            chromas = (np.zeros_like(ab), lab[..., 1:], ab)
            rows += [lab_to_srgb(np.concatenate([lab[..., :1], chroma], axis=3)) for chroma in chromas]
        return rows


def measure(predict: Predict, photos: Photos, batch_size: int = 16) -> dict[str, npt.NDArray[np.float64]]:
    """Figures of each photograph's middle square at 224 x 224, by name: arrays (N,).

    ``ab_error`` mean over pixels of the distance in a*, b*, ``grey_ab_error`` the same for a grey picture, ``psnr`` and
    ``ssim`` of the predicted chroma under the true lightness, ``colourfulness`` (Hasler and Süsstrunk) of that picture and
    ``true_colourfulness`` of the truth, ``chroma``, the mean predicted chroma.
    """
    parts: dict[str, list[Tensor]] = {}
    for start in track(range(0, len(photos), batch_size), f"Evaluating {len(photos)} photographs"):
        images = np.stack([square(image, SIDE) for image in photos.images[start : start + batch_size]])
        for name, values in _measure_batch(predict, images).items():
            parts.setdefault(name, []).append(values)
    return {name: torch.cat(values).double().numpy() for name, values in parts.items()}


def _measure_batch(predict: Predict, images: npt.NDArray[np.uint8]) -> dict[str, Tensor]:
    truth = images.astype(np.float32) / np.float32(255)
    lab = srgb_to_lab(truth)
    ab = predict(torch.from_numpy((truth @ LUMA_WEIGHTS)[:, None]).float())
    true_ab = torch.from_numpy(lab[..., 1:]).permute(0, 3, 1, 2)
    picture = lab_to_srgb(np.concatenate([lab[..., :1], ab.permute(0, 2, 3, 1).numpy()], axis=3))
    predicted, true = (torch.from_numpy(np.asarray(rgb)).permute(0, 3, 1, 2).float() for rgb in (picture, truth))
    similarity = structural_similarity_index_measure(predicted, true, data_range=1.0, reduction="none")
    assert isinstance(similarity, Tensor)
    return {
        "ab_error": (ab - true_ab).norm(dim=1).mean(dim=(1, 2)),
        "grey_ab_error": true_ab.norm(dim=1).mean(dim=(1, 2)),
        "psnr": peak_signal_noise_ratio(predicted, true, data_range=1.0, reduction="none", dim=(1, 2, 3)),
        "ssim": similarity,
        "colourfulness": colourfulness(predicted),
        "true_colourfulness": colourfulness(true),
        "chroma": ab.norm(dim=1).mean(dim=(1, 2)),
    }


def summary(measured: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """Sum up the figures of `measure`.

    Means of its figures; ``error_reduction``, how far ``ab_error`` is below that of a grey picture (0..1);
    ``colourfulness_ratio``, mean colourfulness divided by the truth's; both again for the quarter of photographs with
    the most chroma (``saturated_…``); ``near_grey``, the fraction of pictures whose mean chroma is below 5.
    """
    result = {name: float(values.mean()) for name, values in measured.items() if name != "chroma"}
    saturated = measured["grey_ab_error"] >= np.quantile(measured["grey_ab_error"], 0.75)
    for prefix, chosen in (("", np.ones_like(saturated)), ("saturated_", saturated)):
        error, grey, colours, true = (
            measured[name][chosen].mean() for name in ("ab_error", "grey_ab_error", "colourfulness", "true_colourfulness")
        )
        result[f"{prefix}error_reduction"] = float(1 - error / grey)
        result[f"{prefix}colourfulness_ratio"] = float(colours / true)
    result["near_grey"] = float((measured["chroma"] < _NEAR_GREY).mean())
    return result


def by_source(measured: dict[str, npt.NDArray[np.float64]], sources: list[str]) -> dict[str, dict[str, float]]:
    """`summary` of the photographs of each source, and their number."""
    names = np.array(sources)
    masks = {source: names == source for source in sorted(set(sources))}
    return {
        source: {"photographs": float(mask.sum()), **summary({name: values[mask] for name, values in measured.items()})}
        for source, mask in masks.items()
    }


def report(predict: Predict, photos: Photos) -> dict[str, Any]:
    """`summary` of ``predict``, grey (N, 1, H, W) -> a*, b*: of all photographs, of each source, and of each subject where
    they are known.

    ``mean_colour`` is the same for the constant colour that is best on average.
    """
    measured = measure(predict, photos)
    mean = torch.from_numpy(PhotoSamples(photos, 64, 0, augment=False).chroma(len(photos)).mean(axis=0))
    constant = measure(lambda grey: mean[None, :, None, None].expand(len(grey), 2, *grey.shape[2:]), photos)
    return {
        **summary(measured),
        "photographs": len(photos),
        "sources": by_source(measured, photos.sources),
        **({"subjects": by_source(measured, [*photos.subjects])} if photos.subjects else {}),
        "mean_colour": summary(constant),
    }
