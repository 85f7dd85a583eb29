"""Makes ``tiny.pt`` and ``tiny.onnx``: a UNet with random weights and a vivid palette, for tests of everything around it.

Also ``tiny-segment.onnx``, which finds what is red and what is blue, coarsely, as a real network of stride 8 would, and
``tiny-hints.onnx``, which takes colour hints: it knows skies from grass by their lightness, and paints around hints.

Run from the repository's root: ``PYTHONPATH=. python tests/data/make_tiny.py``.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from colorize_run.model.contract import Contract, WorkingSize
from torch import nn

from export.signatures import PhotoSignature, SegmentSignature
from export.specifications import Specification
from export.stamp import golden_cases, stamp
from export.to_onnx import export, make_temperature_an_input, to_model_proto
from training.checkpoint import Checkpoint, load
from training.networks import build
from training.networks.photo import PhotoChroma

COLOURS = [[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.9], [0.9, 0.8, 0.1], [0.05, 0.05, 0.05], [0.95, 0.95, 0.95]]

torch.manual_seed(0)
folder = Path(__file__).parent
arguments = {"kernel": 3, "num_filters": 2, "num_colours": len(COLOURS), "in_channels": 1}
network = build("unet", arguments)
with torch.no_grad():
    for _ in range(20):  # BatchNorm statistics
        network(torch.rand(8, 1, 32, 32))
    network.finalconv.weight.mul_(3)  # decided colours, not a mean of all
colours = np.array(COLOURS, np.float32)
tiny = Checkpoint("tiny", "unet", arguments, network.state_dict(), colours, {"name": "random"}, {}, "nothing")
tiny.save(folder / "tiny.pt")
export(load(folder / "tiny.pt"), Specification("tiny", "unet", WorkingSize(32, 4, 8, 256), temperature=0.5), folder)


class RedAndBlue(nn.Module):
    """Logits over background, red and blue of each 8 x 8 pixels, enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.mix.weight.data = torch.tensor([[0.0, 0, 0], [30, -15, -15], [-15, -15, 30]])[:, :, None, None]
        self.mix.bias.data = torch.tensor([6.0, 0, 0])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2], image.shape[3]
        cells = F.avg_pool2d(F.pad(image, (0, -width % 8, 0, -height % 8), mode="replicate"), 8)
        enlarged = F.interpolate(self.mix(cells), scale_factor=8.0, mode="bilinear", align_corners=False)
        return enlarged[:, :, :height, :width]


module = SegmentSignature(RedAndBlue()).eval()
model = to_model_proto(module, "tiny-segment", "image")
contract = Contract(
    task="segment", name="tiny-segment", network="RedAndBlue", resize="pillow-bilinear",
    working_size=WorkingSize(64, 1, 8, 512),
    classes=("background", "red", "blue"), class_colours=((0, 0, 0), (128, 0, 0), (0, 0, 128)), licence="MIT",
)  # fmt: skip
stamp(model, contract, golden_cases(module, "image"))
onnx.save(model, folder / "tiny-segment.onnx")


class SkyAndGrass(nn.Module):
    """Logits over CHROMA of each 4 x 4 pixels: light is blue, dark is green, and around a hint its own colour."""

    CHROMA = ((0, -40), (-40, 40), (70, 50), (0, 0), (20, 70), (60, -60))
    extra_channels = 3
    class_weights = torch.ones(len(CHROMA))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        chroma = torch.tensor(self.CHROMA, dtype=picture.dtype)
        if picture.shape[1] == 1:
            picture = F.pad(picture, (0, 0, 0, 0, 0, 3))
        cells = F.avg_pool2d(picture, 4)
        share = F.avg_pool2d(cells[:, 3:], 5, 1, 2)
        near = F.avg_pool2d(cells[:, 1:3], 5, 1, 2) / share.clamp_min(1e-3) * 110
        distance = ((near[:, None] - chroma[:, :, None, None]) ** 2).sum(dim=2)  # (N, K, h, w)
        light = (cells[:, :1] - 0.5) * torch.tensor([12.0, -12, 0, 2, 0, 0], dtype=picture.dtype)[:, None, None]
        return light - distance / 100 * (9 * share).clamp_max(1)


palette = torch.tensor(SkyAndGrass.CHROMA, dtype=torch.float32)
hinted = PhotoSignature(PhotoChroma(SkyAndGrass(), palette, saturation=1.0), 32, 0.5).eval()
model = to_model_proto(hinted, "tiny-hints")
make_temperature_an_input(model, hinted)
contract = Contract(
    task="colorize", name="tiny-hints", network="SkyAndGrass", resize="pillow-bilinear",
    working_size=WorkingSize(64, 32, 32, 512), chroma_palette=SkyAndGrass.CHROMA, temperature=0.5, licence="MIT",
)  # fmt: skip
stamp(model, contract, golden_cases(hinted, "grey"))
onnx.save(model, folder / "tiny-hints.onnx")
