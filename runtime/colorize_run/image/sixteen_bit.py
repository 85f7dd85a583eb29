"""Sixteen bits per channel, which Pillow neither reads nor writes in colour; and TIFF files of several pages.

Reading leans on Pillow's decoders all the same, so that damage is found by one set of checks: the file is decoded twice,
once for the upper byte of every value, once for the lower. Writing is PNG and TIFF by their specifications, a strip of
rows at a time.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from colorize_run.image import planes, tiff_deep
from colorize_run.image.late import LateImage

Deep = npt.NDArray[np.uint16]

_COPY_PIXELS = 1 << 16
# Decoders name the byte order of 16 bits; with the other order they hand out the other byte. N is the machine's own.
_LOWER = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}


def is_deep(image: Image.Image) -> bool:
    """Whether a file, opened but not loaded, or an image holds 16 bits per channel in a layout that `read` knows."""
    if isinstance(image, LateImage):
        return image.bits == 16
    if planes.are_deep(image) or tiff_deep.is_grey_with_alpha(image):
        return True
    return image.mode.startswith("I;16") or _raw_mode(image).startswith(("RGB;16", "RGBA;16", "RGBX;16", "RGBa;16", "LA;16"))


def loses_depth(image: Image.Image) -> bool:
    """Whether Pillow alone will decode a file, opened but not loaded, and cut 16 bits down to 8."""
    if image.info.get("cut_bits"):
        return True
    return not is_deep(image) and ";16" in _raw_mode(image) and image.mode not in ("I", "F")


def _raw_mode(image: Image.Image) -> str:
    """How the decoder will read the file's values; empty once it has."""
    tiles = getattr(image, "tile", [])
    arguments = tiles[0].args if tiles else None
    return str(arguments if isinstance(arguments, str) else arguments[0] if arguments else "")


def read(image: Image.Image, reopen: Callable[[], Image.Image] | None) -> tuple[Deep, Deep | None]:
    """The 16-bit values of a file, opened but not loaded: (H, W) or (H, W, 3), and alpha (H, W) or None.

    ``reopen`` opens the file a second time; only grey can do without.

    Errors: what Pillow's decoders raise.
    """
    if isinstance(image, LateImage):
        return split(image.values())
    if planes.are_deep(image) or tiff_deep.is_grey_with_alpha(image):
        return _of_tiff(image)
    raw_mode = _raw_mode(image)
    if image.mode.startswith("I;16"):
        return _grey(image)
    if raw_mode.startswith("LA;16"):  # upper and lower bytes of both channels, as if they were four
        _read_as(image, "RGBA")
        grey, alpha = (_word(image.getchannel(first), image.getchannel(first + 1)) for first in (0, 2))
        return grey, alpha
    # Alpha that is multiplied in is divided out below, with all 16 bits: Pillow must not do it byte by byte.
    upper = raw_mode.replace("RGBa", "RGBA")
    values = np.empty((image.height, image.width, len(image.getbands())), np.uint16)
    _read_as(image, upper)
    for top, bottom, strip in _strips_of(image):
        np.multiply(strip, np.uint16(256), out=values[top:bottom])
    assert reopen is not None  # images in memory hold no 16-bit colours
    other = reopen()
    _read_as(other, upper[:-1] + _LOWER[upper[-1]])
    for top, bottom, strip in _strips_of(other):
        values[top:bottom] |= strip
    if values.shape[2] == 3:
        return values, _colour_key(image, values)
    colours, alpha = np.ascontiguousarray(values[..., :3]), np.ascontiguousarray(values[..., 3])
    if raw_mode != upper:
        _unmultiply(colours, alpha)
    return colours, alpha


def _of_tiff(image: Image.Image) -> tuple[Deep, Deep | None]:
    """The same of layouts of TIFF that Pillow does not know."""
    by_planes = planes.are_deep(image)
    colours, alpha, multiplied = planes.read_deep(image) if by_planes else tiff_deep.read_grey(image)
    if alpha is not None and multiplied:
        _unmultiply(colours if colours.ndim == 3 else colours[..., None], alpha)
    return colours, alpha


def split(values: Deep) -> tuple[Deep, Deep | None]:
    """Channels (H, W, 1 to 4) as grey (H, W) or colours (H, W, 3), and alpha (H, W) or None."""
    alpha = values[..., -1] if values.shape[2] in (2, 4) else None
    colours = values[..., 0] if values.shape[2] < 3 else values[..., :3]
    return np.ascontiguousarray(colours), None if alpha is None else np.ascontiguousarray(alpha)


def _read_as(image: Image.Image, raw_mode: str) -> None:
    """Load a file whose values are to be read in another way than it says."""
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw_mode if isinstance(tile.args, str) else (raw_mode, *tile.args[1:]))
        for tile in image.tile  # type: ignore[attr-defined]
    ]
    image.load()


def _strips_of(image: Image.Image) -> Iterator[tuple[int, int, npt.NDArray[np.uint8]]]:
    for top, bottom in _rows(image.size):
        yield top, bottom, np.asarray(image.crop((0, top, image.width, bottom)))


def _rows(size: tuple[int, int]) -> list[tuple[int, int]]:
    width, height = size
    rows = max(1, _COPY_PIXELS // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]


def _word(upper: Image.Image, lower: Image.Image) -> Deep:
    return np.asarray(np.asarray(upper).astype(np.uint16) << 8 | np.asarray(lower), np.uint16)


def _grey(image: Image.Image) -> tuple[Deep, Deep | None]:
    image.load()
    return grey_of(image, image)


def grey_of(decoded: Image.Image, image: Image.Image) -> tuple[Deep, Deep | None]:
    """16-bit grey and alpha of what was ``decoded`` of an opened ``image``; TIFF may keep fewer bits, or white as zero."""
    values = np.array(decoded, np.uint16)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    if bits < 16:
        values = np.rint(values * (65535 / (2**bits - 1))).astype(np.uint16)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == 0:
        np.subtract(65535, values, out=values)
    return values, _colour_key(image, values)


def _colour_key(image: Image.Image, values: Deep) -> Deep | None:
    """PNG's one transparent colour as alpha."""
    key = image.info.get("transparency")
    if key is None:
        return None
    equal = values == np.asarray(key, np.uint16)
    clear = equal.all(axis=-1) if values.ndim == 3 else equal
    return np.where(clear, 0, 65535).astype(np.uint16)


def _unmultiply(colours: Deep, alpha: Deep) -> None:
    """Divide colours by the alpha that they were multiplied with."""
    for top, bottom in _rows((colours.shape[1], colours.shape[0])):
        share = np.maximum(alpha[top:bottom, :, None], 1) / np.float32(65535)
        colours[top:bottom] = np.rint(np.minimum(colours[top:bottom] / share, 65535)).astype(np.uint16)
