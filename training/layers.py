"""Layers written out by hand, as the CSC321 colourization assignment asks for."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv2d(nn.Module):
    """2-D convolution with its weight and bias as plain parameters.

    Input (N, in_channels, H, W), output (N, out_channels, H', W'); with the default padding of
    ``kernel_size // 2`` and an odd kernel H' = H and W' = W. Weight and bias start uniform in
    ±1/sqrt(in_channels · kernel_size²). Source: University of Toronto CSC321 (2018), assignment 2, ``MyConv2d``.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, padding: int | None = None) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.padding = kernel_size // 2 if padding is None else padding
        bound = 1 / math.sqrt(in_channels * kernel_size * kernel_size)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding)

    def extra_repr(self) -> str:
        out_channels, in_channels = self.weight.shape[:2]
        return f"{in_channels}, {out_channels}, kernel_size={self.kernel_size}, padding={self.padding}"


class DilatedConv2d(Conv2d):
    """Dilated convolution with a zero-inserted filter: zeros are put between its taps, then it convolves as usual.

    ``dilation`` counts as the assignment does, in gaps between neighbouring taps: 0 is an ordinary convolution, 1 is
    what PyTorch calls dilation 2. The trained weight stays (out_channels, in_channels, k, k). Input (N, in_channels,
    H, W), output (N, out_channels, H', W'); the default padding keeps H' = H and W' = W for an odd kernel.
    Source: CSC321 (2018), assignment 2, ``MyDilatedConv2d``, after Yu and Koltun 2016, "Multi-Scale Context
    Aggregation by Dilated Convolutions".
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, padding: int | None = None
    ) -> None:
        self.dilation = dilation
        span = kernel_size + (kernel_size - 1) * dilation
        super().__init__(in_channels, out_channels, kernel_size, span // 2 if padding is None else padding)

    def zero_inserted_weight(self) -> Tensor:
        """The filter with ``dilation`` rows and columns of zeros between its taps: (out, in, span, span)."""
        o, i, k, _ = self.weight.shape
        step = self.dilation + 1
        cells = F.pad(self.weight.reshape(o, i, k, 1, k, 1), (0, step - 1, 0, 0, 0, step - 1))  # tap first in its cell
        span = k + (k - 1) * self.dilation
        return cells.reshape(o, i, k * step, k * step)[:, :, :span, :span]

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.zero_inserted_weight(), self.bias, padding=self.padding)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, dilation={self.dilation}"
