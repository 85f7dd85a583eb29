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
