"""What a network is made of: layers, shapes, parameters, multiply-accumulates, receptive field. All of it computed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training.layers import Conv2d, DilatedConv2d

_WIDEST = 4096  # pixels: a receptive field of this width counts as the whole picture


@dataclass(frozen=True)
class Layer:
    """One layer: its name, what it is, the shape of its output, parameters, and multiply-accumulates (MACs)."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


def layers(network: nn.Module, inputs: Tensor) -> list[Layer]:
    """The layers of ``network`` in the order in which they run on ``inputs``.

    MACs count what PyTorch computes, with the zeros of zero-inserted filters. Only shapes are used: nothing is computed.
    """
    network, inputs = copy.deepcopy(network).to("meta"), inputs.to("meta")
    order: list[tuple[str, nn.Module, tuple[int, ...]]] = []

    def note(name: str, module: nn.Module) -> None:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            order.append((name, module, tuple(output.shape)))

        module.register_forward_hook(hook)

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    for name, module in leaves:
        note(name, module)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(inputs)
    flops = counter.get_flop_counts()
    root = type(network).__name__
    return [
        Layer(
            name,
            type(module).__name__,
            shape,
            sum(p.numel() for p in module.parameters()),
            sum(flops.get(f"{root}.{name}", {}).values()) // 2,
        )
        for name, module, shape in order
    ]


def macs_without_inserted_zeros(network: nn.Module, inputs: Tensor) -> int:
    """MACs of the whole network without the zeros of zero-inserted filters, as the exported graph computes it."""
    modules = dict(network.named_modules())
    total = 0
    for layer in layers(network, inputs):
        module, macs = modules[layer.name], layer.macs
        if isinstance(module, DilatedConv2d):
            span = module.kernel_size + (module.kernel_size - 1) * module.dilation
            macs = macs * module.kernel_size**2 // span**2
        total += macs
    return total


def receptive_field(network: nn.Module, channels: int, multiple: int) -> int | None:
    """Side in pixels of the input that one output pixel depends on, or None when it is the whole picture.

    Computed by differentiation: with positive weights no dependence can cancel out. In a network that pools and enlarges,
    the field differs from one output column to the next and repeats after ``multiple``; this is the largest. A field counts
    as the whole picture when it is as wide as a picture of `_WIDEST` pixels.
    """
    if getattr(network, "sees_whole_picture", False):
        return None
    probe, width = _positive(network), max(64, 16 * multiple)
    while width <= _WIDEST:
        field = _field_within(probe, channels, multiple, width)
        if field:
            return field
        width *= 2
    return None


def _field_within(probe: nn.Module, channels: int, multiple: int, width: int) -> int | None:
    """The largest field of the middle columns in a picture of this width, or None when one of them touches its edge."""
    inputs = torch.full((1, channels, multiple, width), 0.5, dtype=torch.float64, requires_grad=True)
    output = probe(inputs)
    if output.ndim == 2:
        return None
    scale = output.shape[-1] / width
    middle = int(output.shape[-1] / 2)
    widest = 0
    for column in range(middle, middle + max(1, int(multiple * scale))):
        (gradient,) = torch.autograd.grad(output[..., column].sum(), inputs, retain_graph=True)
        columns = gradient.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
        if columns[0] == 0 or columns[-1] == width - 1:
            return None
        widest = max(widest, int(columns[-1] - columns[0]) + 1)
    return widest


class _OneFilter(nn.Module):
    """A convolution that replaces all its filters by one on the mean of its channels: the same field for little work.

    The edge of the picture is repeated instead of padded with zeros, so that a field beyond the edge reaches it.
    """

    def __init__(self, convolution: nn.Module, channels: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.convolution, self.channels = convolution, channels
        self.around = (padding[1], padding[1], padding[0], padding[0])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convolution(F.pad(x.mean(dim=1, keepdim=True), self.around, mode="replicate"))
        return output.expand(-1, self.channels, -1, -1)


def _positive(network: nn.Module) -> nn.Module:
    """A copy that depends on the same inputs, with positive weights, one filter a layer, and averages in place of maxima."""
    probe = copy.deepcopy(network).double().eval()
    for module in list(probe.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.ReLU | nn.ReLU6 | nn.Hardswish | nn.Hardsigmoid):  # no gradient where they saturate
                setattr(module, name, nn.Identity())
            elif isinstance(child, Conv2d | nn.Conv2d | nn.ConvTranspose2d):
                setattr(module, name, _one_filter(child))
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()  # a scale of 1
        elif isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 1 / module.in_features)
    return _one_filter(probe) if isinstance(probe, Conv2d) else probe


def _one_filter(convolution: Conv2d | nn.Conv2d | nn.ConvTranspose2d) -> _OneFilter:
    weight = convolution.weight
    channels = weight.shape[0] if isinstance(convolution, Conv2d) else convolution.out_channels
    size = weight.shape[2:].numel()
    convolution.weight = nn.Parameter(torch.full((1, 1, *weight.shape[2:]), 1 / size, dtype=weight.dtype))
    convolution.register_parameter("bias", None)
    padding = (0, 0)
    if isinstance(convolution, Conv2d):
        padding, convolution.padding = (convolution.padding, convolution.padding), 0
    else:
        convolution.groups = 1
        if isinstance(convolution, nn.Conv2d) and not isinstance(convolution.padding, str):
            padding, convolution.padding = (convolution.padding[0], convolution.padding[1]), (0, 0)
    return _OneFilter(convolution, channels, padding)


def assignment_comparison() -> Iterator[tuple[str, int, int]]:
    """Answer the assignment's question: (convolution, weights of one filter on one channel, receptive field)."""
    for name, layer in (
        ("3x3", Conv2d(1, 1, 3)),
        ("5x5", Conv2d(1, 1, 5)),
        ("3x3, dilation 1 (one gap between taps)", DilatedConv2d(1, 1, 3, dilation=1)),
    ):
        field = receptive_field(layer, 1, 1)
        assert field is not None
        yield name, layer.weight.numel(), field
