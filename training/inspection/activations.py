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
from training.datasets.pictures import read_rgb
from training.errors import TrainingError
from training.evaluate import evaluator_of
from training.families import family_of

FloatArray = npt.NDArray[np.float32]
_MAX_SIDE = 1024


def read_picture(path: Path, checkpoint: Checkpoint, short_side: int | None) -> npt.NDArray[np.uint8]:
    """Read a picture upright, reduced, cropped to whole strides and to 1024 pixels: (H, W, 3) uint8.

    ``short_side`` is what it is reduced to, by default that of the network's kind of data. Errors: TrainingError.
    """
    short_side = short_side or family_of(checkpoint.kind).short_side
    rgb = read_rgb(path, str(path))
    scale = min(1.0, short_side / min(rgb.size))
    size = (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale)))
    stride = checkpoint.kind.stride
    width, height = (min(side, _MAX_SIDE) // stride * stride for side in size)
    if not width or not height:
        raise TrainingError(
            f"{path} would be {size[0]} x {size[1]} pixels: {checkpoint.network} needs at least {stride} x {stride}."
        )
    return np.array(colour.resize(rgb, size))[:height, :width]  # a copy that PyTorch may own


def activations(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Outputs of every block of ``network`` in the order in which the blocks run: name -> (C, h, w).

    A block is a child of the network, or of an encoder or decoder that is a sequence of blocks.
    """
    outputs: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module) -> RemovableHandle:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for suffix, maps in _parts(output):
                if maps.ndim == 4:
                    outputs[name + suffix] = maps[0]

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
    return outputs


def _parts(output: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a block's output, with suffixes of its name: of an encoder, one for each scale."""
    if isinstance(output, Tensor):
        return [("", output)]
    names = output.items() if isinstance(output, dict) else enumerate(output)
    return [(f".{name}", tensor) for name, tensor in names]


def sheet(maps: Tensor) -> FloatArray:
    """Feature maps (C, h, w) as one grey picture (H, W): each map stretched to 0..1, in a nearly square arrangement."""
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
    """Write the sheets of one picture (H, W, 3) into ``folder``; returns their paths, each with what it shows.

    ``00-input-truth-output.png`` comes first, then one PNG for each block, described with its smallest and largest value:
    each map is drawn in its own range, so a map that grows without bound looks like any other. Errors: TrainingError.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise TrainingError(f"{folder} is not empty, and sheets of two networks would mix: choose another -o.")
    folder.mkdir(parents=True, exist_ok=True)
    network = checkpoint.build()
    evaluator, pictures = evaluator_of(checkpoint), family_of(checkpoint.kind).single(image)
    rows = evaluator.rows(network, pictures)
    first = folder / "00-input-truth-output.png"
    plots.save_grid([np.concatenate(rows)], first, scale=_scale(image.shape[1] * len(rows)))
    contents = {first: "input, truth and output"}
    for i, (name, maps) in enumerate(activations(network, evaluator.inputs(pictures)).items(), start=1):
        path = folder / f"{i:02}-{name}.png"
        picture = sheet(maps)
        plots.save_picture(picture, path, scale=_scale(picture.shape[1]))
        count, height, width = maps.shape
        contents[path] = f"{count} of {width} x {height}, {maps.min():.3g} to {maps.max():.3g}"
    return contents


def _scale(width: int) -> int:
    """Whole-number enlargement to about 800 pixels, so that single values are visible."""
    return max(1, round(800 / width))
