"""TIFF pages that are sound, but whose layout no decoder here reads: said by their tags, before a decoder says "damaged".

Sources: TIFF 6.0; Adobe, TIFF Technical Notes; libtiff's tiff.h.
"""

import io
from functools import lru_cache

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import COMPRESSION_INFO, OPEN_INFO

from colorize_run.errors import ImageFileError
from colorize_run.image.planes import INTERLEAVED
from colorize_run.image.tiff import Directory
from colorize_run.system.native import captured_output

Tag = ExifTags.Base

_SAVE = "save it as grey or RGB, 8 or 16 bits, whole numbers."
_FORMATS = {2: "signed", 3: "floating-point", 5: "signed complex", 6: "complex"}  # SampleFormat; 1 and 4 are unsigned
_MASK = 4
_COLOURS = {9: "ICC Lab", 10: "ITU Lab", 32844: "LogL", 32845: "LogLuv"}  # PhotometricInterpretation
_UNKNOWN_COMPRESSIONS = {
    9: "JBIG", 10: "JBIG", 32661: "JBIG", 34661: "JBIG", 34712: "JPEG 2000", 33003: "JPEG 2000",
    33004: "JPEG 2000", 33005: "JPEG 2000", 34887: "LERC", 34892: "lossy DNG", 34933: "PNG", 34934: "JPEG XR",
    22610: "JPEG XR", 50002: "JPEG XL", 52546: "JPEG XL", 65000: "Kodak DCR", 32766: "NeXT", 34713: "NEF", 32767: "Sony ARW",
}  # fmt: skip
_OPTIONAL_COMPRESSIONS = {50000: "zstd", 50001: "webp", 34925: "lzma"}  # as libtiff is built
_JPEG = 7
_SEPARATE = 2  # PlanarConfiguration


def check(page: Directory) -> None:
    """ImageFileError for a page of a layout that no decoder here reads."""
    if fault := _fault(page):
        raise ImageFileError(fault)


def _fault(page: Directory) -> str | None:
    colours = page.first(Tag.PhotometricInterpretation)
    bits = max(page.tags.get(Tag.BitsPerSample, (1,)))
    compression = page.first(Tag.Compression, 1)
    if colours == _MASK:
        return "is a transparency mask of TIFF, not a picture; save the picture that it belongs to."
    if name := next((_FORMATS[value] for value in page.tags.get(Tag.SampleFormat, (1,)) if value in _FORMATS), None):
        return f"has {bits}-bit {name} values, which have no defined white; {_SAVE}"
    if bits > 16:
        return f"has {bits} bits per channel, which have no defined white; {_SAVE}"
    if colours in _COLOURS:
        return f"is a TIFF in colours that are not known here ({_COLOURS[colours]}); {_SAVE}"
    if compression in _UNKNOWN_COMPRESSIONS:
        return _compressed(_UNKNOWN_COMPRESSIONS[compression])
    if compression == _JPEG and bits != 8:
        return f"is a TIFF with a JPEG of {bits} bits per channel inside, and only those of 8 can be read; {_SAVE}"
    if compression in _OPTIONAL_COMPRESSIONS and not _can_decode(_OPTIONAL_COMPRESSIONS[compression]):
        return _compressed({"webp": "WebP"}.get(name := _OPTIONAL_COMPRESSIONS[compression], name))
    return None


def _compressed(how: str) -> str:
    return f"is a TIFF compressed as {how}, which cannot be read here; save it with LZW, deflate or no compression."


@lru_cache
def _can_decode(compression: str) -> bool:
    """Whether this libtiff has a codec: those that it can write, it can read."""
    with captured_output():
        try:
            Image.new("RGB", (16, 16)).save(io.BytesIO(), "TIFF", compression=compression)
        except OSError:
            return False
    return True


def describe_unknown(page: Directory) -> str | None:
    """A sentence for a page whose layout Pillow does not know; None for a layout that it knows."""
    bits, colours = page.tags.get(Tag.BitsPerSample, (1,)), page.first(Tag.PhotometricInterpretation)
    compression = page.first(Tag.Compression, 1)
    extra, each = page.tags.get(Tag.ExtraSamples, ()), bits * page.first(Tag.SamplesPerPixel, 1)
    known = any(key[1] == colours and key[4] in (bits, each) and key[5] == extra for key in OPEN_INFO)
    if known and compression in COMPRESSION_INFO:
        return None
    if page.first(Tag.PlanarConfiguration, 1) == _SEPARATE:
        return f"keeps its channels in separate planes of a kind that cannot be read; {INTERLEAVED}"
    channels = "-".join(map(str, bits))
    how = f"bits per channel {channels}, colours {colours}, compression {compression}"
    return f"is a TIFF of an unknown layout ({how}), which cannot be read; {_SAVE}"
