"""Wrapper modules that give every network one of the two signatures of the model contract."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.palette import annealed_mean, palette_to_ab


class PaletteColorizer(nn.Module):
    """Signature ``colorize`` for a network that classifies pixels into a palette.

    Input ``grey`` (N, 1, H, W), sRGB-encoded, 0..1, any H and W. Outputs ``ab`` (N, 2, H, W), CIELAB, the annealed
    mean at ``temperature``, and ``rgb`` (N, 3, H, W), 0..1, the most probable colour.
    """

    palette_ab: Tensor
    palette_rgb: Tensor
    temperature: Tensor

    def __init__(self, network: nn.Module, colours: npt.NDArray[np.float32], temperature: float, multiple: int) -> None:
        super().__init__()
        self.network = network
        self.multiple = multiple
        self.register_buffer("palette_ab", torch.from_numpy(palette_to_ab(colours)))
        self.register_buffer("palette_rgb", torch.from_numpy(np.clip(colours * np.float32(256 / 255), 0, 1)))
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        height, width = grey.shape[2], grey.shape[3]
        scaled = grey * (255 / 256)  # the networks were trained on byte / 256
        padded = F.pad(scaled, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        logits = self.network(padded)[:, :, :height, :width]  # (N, K, H, W)
        ab = annealed_mean(logits, self.palette_ab, self.temperature)
        rgb = F.embedding(logits.argmax(dim=1), self.palette_rgb).permute(0, 3, 1, 2)  # (N, H, W, 3) -> (N, 3, H, W)
        return ab, rgb
