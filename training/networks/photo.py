"""A colourizer for real photographs: a pretrained encoder, a UNet decoder, and a palette of chroma."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.datasets.hints import CHANNELS
from training.networks.encoder_decoder import EncoderDecoder
from training.networks.pretrained import PACKAGED
from training.palette import annealed_mean

AB_SCALE = 110.0
# How the palette's probabilities become a colour; chosen on validation photographs (docs/results.md)
UNWEIGHTING = 1.0
SATURATION = 1.1


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
        wider = {name: expected[name].shape[1] - value.shape[1] for name, value in state.items() if value.ndim == 4}
        padded = {name: F.pad(state[name], (0, 0, 0, 0, 0, more)) for name, more in wider.items() if more}
        self.load_state_dict({**state, **padded})


class PhotoChroma(nn.Module):
    """A `PhotoColorizer` as it is used: from grey to chroma, by the annealed mean of its palette.

    ``palette`` (K, 2) a*, b*, K = 0 for a network that gives ab / 110 itself. The weights in the loss make rare colours
    more probable than they are; ``unweighting``, 0..1, is how much of that is undone. ``saturation`` multiplies the
    chroma: a mean of colours is paler than each of them. The outputs for the picture and for its mirror image are
    averaged.
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

    def forward(self, grey: Tensor, temperature: Tensor, hints: Tensor | None = None) -> Tensor:
        """(N, 1, H, W), sRGB-encoded, 0..1, sides multiples of 32 -> (N, 2, H, W), a*, b*.

        ``hints`` (N, 3, H, W) as in `training.datasets.hints`, for a network that takes them.
        """
        picture = grey if hints is None else torch.cat([grey, hints], dim=1)
        both = self.network(torch.cat([picture, picture.flip(3)]))  # (2N, K or 2, H/4, W/4)
        count = grey.shape[0]  # len() would become a constant in an exported graph
        output = (both[:count] + both[count:].flip(3)) / 2
        ab = annealed_mean(output - self.prior, self.palette, temperature) if len(self.palette) else output * self.scale
        return F.interpolate(ab, size=grey.shape[2:], mode="bilinear", align_corners=False)
