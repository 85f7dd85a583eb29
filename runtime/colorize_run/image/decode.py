"""From a loaded file, or one frame of it, to a `Picture`: upright, alpha apart, in a colour space that is understood."""

import os
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, JpegImagePlugin

from colorize_run import colour
from colorize_run.colour.space import SRGB
from colorize_run.errors import ImageFileError
from colorize_run.image import cicp, cmyk, damage, icc, metadata, planes, sixteen_bit, tiff, tiff_deep
from colorize_run.image.late import IncompleteError
from colorize_run.image.picture import Picture

_MOST_DPI = 1e6  # what PNG and BMP can hold, in pixels per metre, and more than any microscope has
# EXIF orientation -> what turns the picture upright, for Pillow and for arrays. Source: EXIF 2.32, tag 274.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture_of(
    image: Image.Image, reopen: Callable[[], Image.Image] | None = None, thumbnail: Image.Image | None = None,
    cmyk_profile: bytes | None = None, *, jpeg_file: bytes | None = None, accept_damaged: bool = False,
) -> Picture:  # fmt: skip
    """Everything that is kept of a file; ``reopen`` opens it a second time, for 16-bit colours.

    ``cmyk_profile``: what CMYK means that has no profile of its own; offset print when None.
    ``thumbnail``: of a TIFF file whose first directory is a thumbnail, and says for it what the picture itself does not.
    ``jpeg_file``: the whole file, if it is a JPEG; ``accept_damaged``: take a picture some of whose pixels are missing.

    Errors: ImageFileError for pixels whose meaning is not known, and for damage; what else Pillow's decoders raise for it.
    """
    kind = "JPEG" if image.format == "MPO" else image.format or "PNG"
    planes.check(image)
    was_turned = tiff.is_turned(image)  # Pillow turns TIFF itself while it loads it
    given_orientation = tiff.inherited_orientation(image, thumbnail)
    loses_depth, is_deep = sixteen_bit.loses_depth(image), sixteen_bit.is_deep(image)
    coded, note = cicp.profile_of(image)
    decoded, damaged = _loaded(image, reopen, jpeg_file, accept=accept_damaged)
    if isinstance(decoded, Image.Image):
        picture = Picture(decoded, kind, notes=[*damaged], damage=damaged)
        picture.alpha, picture.pixels = _split_alpha(decoded)
        loses_depth |= is_deep
    else:
        picture = Picture(tiff_deep.from_lab(image, decoded[0]), kind, SRGB, 16, decoded[1], notes=[*damaged], damage=damaged)
    if loses_depth:
        picture.notes.append("its 16 bits per channel were rounded to 8")
    picture.notes += [note] if note else []
    picture.profile = coded or image.info.get("icc_profile") or None
    if picture.profile and is_deep and tiff_deep.is_lab(image):  # it is a profile of CIELAB, which has been left
        picture.profile = None
    picture.duration = image.info.get("duration")
    picture.save_options = _save_options(image, kind)
    orientation = given_orientation or orientation_of(image)
    picture.metadata = metadata.read(image, turned=orientation >= 5, moved=was_turned or orientation != 1)
    if thumbnail is not None:
        picture.metadata = picture.metadata.completed(metadata.read(thumbnail, turned=False, moved=True))
        picture.profile = picture.profile or thumbnail.info.get("icc_profile")
    picture.notes += picture.metadata.notes
    if orientation in _UPRIGHT:
        _turn(picture, _UPRIGHT[orientation])
    _follow_profile(picture, cmyk_profile)
    return picture


def _turn(picture: Picture, how: Image.Transpose) -> None:
    # Kept tables round luminance to where it already is, but only while the 8x8 blocks stay in place: on a turned picture
    # they would cost more than 1 of L*.
    picture.save_options.pop("qtables", None)
    picture.pixels = _turned(picture.pixels, how)
    picture.alpha = None if picture.alpha is None else _turned(picture.alpha, how)


def _loaded(
    image: Image.Image, reopen: Callable[[], Image.Image] | None, jpeg_file: bytes | None, *, accept: bool
) -> tuple[Image.Image | tuple[sixteen_bit.Deep, sixteen_bit.Deep | None], list[str]]:
    """The pixels, deep ones as `sixteen_bit.read` gives them, and what is to be said of damage.

    Colours of 16 bits of a damaged file that is accepted are had in 8 bits alone.
    """
    if not sixteen_bit.is_deep(image):
        return damage.load(image, jpeg_file, accept=accept)
    try:
        return sixteen_bit.read(image, reopen), []
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:  # decoders raise nearly anything
        if reopen is None or planes.are_deep(image):
            raise
        image.tile = []  # type: ignore[attr-defined]  # whoever asks for metadata must not have it decoded again
        rest, notes = damage.load(reopen(), accept=accept)
        if not notes:
            raise
        if isinstance(error, IncompleteError):
            return sixteen_bit.split(error.values), notes
        return sixteen_bit.grey_of(rest, image) if rest.mode.startswith("I;16") else rest, notes


def orientation_of(image: Image.Image) -> int:
    """How a picture must be turned, 1 to 8; 1 for upright, and where the file does not say."""
    orientation = _exif_tag(image, ExifTags.Base.Orientation)
    return orientation if orientation in _UPRIGHT else 1


def _exif_tag(image: Image.Image, tag: int) -> Any:
    """A tag of EXIF's first directory; None also when EXIF is damaged, which `metadata.read` reports."""
    try:
        return image.getexif().get(tag)
    except Exception:  # Pillow raises nearly anything
        return None


def upright(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Pixels (H, W, ...) as they are meant to be seen."""
    return pixels if orientation == 1 else np.asarray(_turned(pixels, _UPRIGHT[orientation]))


def as_stored(pixels: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """The inverse of `upright`: only quarters of a turn are not their own."""
    return upright(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def _turned(pixels: Any, how: Image.Transpose) -> Any:
    if isinstance(pixels, Image.Image):
        return pixels.transpose(how)
    # (H, W, ...): Pillow's transpositions, in NumPy
    turns = {
        Image.Transpose.FLIP_LEFT_RIGHT: lambda a: a[:, ::-1],
        Image.Transpose.ROTATE_180: lambda a: a[::-1, ::-1],
        Image.Transpose.FLIP_TOP_BOTTOM: lambda a: a[::-1],
        Image.Transpose.TRANSPOSE: lambda a: a.swapaxes(0, 1),
        Image.Transpose.ROTATE_270: lambda a: a[::-1].swapaxes(0, 1),
        Image.Transpose.TRANSVERSE: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        Image.Transpose.ROTATE_90: lambda a: a[:, ::-1].swapaxes(0, 1),
    }
    return np.ascontiguousarray(turns[how](pixels))


def _split_alpha(image: Image.Image) -> tuple[Image.Image | None, Image.Image]:
    """Alpha (L or None), and colours as a mode that `Picture.pixels` knows, CMYK and LAB left for the profile."""
    mode = image.mode
    if mode in ("I", "F"):
        raise ImageFileError(f"has 32-bit pixels (Pillow's mode {mode}) without a defined white; convert it to 8 or 16 bits.")
    if mode == "PA" or (mode in ("P", "L", "RGB", "1") and "transparency" in image.info):
        image = image.convert("LA" if mode in ("L", "1") else "RGBA")
    elif mode in ("La", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
    if image.mode in ("LA", "RGBA"):
        return image.getchannel("A"), image.convert(image.mode[:-1])
    if image.mode == "1":
        return None, image.convert("L")
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return None, image
    return None, image.convert("RGB")


def _follow_profile(picture: Picture, cmyk_profile: bytes | None) -> None:
    """Set ``space`` from the profile. Pixels whose profile is not curves and primaries are converted to sRGB."""
    if picture.profile is None:
        _without_profile(picture, cmyk_profile)
        return
    cicp.refuse_hdr(icc.transfer_of(picture.profile))
    try:
        if _is_grey(picture) and (curve := icc.grey_curve_of(picture.profile)) is not None:
            _follow_grey_curve(picture, curve)
        elif _must_convert(picture):
            _convert(picture)
        elif icc.is_srgb(picture.profile):
            return
        elif (space := icc.space_of(picture.profile)) is not None:
            picture.space = space
        else:
            _convert(picture)
            if icc.can_be_written(picture.profile):
                picture.convert_back = True
            else:
                picture.profile = icc.srgb()
                picture.notes.append("its colour profile can be read, but not written with, so the file is sRGB now")
    except icc.CMS_ERRORS as error:
        picture.profile = None
        _without_profile(picture, cmyk_profile, error)


def _must_convert(picture: Picture) -> bool:
    """CMYK, LAB, and grey by a table, or by a curve that leads to L*."""
    if isinstance(picture.pixels, Image.Image) and picture.pixels.mode in ("CMYK", "LAB"):
        return True
    return _is_grey(picture) and picture.profile is not None and picture.profile[16:20] == b"GRAY"


def _is_grey(picture: Picture) -> bool:
    if isinstance(picture.pixels, Image.Image):
        return picture.pixels.mode == "L"
    return picture.pixels.ndim == 2


def _without_profile(picture: Picture, cmyk_profile: bytes | None, error: Exception | None = None) -> None:
    """CMYK and LAB as RGB by their usual meaning; ``error``: why the profile that is there cannot be used."""
    mode = picture.pixels.mode if isinstance(picture.pixels, Image.Image) else ""
    if isinstance(picture.pixels, Image.Image) and mode == "CMYK":
        picture.pixels, how = cmyk.to_srgb(picture.pixels, cmyk_profile)
        why = (
            f"its colour profile could not be used ({error}), so its CMYK"
            if error
            else "it is CMYK without a colour profile, and"
        )
        picture.notes.append(f"{why} was read {how}")
    elif isinstance(picture.pixels, Image.Image) and mode == "LAB":
        picture.pixels = icc.from_lab(picture.pixels)
        picture.notes += [f"its colour profile could not be used ({error}), and CIELAB needs none"] if error else []
    elif error:
        picture.notes.append(icc.unusable(error))


def _convert(picture: Picture) -> None:
    """Convert to sRGB by way of Little CMS, in 8 bits; the file will be RGB and say that it is sRGB."""
    assert picture.profile is not None
    if picture.depth == 16:
        picture.notes.append("its 16 bits per channel were rounded to 8, because its colour profile consists of tables")
    picture.pixels = icc.to_srgb(picture.in_bytes(), picture.profile)
    picture.alpha = picture.alpha_in_bytes()
    picture.space, picture.depth = None, 8
    if picture.profile[16:20] != b"RGB ":  # a grey or CMYK profile cannot describe the RGB that is written
        picture.profile = icc.srgb()


def _follow_grey_curve(picture: Picture, curve: npt.NDArray[np.float32]) -> None:
    """Grey by its own tone curve as grey in sRGB; in 16 bits, as 8 would lose levels."""
    table = np.rint(colour.linear_to_srgb(curve) * 65535).astype(np.uint16)
    pixels = picture.pixels
    picture.pixels = table[::257][np.asarray(pixels)] if isinstance(pixels, Image.Image) else table[pixels]
    picture.space, picture.profile = SRGB, icc.srgb()


def _save_options(image: Image.Image, kind: str) -> dict[str, Any]:
    """How the file was compressed, as far as its format lets us do it the same way again."""
    options: dict[str, Any] = {}
    if (dpi := _resolution(image)) and not _is_assumed(image):
        options["dpi"] = dpi
    if kind == "JPEG":
        tables = getattr(image, "quantization", None)
        if tables:
            options["qtables"] = list(tables.values())
            sampling = JpegImagePlugin.get_sampling(image)
            options["subsampling"] = sampling if sampling >= 0 else "4:2:0"
        options["progressive"] = bool(image.info.get("progressive"))
    elif kind in ("JPEG2000", "J2K"):
        options["lossy"] = bool(image.info.get("irreversible"))
    elif kind in ("PPM", "PAM"):
        options["grey"] = image.mode in ("1", "L", "LA") and kind == "PPM"
    elif kind == "TIFF":
        compression = image.info.get("compression", "raw")
        # fax codes hold 1-bit pixels alone, and JPEG in TIFF would lose once more
        options["compression"] = compression if compression in ("raw", "tiff_lzw", "packbits", "zstd") else "tiff_adobe_deflate"
    return options


def _resolution(image: Image.Image) -> tuple[float, float] | None:
    """Pixels per inch, across and down; None where the file says nothing, or nothing that a picture can have."""
    try:
        across, down = (float(side) for side in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (across, down) if 0 < across <= _MOST_DPI and 0 < down <= _MOST_DPI else None


def _is_assumed(image: Image.Image) -> bool:
    """Whether a JPEG file says nothing of its resolution: Pillow then says 72 for it, if it has EXIF."""
    has_resolution = image.info.get("jfif_unit") in (1, 2) or _exif_tag(image, ExifTags.Base.XResolution)
    return image.format in ("JPEG", "MPO") and not has_resolution


def is_lossless_webp(file: BinaryIO) -> bool:
    """Whether the first picture's chunk says so; chunks are walked, as profiles may come before it."""
    file.seek(12)
    while len(head := file.read(8)) == 8:
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        # a frame of a moving picture: 16 bytes, then chunks of its own
        file.seek(16 if name == b"ANMF" else size + size % 2, os.SEEK_CUR)
    return False
