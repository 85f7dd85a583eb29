"""What the user decides about the colours: how strong they are, where they go, and whether a picture needs them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.errors import ImageFileError, OptionError
from colorize_run.hints import Hints, in_srgb
from colorize_run.image import reader
from colorize_run.image.picture import Picture, have_one_shape
from colorize_run.options import LIGHTNESSES, Lightness
from colorize_run.prints import look_at
from colorize_run.system.files import printable

HAS_COLOURS = "it already has colours and was left unchanged; --force colours it anyway"
_SURROUNDINGS = "paper, frame or marks around or on the photograph keep their own colours"


class Mask:
    """Where a picture is coloured: fully where the mask is white, not at all where it is black.

    Errors: ImageFileError, InputMissingError, which name the mask.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            picture = reader.read(path)
        except ImageFileError as error:
            raise type(error)(f"The mask {printable(path)} {error}") from error
        self._weights = picture.in_bytes().convert("L")

    def check(self, size: tuple[int, int]) -> None:
        """ImageFileError for a picture of size (width, height) whose shape is another one."""
        width, height = self._weights.size
        if not have_one_shape((width, height), size):
            raise ImageFileError(
                f"is {size[0]} x {size[1]}, but the mask {printable(self._path)} is {width} x {height}: give it the same shape."
            )

    def weights(self, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """The weights (H, W), 0..255, for a picture of size (width, height); ImageFileError for one of another shape."""
        self.check(size)
        return np.asarray(colour.resize(self._weights, size))


def reference_picture(path: Path) -> Image.Image:
    """A colour picture whose colours another one is to get. Errors: ImageFileError, InputMissingError, which name it."""
    try:
        picture = reader.read(path)
    except ImageFileError as error:
        raise type(error)(f"The reference {printable(path)} {error}") from error
    image, alpha = in_srgb(picture), picture.alpha_in_bytes()
    if alpha is not None:  # what lies under transparency has no colours: grey
        image = Image.composite(image, image.convert("L").convert("RGB"), alpha)
    if not np.ptp(np.asarray(image.resize((64, 64))).astype(int), axis=2).any():
        raise ImageFileError(f"The reference {printable(path)} has no colours to borrow.")
    return image


@dataclass(frozen=True)
class Control:
    """How pictures are coloured. ``saturation``, 0..4: factor on chroma; ``blend``, 0..1: share of the new colours.

    The rest of ``blend`` and of ``mask`` are the picture's own colours. ``keep_colour`` leaves pictures that have colours as
    they are. ``hints``: colours of places; ``like``: a picture, sRGB, whose colours are borrowed. ``lightness``: what stays
    as it is, see `options.Lightness`; ``upright``: turn the pixels of a JPEG whose EXIF says that it lies on its side, which
    only the join can do. ``share`` (h, w), 0..1, enlarged to any size: how much of the new colours a place gets at most,
    because the picture is a print in surroundings of their own colours (`prints`); found for each picture, unless there is a
    ``mask``, which then decides alone. Errors: OptionError for values out of range.
    """

    saturation: float = 1.0
    blend: float = 1.0
    mask: Mask | None = None
    keep_colour: bool = False
    hints: Hints | None = None
    like: Image.Image | None = None
    lightness: Lightness = "luma"
    upright: bool = False
    share: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.saturation <= 4:
            raise OptionError(f"A saturation of {self.saturation} is not possible: 0 to 4.")
        if self.lightness not in LIGHTNESSES:
            raise OptionError(f"A lightness {self.lightness!r} is not known: {' or '.join(LIGHTNESSES)}.")
        if not 0 <= self.blend <= 1:
            raise OptionError(f"A blend of {self.blend} is not possible: 0 to 1.")
        if self.share is not None and (self.share.ndim != 2 or not ((self.share >= 0) & (self.share <= 1)).all()):
            raise OptionError("A share of the new colours must be two-dimensional, its values 0 to 1.")

    @property
    def mixes(self) -> bool:
        """Whether anything of the picture's own colours may be left."""
        return self.blend < 1 or self.mask is not None or self.share is not None

    def weights(self, size: tuple[int, int]) -> npt.NDArray[np.float32] | float:
        """Share of the new colours, 0..1: one number for all, or (H, W) for a picture of size (width, height)."""
        masked: npt.NDArray[np.float32] | float = float(self.blend)
        if self.mask is not None:
            masked = self.mask.weights(size).astype(np.float32) * np.float32(self.blend / 255)
        if self.share is None:
            return masked
        return np.asarray(colour.resize(Image.fromarray(self.share), size), np.float32) * masked

    def for_picture(self, picture: Picture) -> "Control | None":
        """What holds for one picture: None if it is in colour and stays as it is; what surrounds a print stays as it is, too.

        A note of the picture says so. Who gives hints wants them: such a picture is coloured, and its surroundings there. Who
        gives a mask has decided where.
        """
        look = look_at(picture)
        if look.has_colours and self.keep_colour and self.hints is None:
            picture.notes.append(HAS_COLOURS)
            return None
        if look.share is None or self.mask is not None:
            return self
        picture.notes.append(_SURROUNDINGS)
        hinted = 0 if self.hints is None else self.hints.planes(picture.size, look.share.shape[::-1])[2]
        return replace(self, share=np.maximum(look.share, hinted))
