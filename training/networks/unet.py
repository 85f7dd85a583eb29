"""The UNet of the CSC321 colourization assignment."""

import torch
from torch import Tensor, nn

from training.layers import Conv2d


def _block(in_channels: int, out_channels: int, kernel: int, resize: nn.Module | None = None) -> nn.Sequential:
    """Conv -> MaxPool or Upsample (if any) -> BatchNorm -> ReLU, in the assignment's order."""
    layers: list[nn.Module] = [Conv2d(in_channels, out_channels, kernel)]
    if resize is not None:
        layers.append(resize)
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels), nn.ReLU())


class UNet(nn.Module):
    """Encoder-decoder with skip connections that classifies each pixel into a palette of colours.

    Input (N, in_channels, H, W) with H and W multiples of 4; output logits (N, num_colours, H, W).
    The attribute names are the hand-out's, so that its state dicts load as they are.
    Source: CSC321 (2018), assignment 2, after Ronneberger et al. 2015, "U-Net".
    """

    def __init__(self, kernel: int = 3, num_filters: int = 32, num_colours: int = 24, in_channels: int = 1) -> None:
        super().__init__()
        f, k = num_filters, kernel
        self.downconv1 = _block(in_channels, f, k, nn.MaxPool2d(2))
        self.downconv2 = _block(f, 2 * f, k, nn.MaxPool2d(2))
        self.rfconv = _block(2 * f, 2 * f, k)
        self.upconv1 = _block(4 * f, f, k, nn.Upsample(scale_factor=2))
        self.upconv2 = _block(2 * f, num_colours, k, nn.Upsample(scale_factor=2))
        self.finalconv = Conv2d(num_colours + in_channels, num_colours, k)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.downconv1(x)  # (N, F, H/2, W/2)
        down2 = self.downconv2(down1)  # (N, 2F, H/4, W/4)
        middle = self.rfconv(down2)  # (N, 2F, H/4, W/4)
        up1 = self.upconv1(torch.cat([middle, down2], dim=1))  # (N, F, H/2, W/2)
        up2 = self.upconv2(torch.cat([up1, down1], dim=1))  # (N, K, H, W)
        logits: Tensor = self.finalconv(torch.cat([up2, x], dim=1))  # (N, K, H, W)
        return logits
