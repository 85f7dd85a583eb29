"""Wrapper modules that give every network one of the signatures of the model contract."""

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from colorize_run.colour import TO_XYZ
from colorize_run.model.contract import CELL
from torch import Tensor, nn

from export.errors import ExportError
from export.specifications import Specification
from training.checkpoint import Checkpoint
from training.conventions import FROM_256THS, TO_256THS, to_ab
from training.networks import Target
from training.networks.photo import PhotoChroma, PhotoColorizer
from training.palette import annealed_mean, palette_to_ab

_C = 6 / 29  # where f(t) of CIELAB turns from a cube root into a line


class Signature(nn.Module):
    """A network behind one of the contract's signatures; ``outputs`` names what `forward` returns, in order.

    ``hinted``: whether `forward` takes colour hints after the picture, (N, 3, H, W): a*, b*, and 1 where there is one.
    """

    outputs: tuple[str, ...]
    hinted = False

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class SegmentSignature(Signature):
    """Signature ``segment``: input (N, 3, H, W), sRGB-encoded, 0..1, any H and W; output ``probabilities`` (N, C, H, W)."""

    outputs = ("probabilities",)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return (self.network(image).softmax(dim=1),)


class ColorizeSignature(Signature):
    """Signature ``colorize``: input (N, 1 or 3, H, W), sRGB-encoded, 0..1, any H and W; output ``ab`` and maybe ``rgb``.

    The picture is padded to ``multiple`` with its edge pixels, and the network's output is cropped again.
    """

    outputs: tuple[str, ...] = ("ab",)

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__(network)
        self.multiple = multiple

    def _padded(self, planes: Tensor) -> Tensor:
        height, width = planes.shape[2], planes.shape[3]
        return F.pad(planes, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")

    def _apply_padded(self, planes: Tensor) -> Tensor:
        height, width = planes.shape[2], planes.shape[3]
        output: Tensor = self.network(self._padded(planes))[:, :, :height, :width]
        return output


class PaletteSignature(ColorizeSignature):
    """A network that classifies pixels into a palette.

    ``ab`` (N, 2, H, W), CIELAB, is the annealed mean at ``temperature``, ``rgb`` (N, 3, H, W), 0..1, the most
    probable colour.
    """

    outputs = ("ab", "rgb")
    palette_ab: Tensor
    palette_rgb: Tensor
    temperature: Tensor

    def __init__(self, network: nn.Module, multiple: int, colours: npt.NDArray[np.float32], temperature: float) -> None:
        super().__init__(network, multiple)
        self.register_buffer("palette_ab", torch.from_numpy(palette_to_ab(colours)))
        self.register_buffer("palette_rgb", torch.from_numpy(np.clip(colours * np.float32(FROM_256THS), 0, 1)))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        logits = self._apply_padded(picture * TO_256THS)  # (N, K, H, W)
        ab = annealed_mean(logits, self.palette_ab, self.temperature)
        rgb = F.embedding(logits.argmax(dim=1), self.palette_rgb).permute(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W)
        return ab, rgb


class PhotoSignature(ColorizeSignature):
    """A photo colourizer: ``ab`` (N, 2, H, W), CIELAB, at a ``temperature`` that the caller of the graph may set.

    A network with a palette also gives ``logits`` (N, K, h, w) of its colours for each cell of 4 x 4 pixels.
    """

    network: PhotoChroma
    temperature: Tensor

    def __init__(self, network: PhotoChroma, multiple: int, temperature: float) -> None:
        super().__init__(network, multiple)
        self.hinted = bool(network.network.extra_channels)
        self.outputs = ("ab", "logits") if len(network.palette) else ("ab",)
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, picture: Tensor, hints: Tensor | None = None) -> tuple[Tensor, ...]:
        height, width = picture.shape[2], picture.shape[3]
        hints = None if hints is None else self._padded(hints)
        logits = self.network.logits(self._padded(picture), hints)
        ab = self.network.chroma(logits, self.temperature, hints)[:, :, :height, :width]
        cells = logits[:, :, : (height + CELL - 1) // CELL, : (width + CELL - 1) // CELL]
        return (ab, cells)[: len(self.outputs)]


class RGBSignature(ColorizeSignature):
    """A network that gives R, G, B: ``rgb`` (N, 3, H, W), 0..1, is its output, clipped; ``ab`` are a*, b* of that."""

    outputs = ("ab", "rgb")

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        rgb = (self._apply_padded(picture * TO_256THS) / TO_256THS).clamp(0, 1)
        return rgb_to_ab(rgb), rgb


class ChromaSignature(ColorizeSignature):
    """A network of the Lab family: L*/100 in, chroma of each pixel out, ``ab`` (N, 2, H, W).

    These networks reduce the whole picture to few cells, and learnt from no padded one: two columns of padding changed
    the mean a* by 4.5. So the picture is stretched to the nearest multiple instead, and its chroma stretched back.
    """

    def __init__(self, network: nn.Module, multiple: int, output: str) -> None:
        super().__init__(network, multiple)
        self.output = output

    def _stretched(self, grey: Tensor) -> Tensor:
        """L*/100 of the picture, stretched to sides that are multiples: (N, 1, H', W')."""
        half = self.multiple // 2
        sides = [torch.sym_max(1, (side + half) // self.multiple) * self.multiple for side in grey.shape[2:]]
        return F.interpolate(lightness(grey) / 100, size=sides, mode="bilinear", align_corners=False)  # type: ignore[arg-type]

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        chroma = self.network(self._stretched(picture))  # (N, 2, H', W')
        back = F.interpolate(chroma, size=picture.shape[2:], mode="bilinear", align_corners=False)
        return (to_ab(back, self.output),)


class MeanChromaSignature(ChromaSignature):
    """The same for a network whose output is the mean chroma of the picture, (N, 2), for every pixel."""

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        mean: Tensor = self.network(self._stretched(picture))[:, :, None, None]
        return (to_ab(mean, self.output).expand(-1, -1, picture.shape[2], picture.shape[3]),)


def _linear(encoded: Tensor) -> Tensor:
    """sRGB-encoded -> linear light, 0..1."""
    curve = ((encoded.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, curve)


def _f(t: Tensor) -> Tensor:
    """CIELAB's f: cube root above (6/29)³, its tangent below."""
    return torch.where(t > _C**3, t.clamp_min(_C**3) ** (1 / 3), t / (3 * _C * _C) + 4 / 29)


def lightness(grey: Tensor) -> Tensor:
    """CIELAB L*, 0..100, of sRGB-encoded grey, 0..1; any shape. As ``colorize_run.colour.lightness``."""
    return 116 * _f(_linear(grey)) - 16


def rgb_to_ab(rgb: Tensor) -> Tensor:
    """CIELAB a*, b* of an sRGB-encoded picture: (N, 3, H, W), 0..1 -> (N, 2, H, W). As ``colorize_run.colour``."""
    matrix = torch.from_numpy(TO_XYZ).to(rgb.dtype)
    x, y, z = _f(torch.einsum("nchw,kc->nkhw", _linear(rgb), matrix)).unbind(dim=1)
    return torch.stack([500 * (x - y), 200 * (y - z)], dim=1)


def _palette(checkpoint: Checkpoint, network: nn.Module, temperature: float) -> Signature:
    return PaletteSignature(network, checkpoint.kind.stride, checkpoint.colours, temperature)


def _rgb(checkpoint: Checkpoint, network: nn.Module, _temperature: float) -> Signature:
    return RGBSignature(network, checkpoint.kind.stride)


def _chroma(checkpoint: Checkpoint, network: nn.Module, _temperature: float) -> Signature:
    return ChromaSignature(network, checkpoint.kind.stride, checkpoint.arguments.get("output", "sigmoid"))


def _mean_chroma(checkpoint: Checkpoint, network: nn.Module, _temperature: float) -> Signature:
    return MeanChromaSignature(network, checkpoint.kind.stride, checkpoint.arguments.get("output", "sigmoid"))


def _photo(checkpoint: Checkpoint, network: nn.Module, temperature: float) -> Signature:
    chroma = PhotoChroma(cast("PhotoColorizer", network), torch.from_numpy(checkpoint.colours))
    return PhotoSignature(chroma, checkpoint.kind.stride, temperature)


_WRAPPERS: dict[Target, Callable[[Checkpoint, nn.Module, float], Signature]] = {
    "palette": _palette,
    "rgb": _rgb,
    "chroma": _chroma,
    "mean-chroma": _mean_chroma,
    "chroma-palette": _photo,
    "mask": lambda _checkpoint, network, _temperature: SegmentSignature(network),
}


def wrap(checkpoint: Checkpoint, specification: Specification) -> Signature:
    """The checkpoint's network behind the signature of what it predicts, in evaluation mode. Errors: ExportError."""
    if checkpoint.network != specification.network:
        raise ExportError(
            f"The model {specification.name} is a {specification.network}, but the checkpoint holds a {checkpoint.network},"
            f" of the model {checkpoint.model}."
        )
    if checkpoint.model != specification.name:
        raise ExportError(
            f"The checkpoint was trained as {checkpoint.model}: export it with `python -m export {checkpoint.model}`."
        )
    wrapped = _WRAPPERS[checkpoint.kind.target](checkpoint, checkpoint.build(), specification.temperature).eval()
    training = [name for name, module in wrapped.named_modules() if module.training]
    if training:
        raise ExportError(f"The network is not in evaluation mode: {', '.join(training)}.")
    return wrapped


def input_name(checkpoint: Checkpoint) -> str:
    """Name of the graph's input: ``image`` for a network that sees colour, else ``grey``."""
    return "image" if checkpoint.kind.sees_colour else "grey"
