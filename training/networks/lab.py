"""Networks of the Lab project: from lightness L* to chroma a*, b*, trained on faces of 128 x 128 pixels."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.pretrained import pretrain_part

ARCHITECTURES = {1: (32, 64, 128, 256, 256, 512), 2: (8, 16, 32, 64, 128, 256)}  # feature maps of the six blocks


def _encoder(maps: Sequence[int]) -> nn.Sequential:
    """Six blocks Conv(k4, s2, p1) -> BatchNorm -> ReLU: (N, 1, H, W) -> (N, maps[-1], H/64, W/64)."""
    pairs = zip((1, *maps[:-1]), maps, strict=True)
    return nn.Sequential(*(nn.Sequential(nn.Conv2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in pairs))


def _decoder(maps: Sequence[int]) -> nn.Sequential:
    """Five blocks ConvTranspose(k4, s2, p1) -> BatchNorm -> ReLU, and a sixth to two channels.

    The sixth ends in sigmoid or tanh instead: BatchNorm before it would remove each channel's mean, which is the
    colour of the picture.
    """
    up = maps[::-1]
    pairs = itertools.pairwise(up)
    blocks = [nn.Sequential(nn.ConvTranspose2d(i, o, 4, 2, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU()) for i, o in pairs]
    return nn.Sequential(*blocks, nn.ConvTranspose2d(up[-1], 2, 4, 2, 1))


class ChromaRegressor(nn.Module):
    """The mean a* and mean b* of a picture.

    Input (N, 1, H, W), L*/100 in 0..1, H and W multiples of 64; output (N, 2), (ab + 128) / 256.
    """

    def __init__(self, architecture: int = 1) -> None:
        super().__init__()
        maps = ARCHITECTURES[architecture]
        self.encoder = _encoder(maps)
        self.linear = nn.Linear(maps[-1], 2)
        nn.init.constant_(self.linear.bias, 0.5)  # grey: otherwise the first hundreds of steps would only learn this

    def forward(self, lightness: Tensor) -> Tensor:
        features = self.encoder(lightness).mean(dim=(2, 3))  # (N, 512): any picture size
        chroma: Tensor = self.linear(features)  # (N, 2)
        return chroma


class ChromaColorizer(nn.Module):
    """a* and b* of each pixel, by an encoder and a decoder without skip connections.

    Input (N, 1, H, W), L*/100 in 0..1, H and W multiples of 64; output (N, 2, H, W): with ``output`` "sigmoid"
    (ab + 128) / 256 in 0..1, with "tanh" ab / 128 in -1..1; `training.conventions.to_ab` undoes either.
    """

    def __init__(self, architecture: int = 1, output: Literal["sigmoid", "tanh"] = "sigmoid") -> None:
        super().__init__()
        maps = ARCHITECTURES[architecture]
        self.output = output
        self.encoder = _encoder(maps)
        self.decoder = _decoder(maps)

    def forward(self, lightness: Tensor) -> Tensor:
        features = self.encoder(lightness)  # (N, C, H/64, W/64)
        decoded: Tensor = self.decoder(features)  # (N, 2, H, W)
        return decoded.sigmoid() if self.output == "sigmoid" else decoded.tanh()


class FusionColorizer(ChromaColorizer):
    """`ChromaColorizer` that also knows what is in the picture: features of a frozen classifier join its bottleneck.

    The classifier (any of timm's, by name) gets the grey picture as R = G = B, resized to ``classifier_size``; its
    pooled feature vector is repeated over the bottleneck and mixed in by a 1 x 1 convolution. It is never trained
    and always in evaluation mode. It is built with random weights: `pretrain` loads those of a trained classifier.
    Source: Baldassarre, Morín, Rodés-Guirao 2017, "Deep Koalarization".
    """

    sees_whole_picture = True  # through its classifier
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: int = 2,
        output: Literal["sigmoid", "tanh"] = "tanh",
        classifier: str = "inception_resnet_v2",
        classifier_size: int = 299,
    ) -> None:
        super().__init__(architecture, output)
        self.classifier = timm.create_model(classifier, num_classes=0).requires_grad_(False).eval()
        self.classifier_size = classifier_size
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(_facts(self.classifier)[name]).view(1, 3, 1, 1))
        width = ARCHITECTURES[architecture][-1]
        with torch.no_grad():  # timm's attribute for this width differs from family to family
            features = self.classifier(torch.zeros(1, 3, classifier_size, classifier_size)).shape[1]
        self.fusion = nn.Sequential(nn.Conv2d(width + features, width, 1), nn.BatchNorm2d(width), nn.ReLU())

    def train(self, mode: bool = True) -> "FusionColorizer":
        """As in every module, but the classifier's BatchNorm keeps its statistics."""
        super().train(mode)
        self.classifier.eval()
        return self

    def forward(self, lightness: Tensor) -> Tensor:
        encoded = self.encoder(lightness)  # (N, C, H/64, W/64)
        with torch.no_grad():
            size = (self.classifier_size, self.classifier_size)
            resized = F.interpolate(lightness, size, mode="bilinear", align_corners=False)
            # L*/100 is within a few hundredths of the sRGB-encoded grey that the classifier expects
            features = self.classifier((resized - self.mean) / self.std)  # (N, D)
        repeated = features[:, :, None, None].expand(-1, -1, encoded.shape[2], encoded.shape[3])
        decoded: Tensor = self.decoder(self.fusion(torch.cat([encoded, repeated], dim=1)))  # (N, 2, H, W)
        return decoded.sigmoid() if self.output == "sigmoid" else decoded.tanh()


def _facts(classifier: nn.Module) -> dict[str, Any]:
    """timm's description of a classifier: its name, and the mean and deviation of the pictures that it expects."""
    return cast("dict[str, Any]", classifier.pretrained_cfg)


def pretrain(network: FusionColorizer, weights: Path | None = None) -> None:
    """Load trained weights into the classifier of ``network``: a file's, or timm's own. Errors: TrainingError."""
    pretrain_part(network.classifier, _facts(network.classifier)["architecture"], weights)
