"""Scores of a checkpoint on pictures that it may or may not have seen."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from training.checkpoint import Checkpoint
from training.datasets.cifar import PaletteDataset


def score(network: nn.Module, dataset: PaletteDataset, device: str = "cpu", batch_size: int = 100) -> dict[str, float]:
    """Cross-entropy ``loss`` and pixel ``accuracy`` (0..1) of a network in evaluation mode, in float32."""
    loss, right = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(dataset), batch_size):
            batch = dataset.__getitems__(list(range(start, min(start + batch_size, len(dataset)))))
            logits = network(batch["grey"].to(device))
            target = batch["target"].to(device)
            loss += F.cross_entropy(logits, target, reduction="sum").item()
            right += int((logits.argmax(dim=1) == target).sum())
    pixels = dataset.target.numel()
    return {"loss": loss / pixels, "accuracy": right / pixels}


def evaluate(checkpoint: Checkpoint, images: npt.NDArray[np.uint8], device: str = "cpu") -> dict[str, float]:
    """`score` of a checkpoint on ``images`` (N, 32, 32, 3), and their number."""
    dataset = PaletteDataset(images, checkpoint.colours)
    return {**score(checkpoint.build().to(device), dataset, device), "pictures": float(len(dataset))}
