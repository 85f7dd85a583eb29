"""Damage: which pixels of a picture are missing, and what is there all the same.

Pillow does not pass on what libjpeg warns of, and libjpeg paints what is missing: libjpeg-turbo is asked by simplejpeg.
"""

import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from colorize_run.errors import ImageFileError
from colorize_run.image import jpeg
from colorize_run.image.late import IncompleteError

ByteArray = npt.NDArray[np.uint8]

_BLOCK = 8  # pixels a side, of JPEG's transform: the scan has to be read for any size, and this one needs little else
_SAMPLE_PIXELS = 1 << 20
_SMALLEST_SHARE = 0.02  # of missing pixels from which the sentence gives a figure
_NOTHING_LEFT = 0.985  # of missing pixels: there is no picture
_NEAREST = Image.Resampling.NEAREST
# Warnings of libjpeg that cost no pixel: headers of scans as old encoders write them, and a scan that comes twice
_HARMLESS = ("Invalid SOS parameters", "Inconsistent progression sequence")
_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_END = b"\xff\xd9"
_OTHER_END = bytes(range(1, 255)) * 16  # codes, as good as any


def load(image: Image.Image, jpeg_file: bytes | None = None, *, accept: bool = False) -> tuple[Image.Image, list[str]]:
    """Decode an opened image; the decoded one, and notes. ``jpeg_file``: the whole file if it is a JPEG.

    Errors: ImageFileError for missing pixels unless ``accept``; whatever Pillow raises where no pixel is there.
    """
    try:
        reason = _load_and_ask(image, jpeg_file)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything
        rest, share, reason = _rest_of_jpeg(image, jpeg_file, str(error)) if jpeg_file else (*_rest_of(image), str(error))
        share = error.share if isinstance(error, IncompleteError) else share
        if rest is None or share > _NOTHING_LEFT:
            raise
        if not reason:
            return rest, ["its last bytes are missing, but none of its pixels"]
    else:
        rest, share = image, _missing_share(image, jpeg_file) if jpeg_file and reason else 0.0
    if not reason:
        return rest, []
    text = f"{_missing(share)} ({' '.join(reason.split())[:100].rstrip('.')})"
    if not accept:
        raise ImageFileError(f"is damaged or incomplete: {text}; --accept-damaged takes what is there.")
    return rest, [f"it is damaged: {text}"]


def _load_and_ask(image: Image.Image, jpeg_file: bytes | None) -> str:
    """Decode in place; what libjpeg says of missing pixels of a JPEG. Both at once: decoders let other threads run."""
    if jpeg_file is None:
        image.load()
        return ""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(decode_jpeg, jpeg_file)
        image.load()
        return asked.result()[1]


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
    if (warning and warning == _warning_of_header(data)) or any(words in warning for words in _HARMLESS):
        warning = ""  # JFIF's version, bytes between segments: no pixels
    elif (padded := _PADDING.search(warning)) and any(
        not decode_jpeg(unpadded, size)[1] for unpadded in _without_padding(data, int(padded[1]), bytes.fromhex(padded[2]))
    ):
        warning = ""
    return (pixels[..., 0] if pixels.shape[2] == 1 else pixels), warning


def _warning_of_header(data: bytes) -> str:
    try:
        simplejpeg.decode_jpeg_header(data)
    except ValueError as error:
        return str(error)
    return ""


def _without_padding(data: bytes, count: int, marker: bytes) -> Iterator[bytes]:
    """The file without what some encoders fill up with before a marker, ``count`` bytes and more.

    The last codes of a scan may be zeros, too, so that a few are left, more or less.
    """
    padding = re.compile(rb"(?:\0{%d,}|\xff{%d,})(?=\xff%s)" % (count, count, re.escape(marker)))
    for left in range(4):
        cleaned = padding.sub(bytes(left), data)
        if len(cleaned) < len(data):
            yield cleaned


def _rest_of(image: Image.Image) -> tuple[Image.Image | None, float]:
    """What was decoded of an image before its decoder failed, if anything, and the share, 0..1, that is missing."""
    try:
        image.tile = []  # type: ignore[attr-defined]  # whoever asks for metadata must not have it decoded again
        rest = image._new(image.im)  # there is no public way to what was decoded when `load` fails
        return rest, _blank_share(rest, at_the_beginning=image.format == "BMP")
    except Exception:  # nothing was decoded
        return None, 1.0


def _rest_of_jpeg(image: Image.Image, data: bytes, reason: str) -> tuple[Image.Image | None, float, str]:
    """The same of a JPEG file that was cut short, and ``reason``, or nothing if all pixels are there.

    Closed by the marker that is missing, libjpeg decodes it to its last byte.
    """
    closed = Image.open(io.BytesIO(data + _END), formats=["JPEG", "MPO"])
    try:
        closed.load()
    except Exception:  # decoders raise nearly anything
        return None, 1.0, reason
    luma, warning = decode_jpeg(data + _END)
    return closed, _missing_share(image, data), "" if luma is not None and not warning else reason


def _missing_share(image: Image.Image, data: bytes) -> float:
    """The share, 0..1, of a damaged JPEG that its scan does not reach: what another end of the scan changes.

    0 for a progressive one, whose first scans hold a coarse picture of all of it.
    """
    if image.info.get("progressive"):
        return 0.0
    try:
        end = jpeg.parse(data).eoi.start
    except jpeg.UnknownLayoutError:
        end = data.rfind(_END) if data.rstrip(b"\0").endswith(_END) else len(data)
    scan = data[:end].rstrip(b"\xff")  # half a marker
    one, other = (decode_jpeg(scan + more + _END)[0] for more in (b"", _OTHER_END))
    if one is None or other is None:
        return 0.0
    changed: npt.NDArray[np.bool_] = np.asarray(one != other).reshape(len(one), -1).max(axis=1)
    return 1 - int(changed.argmax()) / len(changed) if changed.any() else 0.0


def _blank_share(image: Image.Image, *, at_the_beginning: bool) -> float:
    """The share, 0..1, of pixels at the end that are zero: decoders leave blank what they do not reach.

    ``at_the_beginning``: or there, for a format that may go from bottom to top.
    """
    shrink = max(1.0, (image.width * image.height / _SAMPLE_PIXELS) ** 0.5)
    sample = np.asarray(image.resize((max(1, int(image.width / shrink)), max(1, int(image.height / shrink))), _NEAREST))
    filled: npt.NDArray[np.bool_] = np.asarray(sample != 0).reshape(sample.shape[0] * sample.shape[1], -1).max(axis=1)
    if not filled.any():
        return 1.0
    runs = [int(filled[::-1].argmax()), int(filled.argmax()) if at_the_beginning else 0]
    return max(runs) / len(filled)


def _missing(share: float) -> str:
    if share < _SMALLEST_SHARE:
        return "some of its pixels are missing or wrong"
    return f"about {min(99, round(100 * share))} % of its pixels are missing"
