"""Segmentation by the same encoder and decoder as the photo colourizer, with finer outlines than DeepLabV3's."""

import torch.nn.functional as F
from torch import Tensor

from training.networks.encoder_decoder import EncoderDecoder
from training.networks.pretrained import PACKAGED

_CELL, _STRIDE = 4.0, 32


class SegmentationUNet(EncoderDecoder):
    """Logits over ``num_classes`` for each pixel.

    Input (N, 3, H, W), R, G, B, sRGB-encoded, 0..1, any H and W; output (N, num_classes, H, W). The other arguments are
    those of `EncoderDecoder`.
    """

    def __init__(
        self, num_classes: int = 2, encoder: str = PACKAGED, width: int = 64, *, fusion: bool = True, dilation: bool = True
    ) -> None:
        super().__init__(num_classes, 3, encoder, width, fusion=fusion, dilation=dilation)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[2], image.shape[3]
        whole = F.pad(image, (0, -width % _STRIDE, 0, -height % _STRIDE), mode="replicate")
        logits = F.interpolate(self.decode(whole), scale_factor=_CELL, mode="bilinear", align_corners=False)
        return logits[:, :, :height, :width]
