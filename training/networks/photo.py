"""A colourizer for real photographs: a pretrained encoder, a UNet decoder, and a palette of chroma."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.datasets.hints import CHANNELS, SCALE
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.pretrained import PACKAGED
from training.palette import annealed_mean

AB_SCALE = 110.0
# How the palette's probabilities become a colour; chosen on validation photographs (docs/results.md)
UNWEIGHTING = 1.0
SATURATION = 1.1
# Pixels along the side of the square around a hint in which colours change with it, and how slowly that falls off
_REACH, _FALL = 9, 3.0


class PhotoColorizer(EncoderDecoder):
    """Logits over a palette of chroma for each cell of 4 x 4 pixels.

    Input (N, 1, H, W), sRGB-encoded grey, 0..1, H and W multiples of 32; output (N, num_colours, H/4, W/4), or with
    ``num_colours`` 0 the chroma itself, ab / 110, (N, 2, H/4, W/4). With ``hints``, the input may have the planes of
    `training.datasets.hints` as further channels, (N, 4, H, W); without them there are no hints. The other arguments are
    those of `EncoderDecoder`.
    """

    class_weights: Tensor

    def __init__(
        self,
        num_colours: int = 128,
        encoder: str = PACKAGED,
        width: int = 64,
        *,
        fusion: bool = True,
        dilation: bool = True,
        hints: bool = False,
    ) -> None:
        extra = CHANNELS if hints else 0
        super().__init__(num_colours or 2, 1, encoder, width, fusion=fusion, dilation=dilation, extra_channels=extra)
        self.register_buffer("class_weights", torch.ones(num_colours))  # those of the training, so that decoding can undo them

    def forward(self, picture: Tensor) -> Tensor:
        grey, hints = picture[:, :1], picture[:, 1:]
        if not self.extra_channels:
            return self.decode(picture)
        return self.decode(grey, hints if hints.shape[1] else grey.new_zeros(1).expand(len(grey), CHANNELS, *grey.shape[2:]))

    def load_without_hints(self, state: dict[str, Tensor]) -> None:
        """Load the weights of the same network without hints, so that hints make no difference yet."""
        expected = self.state_dict()
        wider = {
            name: expected[name].shape[1] - value.shape[1]
            for name, value in state.items()
            if value.ndim == 4 and name in expected
        }
        padded = {name: F.pad(state[name], (0, 0, 0, 0, 0, more)) for name, more in wider.items() if more > 0}
        self.load_state_dict({**state, **padded})


class PhotoChroma(nn.Module):
    """A `PhotoColorizer` as it is used: from grey to chroma, by the annealed mean of its palette.

    ``palette`` (K, 2) a*, b*, K = 0 for a network that gives ab / 110 itself. The weights in the loss make rare colours
    more probable than they are; ``unweighting``, 0..1, is how much of that is undone. ``saturation`` multiplies the
    chroma: a mean of colours is paler than each of them. The outputs for the picture and for its mirror image are
    averaged. ``hints`` below are (N, 3, H, W), a*, b*, and 1 where there is a hint, else 0.
    """

    palette: Tensor
    prior: Tensor

    def __init__(
        self, network: PhotoColorizer, palette: Tensor, unweighting: float = UNWEIGHTING, saturation: float = SATURATION
    ) -> None:
        super().__init__()
        self.network = network
        self.scale = AB_SCALE * saturation
        self.register_buffer("palette", palette * saturation)
        self.register_buffer("prior", unweighting * network.class_weights.log()[:, None, None])

    def logits(self, grey: Tensor, hints: Tensor | None = None) -> Tensor:
        """(N, 1, H, W), sRGB-encoded, 0..1, sides multiples of 32 -> (N, K or 2, H/4, W/4)."""
        picture = grey
        if hints is not None:
            picture = torch.cat([grey, hints[:, :2] * hints[:, 2:] / SCALE, hints[:, 2:]], dim=1)
        both = self.network(torch.cat([picture, picture.flip(3)]))  # (2N, K or 2, H/4, W/4)
        count = grey.shape[0]  # len() would become a constant in an exported graph
        mean: Tensor = (both[:count] + both[count:].flip(3)) / 2
        return mean - self.prior if len(self.palette) else mean

    def chroma(self, logits: Tensor, temperature: Tensor, hints: Tensor | None = None) -> Tensor:
        """`logits` -> (N, 2, H, W), a*, b*, which at hints are theirs."""
        ab = annealed_mean(logits, self.palette, temperature) if len(self.palette) else logits * self.scale
        ab = F.interpolate(ab, scale_factor=4.0, mode="bilinear", align_corners=False)
        return ab if hints is None else apply_hints(ab, hints)

    def forward(self, grey: Tensor, temperature: Tensor, hints: Tensor | None = None) -> Tensor:
        """(N, 1, H, W), sRGB-encoded, 0..1, sides multiples of 32 -> (N, 2, H, W), a*, b*."""
        return self.chroma(self.logits(grey, hints), temperature, hints)


def apply_hints(ab: Tensor, hints: Tensor) -> Tensor:
    """``ab`` (N, 2, H, W), changed to the colours of ``hints``, (N, 3, H, W) as in `PhotoChroma`, where they are.

    The network follows hints, but not exactly. What is missing is added, and to pixels close by a part of it, so that
    there is no edge. Without hints nothing changes.
    """
    given = hints[:, 2:]
    missing = (hints[:, :2] - ab) * given
    # A convolution, as onnx.reference needs minutes for an average pool of this size
    kernel = torch.full((3, 1, _REACH, _REACH), 1 / _REACH**2, dtype=ab.dtype, device=ab.device)
    means = F.conv2d(torch.cat([missing, given], dim=1), kernel, padding=_REACH // 2, groups=3)
    share = means[:, 2:]  # of the pixels around that are hinted
    around = means[:, :2] / share.clamp_min(1e-3)
    return ab + missing + (1 - given) * (_FALL * share).clamp_max(1) * around
