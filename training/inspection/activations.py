"""What happens inside a network: sheets of every block's feature maps on one picture."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from colorize_run import colour
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from training import plots
from training.checkpoint import Checkpoint
from training.datasets import faces
from training.datasets.photos import Photos
from training.datasets.pictures import read_rgb
from training.errors import TrainingError
from training.evaluation.pixels import judge_of

FloatArray = npt.NDArray[np.float32]
_MAX_SIDE = 1024


def read_picture(path: Path, checkpoint: Checkpoint, short_side: int | None) -> npt.NDArray[np.uint8]:
    """The picture upright and reduced, (1, H, W, 3) uint8, cropped to whole strides and at most 1024. Errors: TrainingError."""
    short_side = short_side or (
        faces.SIZE if checkpoint.kind.on_faces else 224 if checkpoint.kind.on_photos or checkpoint.kind.on_flowers else 32
    )
    rgb = read_rgb(path, str(path))
    scale = min(1.0, short_side / min(rgb.size))
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    stride = checkpoint.kind.stride
    width, height = (min(side, _MAX_SIDE) // stride * stride for side in size)
    if not width or not height:
        raise TrainingError(
            f"{path} would be {size[0]} x {size[1]} pixels; {checkpoint.network} takes {stride} x {stride} at least."
        )
    return np.array(colour.resize(rgb, size))[None, :height, :width]  # a copy that PyTorch may own


def activations(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Outputs of every block of ``network`` in the order in which they run: name -> (C, h, w).

    A block is a child of the network, or of an encoder or decoder that is a sequence of blocks.
    """
    found: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            if output.ndim == 4:
                found[name] = output[0]

        return module.register_forward_hook(hook)

    handles = []
    for name, child in network.named_children():
        blocks = [(f"{name}.{i}", block) for i, block in child.named_children()]
        nested = isinstance(child, nn.Sequential) and any(isinstance(block, nn.Sequential) for _, block in blocks)
        named = blocks if nested else [(name, child)]
        handles += [note(*pair) for pair in named if list(pair[1].parameters())]  # pooling learns nothing, and runs often
    with torch.no_grad():
        network.eval()(inputs)
    for handle in handles:
        handle.remove()
    return found


def sheet(maps: Tensor) -> FloatArray:
    """Feature maps (C, h, w) as one grey picture (H, W), each map stretched to 0..1 of its own, in near-square order."""
    c, h, w = maps.shape
    columns = math.ceil(math.sqrt(c * h / w))
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    stretched = ((maps - low) / (high - low).clamp_min(1e-6)).cpu().numpy()
    rows = math.ceil(c / columns)
    picture = np.ones((rows * (h + 1) - 1, columns * (w + 1) - 1), np.float32)
    for i, tile in enumerate(stretched):
        top, left = i // columns * (h + 1), i % columns * (w + 1)
        picture[top : top + h, left : left + w] = tile
    return picture


def save(checkpoint: Checkpoint, image: npt.NDArray[np.uint8], folder: Path) -> dict[Path, str]:
    """Write the sheets of one picture (1, H, W, 3) into ``folder``: their paths, each with what it shows.

    ``00-input-truth-output.png`` comes first, then one PNG for each block that ran, with the least and largest value: maps are
    drawn each in its own range, and one that grows without bound looks like any other. Errors: TrainingError.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise TrainingError(f"{folder} holds something already, and sheets of two networks would mix: give another -o.")
    folder.mkdir(parents=True, exist_ok=True)
    network = checkpoint.build()
    judge: Any = judge_of(checkpoint.network, checkpoint.arguments, checkpoint.colours)
    images = Photos([image[0]], [""]) if checkpoint.kind.on_photos else image
    rows = judge.rows(network, images)
    first = folder / "00-input-truth-output.png"
    plots.save_grid([np.concatenate(rows)], first, scale=_scale(image.shape[2] * len(rows)))
    shown = {first: "input, truth and output"}
    inputs = judge.dataset(images).__getitems__([0])["input"]
    for i, (name, maps) in enumerate(activations(network, inputs).items(), start=1):
        path = folder / f"{i:02}-{name}.png"
        picture = sheet(maps)
        plots.save_picture(picture, path, scale=_scale(picture.shape[1]))
        count, height, width = maps.shape
        shown[path] = f"{count} of {width} x {height}, {maps.min():.3g} to {maps.max():.3g}"
    return shown


def _scale(width: int) -> int:
    """Whole-number enlargement to about 800 pixels, so that single values can be seen."""
    return max(1, round(800 / width))
