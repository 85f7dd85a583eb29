"""Damage: which pixels of a picture are missing, and what is there all the same.

Pillow does not pass on what libjpeg warns of, and libjpeg paints what is missing: libjpeg-turbo is asked by simplejpeg.
"""

import io
import re

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from colorize_run.errors import ImageFileError

ByteArray = npt.NDArray[np.uint8]

_BLOCK = 8  # pixels a side, of JPEG's transform: the scan has to be read for any size, and this one needs little else
_SAMPLE_PIXELS = 1 << 20
_SMALLEST_SHARE = 0.02  # of missing pixels that is told as a figure
_NOTHING_LEFT = 0.985  # of missing pixels: there is no picture
_NEAREST = Image.Resampling.NEAREST
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_END = b"\xff\xd9"


def load(image: Image.Image, jpeg_file: bytes | None = None, *, accept: bool = False) -> tuple[Image.Image, list[str]]:
    """Decode an opened image; the decoded one, and notes. ``jpeg_file``: the whole file if it is a JPEG.

    Errors: ImageFileError for missing pixels unless ``accept``; whatever Pillow raises where no pixel is there.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything
        reason = str(error)
        image, share = _rest_of_jpeg(jpeg_file) if jpeg_file else _rest(image)
        if share > _NOTHING_LEFT:
            raise
    else:
        luma, reason = decode_jpeg(jpeg_file) if jpeg_file else (None, "")
        share = 0.0 if luma is None or not reason else _blank_share(Image.fromarray(luma))
    if not reason:
        return image, []
    text = f"{_missing(share)} ({' '.join(reason.split())[:100].rstrip('.')})"
    if not accept:
        raise ImageFileError(f"is damaged or incomplete: {text}; --accept-damaged takes what is there.")
    return image, [f"it is damaged: {text}"]


def decode_jpeg(data: bytes, size: tuple[int, int] | None = None) -> tuple[ByteArray | None, str]:
    """The luma (h, w) of a JPEG file, or C, M, Y, K (h, w, 4), and what libjpeg says of missing pixels, nothing if none are.

    It is reduced while it is decoded, to ``size`` (width, height) at least, by default to a pixel for each block; the pixels
    are those that Pillow gives. None for a file that simplejpeg does not decode: Pillow may.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        width, height = size or (-(-width // _BLOCK), -(-height // _BLOCK))
        how = {"colorspace": "CMYK" if space in ("CMYK", "YCCK") else "GRAY", "min_width": width, "min_height": height}
        warning = ""
        try:
            pixels = simplejpeg.decode_jpeg(data, **how)
        except ValueError as error:
            warning = str(error)
            pixels = simplejpeg.decode_jpeg(data, strict=False, **how)
    except ValueError:
        return None, ""
    if warning == _warning_of_header(data):  # JFIF's version, bytes between segments: no pixels
        warning = ""
    elif (padded := _PADDING.search(warning)) and (sound := _without_padding(data, int(padded[1]))):
        _, warning = decode_jpeg(sound, size)
    return (pixels[..., 0] if pixels.shape[2] == 1 else pixels), warning


def _warning_of_header(data: bytes) -> str:
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        return str(error)
    return ""


def _without_padding(data: bytes, count: int) -> bytes | None:
    """The file without the ``count`` bytes before its end that some cameras fill up with; None if they are no such bytes."""
    end = data.rfind(_END)
    before = data[end - count : end]
    return data[: end - count] + _END if end >= count and before.strip(b"\0") in (b"", b"\xff" * count) else None


def _rest(image: Image.Image) -> tuple[Image.Image, float]:
    """What was decoded of an image before its decoder failed, and the share, 0..1, that is missing."""
    try:
        image.tile = []  # type: ignore[attr-defined]  # whoever asks for metadata must not have it decoded again
        rest = image._new(image.im)  # there is no public way to what was decoded when `load` fails
        return rest, _blank_share(rest)
    except Exception:  # nothing was decoded
        return image, 1.0


def _rest_of_jpeg(data: bytes) -> tuple[Image.Image, float]:
    """The same of a JPEG file that was cut short: closed, libjpeg decodes it to its last byte."""
    image = Image.open(io.BytesIO(data + _END), formats=["JPEG", "MPO"])
    luma, _ = decode_jpeg(data)
    try:
        image.load()
    except Exception:
        return image, 1.0
    return image, 1.0 if luma is None else _blank_share(Image.fromarray(luma))


def _blank_share(image: Image.Image) -> float:
    """The share, 0..1, of pixels at the end, or at the beginning if it is larger, that are all the same.

    Decoders go from top to bottom, BMP's from bottom to top, and leave the rest blank, or as the last block was.
    """
    shrink = max(1.0, (image.width * image.height / _SAMPLE_PIXELS) ** 0.5)
    sample = np.asarray(image.resize((max(1, int(image.width / shrink)), max(1, int(image.height / shrink))), _NEAREST))
    flat = sample.reshape(sample.shape[0] * sample.shape[1], -1)
    runs = []
    for ordered in (flat, flat[::-1]):
        other = (ordered != ordered[0]).any(axis=1)
        runs.append(int(other.argmax()) if other.any() else len(flat))
    return max(runs) / len(flat)


def _missing(share: float) -> str:
    if share < _SMALLEST_SHARE:
        return "some of its pixels are missing or wrong"
    return f"about {min(99, round(100 * share))} % of its pixels are missing"
