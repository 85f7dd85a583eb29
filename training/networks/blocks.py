"""Building blocks that several networks share."""

from torch import nn

from training.layers import Conv2d


def block(
    in_channels: int, out_channels: int, kernel: int, resize: nn.Module | None = None, conv: type[Conv2d] = Conv2d
) -> nn.Sequential:
    """Conv -> MaxPool or Upsample (if any) -> BatchNorm -> ReLU, in the assignment's order."""
    layers: list[nn.Module] = [conv(in_channels, out_channels, kernel)]
    if resize is not None:
        layers.append(resize)
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels), nn.ReLU())
