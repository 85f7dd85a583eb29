"""The UNets of the CSC321 colourization assignment."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.layers import Conv2d, DilatedConv2d
from training.networks.blocks import block


class UNet(nn.Module):
    """Encoder-decoder with skip connections that classifies each pixel into a palette of colours.

    Input (N, in_channels, H, W) with H and W multiples of 4; output logits (N, num_colours, H, W).
    The attribute names are the hand-out's, so that its state dicts load as they are.
    Source: CSC321 (2018), assignment 2, after Ronneberger et al. 2015, "U-Net".
    """

    def __init__(self, kernel: int = 3, num_filters: int = 32, num_colours: int = 24, in_channels: int = 1) -> None:
        super().__init__()
        f, k = num_filters, kernel
        self.downconv1 = block(in_channels, f, k, nn.MaxPool2d(2))
        self.downconv2 = block(f, 2 * f, k, nn.MaxPool2d(2))
        self.rfconv = block(2 * f, 2 * f, k)
        self.upconv1 = block(4 * f, f, k, nn.Upsample(scale_factor=2))
        self.upconv2 = block(2 * f, num_colours, k, nn.Upsample(scale_factor=2))
        self.finalconv = Conv2d(num_colours + in_channels, num_colours, k)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.downconv1(x)  # (N, F, H/2, W/2)
        down2 = self.downconv2(down1)  # (N, 2F, H/4, W/4)
        middle = self.rfconv(down2)  # (N, 2F, H/4, W/4)
        up1 = self.upconv1(torch.cat([middle, down2], dim=1))  # (N, F, H/2, W/2)
        up2 = self.upconv2(torch.cat([up1, down1], dim=1))  # (N, K, H, W)
        logits: Tensor = self.finalconv(torch.cat([up2, x], dim=1))  # (N, K, H, W)
        return logits


class DilatedUNet(UNet):
    """`UNet` whose middle convolution has a gap of one between its taps, so it covers 5 x 5 with 9 weights."""

    def __init__(self, kernel: int = 3, num_filters: int = 32, num_colours: int = 24, in_channels: int = 1) -> None:
        super().__init__(kernel, num_filters, num_colours, in_channels)
        self.rfconv = block(2 * num_filters, 2 * num_filters, kernel, conv=DilatedConv2d)


class DownsizedUNet(UNet):
    """`UNet` that gets a colour picture at a quarter of its size and restores the colours of every pixel.

    Input (N, 3, H, W), R, G, B, is average-pooled by 4 and enlarged again by repetition before it enters the network;
    output logits (N, num_colours, H, W). Source: CSC321 (2018), assignment 2, option ``downsize_input``.
    """

    def __init__(self, kernel: int = 3, num_filters: int = 32, num_colours: int = 24) -> None:
        super().__init__(kernel, num_filters, num_colours, in_channels=3)

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(F.interpolate(F.avg_pool2d(image, 4), scale_factor=4.0, mode="nearest"))


class DeepUNet(nn.Module):
    """A larger UNet for the same task: four scales, two convolutions a block, a dilated middle.

    Input (N, in_channels, H, W) with H and W multiples of 8; output logits (N, num_colours, H, W).
    Not the assignment's: Conv -> BatchNorm -> ReLU as usual, so that BatchNorm is folded into the convolutions in deployment.
    """

    def __init__(self, num_filters: int = 32, num_colours: int = 24, in_channels: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        f = num_filters
        self.down1 = _double(in_channels, f)
        self.down2 = _double(f, 2 * f)
        self.down3 = _double(2 * f, 3 * f)
        self.middle = nn.Sequential(_double(3 * f, 4 * f, DilatedConv2d), nn.Dropout2d(dropout))
        self.up3 = _double(4 * f + 3 * f, 3 * f)
        self.up2 = _double(3 * f + 2 * f, 2 * f)
        self.up1 = _double(2 * f + f, f)
        self.finalconv = Conv2d(f + in_channels, num_colours, 3)
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.down1(x)  # (N, F, H, W)
        down2 = self.down2(self.pool(down1))  # (N, 2F, H/2, W/2)
        down3 = self.down3(self.pool(down2))  # (N, 3F, H/4, W/4)
        middle = self.middle(self.pool(down3))  # (N, 4F, H/8, W/8)
        up3 = self.up3(torch.cat([self.enlarge(middle), down3], dim=1))  # (N, 3F, H/4, W/4)
        up2 = self.up2(torch.cat([self.enlarge(up3), down2], dim=1))  # (N, 2F, H/2, W/2)
        up1 = self.up1(torch.cat([self.enlarge(up2), down1], dim=1))  # (N, F, H, W)
        logits: Tensor = self.finalconv(torch.cat([up1, x], dim=1))  # (N, K, H, W)
        return logits


def _double(in_channels: int, out_channels: int, conv: type[Conv2d] = Conv2d) -> nn.Sequential:
    return nn.Sequential(
        *(conv(in_channels, out_channels, 3), nn.BatchNorm2d(out_channels), nn.ReLU()),
        *(Conv2d(out_channels, out_channels, 3), nn.BatchNorm2d(out_channels), nn.ReLU()),
    )
