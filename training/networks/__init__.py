"""The networks by name, so that a checkpoint can say which one it holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from training.networks.colour_cnn import CNN, RegressionCNN
from training.networks.deeplab import DeepLab
from training.networks.lab import ChromaColorizer, ChromaRegressor, FusionColorizer
from training.networks.photo import PhotoColorizer
from training.networks.segmenter import SegmentationUNet
from training.networks.unet import DeepUNet, DilatedUNet, DownsizedUNet, UNet

Target = Literal["palette", "rgb", "chroma", "mean-chroma", "chroma-palette", "mask"]


@dataclass(frozen=True)
class Network:
    """A kind of network: its class, and what it predicts.

    ``target``: "palette" logits over palette colours, "rgb" the picture itself, "chroma" scaled a*, b* of each
    pixel, "mean-chroma" of the picture, "chroma-palette" logits over a palette of a*, b*, or a*, b* themselves, of each cell
    of 4 x 4 pixels, "mask" logits over classes of each pixel. ``sees_colour``: the input is R, G, B instead of grey.
    """

    build: Callable[..., nn.Module]
    target: Target
    sees_colour: bool = False

    @property
    def on_faces(self) -> bool:
        """Whether the network is of the Lab family, which learns from faces."""
        return self.target in ("chroma", "mean-chroma")

    @property
    def on_photos(self) -> bool:
        """Whether the network learns from colour photographs."""
        return self.target == "chroma-palette"

    @property
    def on_flowers(self) -> bool:
        """Whether the network segments flowers; what learns from none of the three learns from CIFAR-10."""
        return self.target == "mask"


NETWORKS: dict[str, Network] = {
    "cnn": Network(CNN, "palette"),
    "regression-cnn": Network(RegressionCNN, "rgb"),
    "unet": Network(UNet, "palette"),
    "dilated-unet": Network(DilatedUNet, "palette"),
    "deep-unet": Network(DeepUNet, "palette"),
    "downsized-unet": Network(DownsizedUNet, "palette", sees_colour=True),
    "chroma-regressor": Network(ChromaRegressor, "mean-chroma"),
    "chroma-colorizer": Network(ChromaColorizer, "chroma"),
    "fusion-colorizer": Network(FusionColorizer, "chroma"),
    "photo-colorizer": Network(PhotoColorizer, "chroma-palette"),
    "deeplab": Network(DeepLab, "mask", sees_colour=True),
    "segmentation-unet": Network(SegmentationUNet, "mask", sees_colour=True),
}


# Sides of a picture must be multiples of these.
STRIDES = {
    "cnn": 4, "regression-cnn": 4, "unet": 4, "dilated-unet": 4, "downsized-unet": 4, "deep-unet": 8,
    "chroma-regressor": 64, "chroma-colorizer": 64, "fusion-colorizer": 64, "photo-colorizer": 32,
    "deeplab": 1, "segmentation-unet": 1,  # they pad by themselves
}  # fmt: skip


def build(network: str, arguments: dict[str, Any]) -> nn.Module:
    """Build the network called ``network`` with its constructor's ``arguments``; KeyError for an unknown name."""
    return NETWORKS[network].build(**arguments)
