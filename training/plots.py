"""Pictures of a training run: sample grids and curves."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # only files: a training machine may have no screen

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from PIL import Image

from training.files import replacing


def save_grid(rows: list[npt.NDArray[np.float32]], path: Path, scale: int = 3) -> None:
    """Write rows of pictures, each (N, H, W, 3) RGB 0..1, as one PNG, enlarged ``scale`` times without smoothing."""
    n, h, w, _ = rows[0].shape
    sheet = np.ones((len(rows) * (h + 2) - 2, n * (w + 2) - 2, 3), np.float32)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            sheet[r * (h + 2) : r * (h + 2) + h, c * (w + 2) : c * (w + 2) + w] = picture
    save_picture(sheet, path, scale)


def save_picture(picture: npt.NDArray[np.float32], path: Path, scale: int = 1) -> None:
    """Write a picture (H, W) or (H, W, 3), 0..1, as PNG, enlarged ``scale`` times without smoothing."""
    image = Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
    with replacing(path) as partial:
        image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(partial, "PNG")


def save_curves(history: list[dict[str, float]], path: Path, title: str) -> None:
    """Plot each quantity that training and validation logged (loss, accuracy, …) against the epoch, as one PNG."""
    quantities = sorted({key.partition("_")[2] for row in history for key in row if key.startswith("train_")}, reverse=True)
    figure, axes = plt.subplots(1, len(quantities), figsize=(5 * len(quantities), 4), layout="constrained", squeeze=False)
    for axis, quantity in zip(axes[0], quantities, strict=True):
        for split in ("train", "validation"):
            key = f"{split}_{quantity}"
            points = [(row["epoch"], row[key]) for row in history if key in row]
            if points:
                axis.plot(*zip(*points, strict=True), label=split)
        axis.set(xlabel="epoch", ylabel=quantity)
        if quantity == "loss" and all(row[key] > 0 for row in history for key in row if key.endswith("_loss")):
            axis.set_yscale("log")
        axis.grid(alpha=0.3, which="both")
        axis.legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=100)
    plt.close(figure)
