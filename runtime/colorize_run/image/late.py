"""Pictures that are decoded here and not by Pillow: an image that knows its size, and decodes when it is loaded."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Values = npt.NDArray[Any]  # (H, W, channels) of uint8 or uint16: grey, grey and alpha, RGB, RGBA
_MODES = ("L", "LA", "RGB", "RGBA")


class IncompleteError(ValueError):
    """A picture that ends early. ``values``: what is there, the rest zeros; ``share``, 0..1, of values that are missing."""

    def __init__(self, reason: str, values: Values, share: float) -> None:
        super().__init__(reason)
        self.values, self.share = values, share


class LateImage(Image.Image):
    """An image of ``channels`` (1 to 4) that ``decode`` gives as `Values`, with ``bits`` (8 or 16) a channel."""

    def __init__(self, kind: str, size: tuple[int, int], channels: int, bits: int, decode: Callable[[], Values]) -> None:
        super().__init__()
        self.format = kind
        self._size, self._mode = size, _MODES[channels - 1]
        self.bits, self._decode, self._loaded = bits, decode, False

    def values(self) -> Values:
        """The decoded channels. Errors: ValueError for damage, IncompleteError if something is there."""
        return self._decode()

    def load(self) -> Any:
        """Decode, in 8 bits; does nothing the second time. Errors: ValueError for damage; then `im` holds what is there."""
        if not self._loaded:
            try:
                self._keep(self._decode())
            except IncompleteError as error:
                self._keep(error.values)
                raise
        return super().load()

    def _keep(self, values: Values) -> None:
        if values.dtype != np.uint8:
            values = (values >> 8).astype(np.uint8)
        self.im = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values, self._mode).im
        self._loaded = True


def scaled(values: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """Values 0..``most`` as uint8 where that is 255 or less, else as uint16, at their full range."""
    full, kind = (255, np.uint8) if most <= 255 else (65535, np.uint16)
    if most == full:
        return np.asarray(values, kind)
    table = np.rint(np.arange(most + 1) * (full / most)).astype(kind)
    return np.asarray(table[np.minimum(values, most)])
