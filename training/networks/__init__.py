"""The networks by name, so that a checkpoint can say which one it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from training.networks import deeplab, encoder_decoder, lab
from training.networks.colour_cnn import CNN, RegressionCNN
from training.networks.deeplab import Base, DeepLab
from training.networks.lab import ChromaColorizer, ChromaRegressor, FusionColorizer
from training.networks.photo import PhotoColorizer
from training.networks.segmenter import SegmentationUNet
from training.networks.unet import DeepUNet, DilatedUNet, DownsizedUNet, UNet

Target = Literal["palette", "rgb", "chroma", "mean-chroma", "chroma-palette", "mask"]


@dataclass(frozen=True)
class Network:
    """A kind of network: its class, what it predicts, and what it needs."""

    build: Callable[..., nn.Module]
    """The class, called with the ``arguments`` of a recipe or a checkpoint."""
    target: Target
    """What it predicts: "palette" logits over palette colours of each pixel, "rgb" the picture itself, "chroma" scaled
    a*, b* of each pixel, "mean-chroma" of the picture, "chroma-palette" logits over a palette of a*, b* of each cell of
    4 x 4 pixels, or a*, b* themselves, "mask" logits over classes of each pixel. It also decides the kind of data
    (`training.families`)."""
    stride: int
    """The sides of a picture must be multiples of this."""
    sees_colour: bool = False
    """Whether the input is R, G, B instead of grey."""
    pretrain: Callable[[Any, Path | None], Base | None] | None = None
    """Loads pretrained weights into part of the network, from a file or the library's download; returns the file's name
    and hash where a checkpoint must record them. None: the network starts with random weights. Errors: TrainingError."""

    @property
    def channels(self) -> int:
        """Channels of the input: 3 for R, G, B, 1 for grey."""
        return 3 if self.sees_colour else 1


NETWORKS: dict[str, Network] = {
    "cnn": Network(CNN, "palette", 4),
    "regression-cnn": Network(RegressionCNN, "rgb", 4),
    "unet": Network(UNet, "palette", 4),
    "dilated-unet": Network(DilatedUNet, "palette", 4),
    "deep-unet": Network(DeepUNet, "palette", 8),
    "downsized-unet": Network(DownsizedUNet, "palette", 4, sees_colour=True),
    "chroma-regressor": Network(ChromaRegressor, "mean-chroma", 64),
    "chroma-colorizer": Network(ChromaColorizer, "chroma", 64),
    "fusion-colorizer": Network(FusionColorizer, "chroma", 64, pretrain=lab.pretrain),
    "photo-colorizer": Network(PhotoColorizer, "chroma-palette", 32, pretrain=encoder_decoder.pretrain),
    # These two pad by themselves
    "deeplab": Network(DeepLab, "mask", 1, sees_colour=True, pretrain=deeplab.pretrain),
    "segmentation-unet": Network(SegmentationUNet, "mask", 1, sees_colour=True, pretrain=encoder_decoder.pretrain),
}


def build(network: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the network called ``network`` with its constructor's ``arguments``; KeyError for an unknown name."""
    return NETWORKS[network].build(**arguments)
