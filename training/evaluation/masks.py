"""Evaluator of segmenters on flowers: how much of them they find, and how well their outlines fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import BinaryJaccardIndex, MulticlassAccuracy, MulticlassJaccardIndex

from training.conventions import FLOWER_WORKING_SIZE
from training.datasets.flowers import CLASS_COLOURS, UNLABELLED, Flowers, FlowerSamples, fitted
from training.progress import track

_GRID_SIDE = 192
_BOUNDARY = 0.0075  # of the diagonal: outlines that are no further apart count as the same
_UNLABELLED_COLOUR = (160, 160, 160)
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]
Segment = Callable[[FloatArray], ByteArray]  # (H, W, 3), 0..1 -> class numbers (H, W)


@dataclass(frozen=True)
class MaskEvaluator:
    """Evaluates networks that give logits over classes for each pixel."""

    grid_pictures = 16
    grid_scale = 1
    colours: ClassVar[FloatArray] = np.zeros((0, 3), np.float32)

    def dataset(self, flowers: Flowers, side: int) -> FlowerSamples:
        """Validation samples of ``flowers``."""
        return FlowerSamples(flowers, side, 0, augment=False)

    def inputs(self, flowers: Flowers) -> Tensor:
        """See `Evaluator`."""
        picture, _ = at_working_size(flowers.images[0], flowers.masks[0])
        return torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous()

    def segmenter(self, network: nn.Module) -> Segment:
        """The network, in evaluation mode, as a function from a picture to its mask."""
        device = next(network.parameters()).device

        def segment(picture: FloatArray) -> ByteArray:
            with torch.no_grad():
                logits = network(torch.from_numpy(picture).permute(2, 0, 1)[None].to(device))
            return np.asarray(logits[0].argmax(dim=0).cpu().numpy().astype(np.uint8))

        return segment

    def score(self, network: nn.Module, flowers: Flowers) -> dict[str, float]:
        """See `Evaluator`: `measure` of the network's masks."""
        return measure(self.segmenter(network), flowers)

    def report(self, network: nn.Module, flowers: Flowers) -> dict[str, Any]:
        """See `Evaluator`."""
        return {**self.score(network, flowers), "pictures": len(flowers)}

    def rows(self, network: nn.Module, flowers: Flowers) -> list[FloatArray]:
        """See `Evaluator`: picture, truth (unlabelled in grey) and prediction of eight flowers, and again for the next."""
        segment, rows = self.segmenter(network), []
        for start in range(0, len(flowers), 8):
            part = flowers[start : start + 8]
            if start and len(part) < 8:
                break
            side = (_GRID_SIDE, _GRID_SIDE)
            pairs = [fitted(image, mask, side) for image, mask in zip(part.images, part.masks, strict=True)]
            columns = [[picture, _in_colour(mask), _in_colour(segment(picture))] for picture, mask in pairs]
            rows += [np.stack(row) for row in zip(*columns, strict=True)]
        return rows


def _in_colour(mask: ByteArray) -> FloatArray:
    colours = np.zeros((256, 3), np.float32)
    colours[: len(CLASS_COLOURS)] = CLASS_COLOURS
    colours[UNLABELLED] = _UNLABELLED_COLOUR
    picture: FloatArray = colours[mask] / np.float32(255)
    return picture


def measure(segment: Segment, flowers: Flowers) -> dict[str, float]:
    """Figures of ``segment`` on flowers at the size at which the runtime shows them to a network; all are 0..1.

    Over all labelled pixels: ``iou`` of the flowers (intersection over union), ``mean_iou`` over both classes,
    ``accuracy``. Means over pictures: ``picture_iou``; ``thresholded_iou``, the original's score (`thresholded`); and
    ``boundary_f``, the F-score of outlines (`boundary_f`).
    """
    metrics: dict[str, Metric] = {  # only one process evaluates, also where several have trained
        "iou": BinaryJaccardIndex(ignore_index=UNLABELLED, sync_on_compute=False),
        "mean_iou": MulticlassJaccardIndex(2, ignore_index=UNLABELLED, sync_on_compute=False),
        "accuracy": MulticlassAccuracy(2, average="micro", ignore_index=UNLABELLED, sync_on_compute=False),
    }
    means = {name: MeanMetric(sync_on_compute=False) for name in ("picture_iou", "thresholded_iou", "boundary_f")}
    for i in track(range(len(flowers)), f"Evaluating {len(flowers)} flowers"):
        picture, mask = at_working_size(flowers.images[i], flowers.masks[i])
        predicted = segment(picture)
        for metric in metrics.values():
            metric.update(torch.from_numpy(predicted)[None].long(), torch.from_numpy(mask)[None].long())
        iou = picture_iou(predicted, mask)
        means["picture_iou"].update(iou)
        means["thresholded_iou"].update(thresholded(torch.tensor(iou)))
        means["boundary_f"].update(boundary_f(predicted, mask))
    return {name: float(metric.compute()) for name, metric in {**metrics, **means}.items()}


def at_working_size(image: ByteArray, mask: ByteArray) -> tuple[FloatArray, ByteArray]:
    """`fitted` to the size at which the runtime shows such a picture to a network."""
    return fitted(image, mask, FLOWER_WORKING_SIZE.fit(image.shape[1], image.shape[0]))


def picture_iou(predicted: ByteArray, mask: ByteArray) -> float:
    """Intersection over union of the flowers in one picture, 0..1; unlabelled pixels count nowhere."""
    flower, true = (predicted == 1) & (mask != UNLABELLED), mask == 1
    union = np.count_nonzero(flower | true)
    return np.count_nonzero(flower & true) / union if union else 1.0


def thresholded(iou: Tensor) -> Tensor:
    """The original's score of an intersection over union: 0 up to 0.5, then a tenth for each started 0.05."""
    return (20 * (iou - 0.5)).clamp(0, 10).ceil() / 10


def boundary_f(predicted: ByteArray, mask: ByteArray) -> float:
    """F-score of the outline of ``predicted`` against that of ``mask``, 0..1, with a tolerance of 0.75 % of the diagonal.

    The true outline runs through the middle of the unlabelled border. Source: Csurka et al. 2013.
    """
    tolerance = max(1.0, _BOUNDARY * float(np.hypot(*mask.shape)))
    outline, true = _outline(predicted), _outline(_filled(mask))
    if not outline.any() or not true.any():
        return float(outline.any() == true.any())
    precision = (_distance_to(true)[outline] <= tolerance).mean()
    recall = (_distance_to(outline)[true] <= tolerance).mean()
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _filled(mask: ByteArray) -> ByteArray:
    """The mask with every unlabelled pixel given the label of the nearest labelled one."""
    unlabelled = mask == UNLABELLED
    if not unlabelled.any() or unlabelled.all():
        return np.where(unlabelled, np.uint8(0), mask)
    _, nearest = cv2.distanceTransformWithLabels(
        unlabelled.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(nearest.max()) + 1, np.uint8)
    of_label[nearest[~unlabelled]] = mask[~unlabelled]
    filled: ByteArray = of_label[nearest]
    return filled


def _outline(mask: ByteArray) -> npt.NDArray[np.bool_]:
    """Pixels of class 1 next to another class; the edge of the picture is no outline."""
    flower = (mask == 1).astype(np.uint8)
    inner = cv2.erode(flower, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_REPLICATE)
    outline: npt.NDArray[np.bool_] = flower != inner
    return outline


def _distance_to(pixels: npt.NDArray[np.bool_]) -> FloatArray:
    return np.asarray(cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5), np.float32)
