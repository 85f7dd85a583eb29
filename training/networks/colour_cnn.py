"""The networks of the CSC321 colourization assignment without skip connections."""

from torch import Tensor, nn

from training.layers import Conv2d
from training.networks.blocks import block


class CNN(nn.Module):
    """Encoder-decoder that classifies each pixel into a palette of colours.

    Input (N, in_channels, H, W) with H and W multiples of 4; output logits (N, num_colours, H, W).
    The attribute names are the hand-out's, so that its state dicts load as they are.
    Source: University of Toronto CSC321 (2018), assignment 2.
    """

    def __init__(self, kernel: int = 3, num_filters: int = 32, num_colours: int = 24, in_channels: int = 1) -> None:
        super().__init__()
        f, k = num_filters, kernel
        self.downconv1 = block(in_channels, f, k, nn.MaxPool2d(2))
        self.downconv2 = block(f, 2 * f, k, nn.MaxPool2d(2))
        self.rfconv = block(2 * f, 2 * f, k)
        self.upconv1 = block(2 * f, f, k, nn.Upsample(scale_factor=2))
        self.upconv2 = block(f, num_colours, k, nn.Upsample(scale_factor=2))
        self.finalconv = Conv2d(num_colours, num_colours, k)

    def forward(self, x: Tensor) -> Tensor:
        down1 = self.downconv1(x)  # (N, F, H/2, W/2)
        down2 = self.downconv2(down1)  # (N, 2F, H/4, W/4)
        middle = self.rfconv(down2)  # (N, 2F, H/4, W/4)
        up1 = self.upconv1(middle)  # (N, F, H/2, W/2)
        up2 = self.upconv2(up1)  # (N, K, H, W)
        logits: Tensor = self.finalconv(up2)  # (N, K, H, W)
        return logits


class RegressionCNN(CNN):
    """`CNN` that gives R, G, B itself: output (N, 3, H, W), in byte / 256 and not limited to 0..1."""

    def __init__(self, kernel: int = 3, num_filters: int = 32, in_channels: int = 1) -> None:
        super().__init__(kernel, num_filters, 3, in_channels)
