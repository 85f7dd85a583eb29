"""Reading and writing picture files: orientation, colour profile, alpha, metadata, limits; atomic writes."""

import contextlib
import errno
import io
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin, UnidentifiedImageError

from colorize_run.errors import ImageFileError, InputMissingError, OutputError

READABLE = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")  # of Pillow's 43 formats, those that photographs come in
MAX_PIXELS = 125_000_000
SUFFIXES = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP",
    ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".dib": "BMP",
}  # fmt: skip
_HOLDS_ALPHA = ("PNG", "WEBP", "TIFF")
_MAX_JPEG_EXIF = 65_533 - len(b"Exif\0\0")
_HOLDS_PROFILE = ("JPEG", "PNG", "WEBP", "TIFF")


@dataclass
class Picture:
    """A decoded picture, upright, and what its file said besides.

    ``pixels``: a Pillow image of mode L, RGB or RGBX, in sRGB, or for 16-bit grey files float32 (H, W), 0..1, sRGB-encoded.
    ``alpha``: mode L, or None. ``profile``: the ICC profile to write back, into whose space ``pixels`` are converted
    on writing when ``convert_back``. ``notes``: what could not be carried over, for the person to read.
    """

    pixels: Image.Image | npt.NDArray[np.float32]
    format: str
    alpha: Image.Image | None = None
    profile: bytes | None = None
    convert_back: bool = False
    exif: bytes | None = None
    save_options: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        if isinstance(self.pixels, Image.Image):
            return self.pixels.size
        return self.pixels.shape[1], self.pixels.shape[0]


def shown(path: Path | str) -> str:
    """A file name as it may be printed: control characters and undecodable bytes escaped."""
    text = os.fspath(path)
    return "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1] for c in text)


@contextlib.contextmanager
def _opened(source: Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(source, Path):
        yield source
        return
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to shall not hang; regular files ignore it.
        fd = os.open(source, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise InputMissingError("does not exist.") from error
    except OSError as error:
        raise ImageFileError(f"cannot be opened: {error.strerror}.") from error
    try:
        _check_kind(os.fstat(fd))
        file = os.fdopen(fd, "rb")
    except BaseException:
        os.close(fd)
        raise
    with file:
        yield file


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageFileError("is a folder; name the pictures in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError("is not a regular file; pipe pictures in with '-'.")
    if status.st_size == 0:
        raise ImageFileError("is empty (0 bytes).")


def read(source: Path | BinaryIO, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode a picture file of one of READABLE, whole.

    Errors: InputMissingError, ImageFileError; their messages leave the file's name to the caller.
    """
    with _opened(source) as file:
        try:
            with Image.open(file, formats=READABLE) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageFileError(
                        f"has {width} x {height} = {width * height / 1e6:.0f} megapixels, more than the limit of"
                        f" {max_pixels / 1e6:.0f}; --max-pixels raises it."
                    )
                deep = any(";16" in str(tile[3]) for tile in image.tile)  # loading forgets it
                image.load()
                picture = _picture(image)
            if deep:
                picture.notes.append("its 16 bits per channel were rounded to 8")
            if picture.format == "WEBP":  # Pillow does not tell how a WebP file was compressed
                file.seek(0)
                picture.save_options["lossless"] = b"VP8L" in file.read(64)
            return picture
        except ImageFileError:
            raise
        except Image.DecompressionBombError as error:  # the host process's own limit, which is not ours to lift
            raise ImageFileError("has more pixels than Pillow's MAX_IMAGE_PIXELS allows in this process.") from error
        except UnidentifiedImageError as error:
            raise ImageFileError(f"is no picture in a known format ({', '.join(READABLE)}).") from error
        except MemoryError as error:
            raise ImageFileError("needs more memory than there is.") from error
        except Exception as error:  # decoders raise nearly anything on damaged files
            reason = " ".join((str(error) or type(error).__name__).split())
            raise ImageFileError(f"is damaged or incomplete: {reason[:200]}.") from error


def from_image(image: Image.Image) -> Picture:
    """A copy of a Pillow image as `read` would have decoded it. Errors: ImageFileError for modes I and F, and no pixels."""
    if 0 in image.size:
        raise ImageFileError("has no pixels.")
    return _picture(image.copy())


def _picture(image: Image.Image) -> Picture:
    """Everything that is kept of a loaded file."""
    kind = "JPEG" if image.format == "MPO" else image.format or "PNG"
    notes = []
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        notes.append(f"only the first of {image.n_frames} frames was taken")  # type: ignore[attr-defined]
    save_options = _save_options(image, kind)
    profile = image.info.get("icc_profile")
    exif = None
    try:
        if _turn_upright(image):
            # Kept tables round luminance to where it already is, but only while the 8x8 blocks stay in place: on a
            # turned picture they would cost more than 1 of L*.
            save_options.pop("qtables", None)
        exif = _exif(image)
    except Exception:  # every camera writes EXIF in its own way; a picture is worth more than its tags
        notes.append("its EXIF is damaged and was left out")
        image.info.pop("exif", None)
    alpha, colours = _split_alpha(image)
    picture = Picture(colours, kind, alpha, profile, False, exif, save_options, notes)
    if isinstance(colours, Image.Image):
        _to_srgb(picture)
    elif profile is not None:
        _deep_grey_to_srgb(picture)
    if not isinstance(colours, Image.Image) and "transparency" in image.info:
        notes.append("its transparent grey was made opaque")
    return picture


def _turn_upright(image: Image.Image) -> bool:
    """Apply the EXIF orientation in place; whether there was anything to turn."""
    turned = bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)
    ImageOps.exif_transpose(image, in_place=True)
    return turned


def _split_alpha(image: Image.Image) -> tuple[Image.Image | None, Image.Image | npt.NDArray[np.float32]]:
    """Alpha (L or None), and colours as a mode that `Picture.pixels` knows, CMYK and LAB left for the profile."""
    mode = image.mode
    if mode.startswith("I;16"):
        return None, _deep_grey(image)
    if mode in ("I", "F"):
        raise ImageFileError(
            f"has 32-bit pixels (Pillow's mode {mode}), whose white is not defined; convert it to 8 or 16 bits."
        )
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


def _deep_grey(image: Image.Image) -> npt.NDArray[np.float32]:
    """A 16-bit grey image as (H, W) floats, 0..1; TIFF may keep fewer bits in them, or white as zero."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    values = np.asarray(image).astype(np.float32) / np.float32(2**bits - 1)
    white_is_zero = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    return 1 - values if white_is_zero else values


def _to_srgb(picture: Picture) -> None:
    """Convert the pixels to sRGB by the embedded profile; RGB profiles are converted back on writing."""
    image = picture.pixels
    assert isinstance(image, Image.Image)
    if picture.profile is None:
        if image.mode not in ("L", "RGB"):
            lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
            picture.pixels = _convert(image, lab, _srgb()) if image.mode == "LAB" else image.convert("RGB")
        return
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.profile))
        if image.mode == "RGB" and _is_srgb(profile):
            return
        picture.pixels = _convert(image, profile, _srgb())
        picture.convert_back = image.mode == "RGB"
        if not picture.convert_back:  # a grey or CMYK profile cannot describe the RGB that is written
            picture.profile = _srgb().tobytes()
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        _without_profile(picture, error)
        if image.mode not in ("L", "RGB"):
            picture.pixels = image.convert("RGB")


def _deep_grey_to_srgb(picture: Picture) -> None:
    """The same for 16-bit grey, which the colour engine does not take: by the profile's tone curve."""
    assert picture.profile is not None
    assert not isinstance(picture.pixels, Image.Image)
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.profile))
        curve = np.asarray(_convert(ramp, profile, _srgb()))[0, :, 1]
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        _without_profile(picture, error)
        return
    picture.pixels = np.interp(picture.pixels, np.arange(256) / 255, curve / 255).astype(np.float32)
    picture.profile = _srgb().tobytes()


def _without_profile(picture: Picture, error: Exception) -> None:
    picture.notes.append(f"its colour profile could not be used and was taken for sRGB ({error})")
    picture.profile = None


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Whether a profile changes no colour by more than a level on the way to sRGB; names are not to be trusted."""
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(_convert(Image.fromarray(colours), profile, _srgb()))
    return int(np.abs(converted.astype(np.int16) - colours).max()) <= 1


def _convert(image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile) -> Image.Image:
    """From one profile's space to RGB in another's; black stays where it is."""
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode="RGB")
    assert converted is not None  # only an in-place conversion returns nothing
    return converted


def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


# In a TIFF file EXIF's first directory is the picture's own, whose layout must not be copied into another file.
_TIFF_DESCRIPTION = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.HostComputer,
    ExifTags.Base.Copyright,
)


def _exif(image: Image.Image) -> bytes | None:
    """EXIF of an upright picture: orientation reset, without the thumbnail, which would show the picture of before."""
    found = image.getexif()
    kept = Image.Exif()
    for tag, value in found.items():
        if image.format != "TIFF" or tag in _TIFF_DESCRIPTION:
            kept[tag] = value
    kept.pop(ExifTags.Base.Orientation, None)
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        kept.pop(directory, None)
        if values := found.get_ifd(directory):
            kept.get_ifd(directory).update(values)
    return kept.tobytes() if len(kept) or kept._ifds else None


def _save_options(image: Image.Image, kind: str) -> dict[str, Any]:
    """How the file was compressed, as far as its format lets us do it the same way again."""
    options: dict[str, Any] = {}
    if dpi := image.info.get("dpi"):
        options["dpi"] = dpi
    if kind == "JPEG":
        tables = getattr(image, "quantization", None)
        if tables:
            options["qtables"] = list(tables.values())
            sampling = JpegImagePlugin.get_sampling(image)
            options["subsampling"] = sampling if sampling >= 0 else "4:2:0"
        options["progressive"] = bool(image.info.get("progressive"))
    elif kind == "TIFF":
        compression = image.info.get("compression", "raw")
        # fax codes hold 1-bit pixels alone, and JPEG in TIFF would lose once more
        options["compression"] = compression if compression in ("raw", "tiff_lzw", "packbits", "zstd") else "tiff_adobe_deflate"
    return options


_DEFAULTS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "PNG": {},
    "WEBP": {"quality": 95, "method": 4},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "BMP": {},
}


def encode(picture: Picture, kind: str | None = None) -> bytes:
    """The picture's bytes in its own format, or in another one of READABLE.

    Errors: ImageFileError when the format cannot hold the alpha channel or the picture's size.
    """
    kind = kind or picture.format
    if kind not in READABLE:
        raise ImageFileError(f"cannot be written as {kind}; known formats: {', '.join(READABLE)}.")
    image = _as_the_file_holds_it(picture, kind)
    options = _encoder_options(picture, kind)
    buffer = io.BytesIO()
    try:
        image.save(buffer, kind, **options)
    except (OSError, ValueError, OverflowError) as error:
        raise ImageFileError(f"cannot be written as {kind}: {error}.") from error
    return buffer.getvalue()


def _as_the_file_holds_it(picture: Picture, kind: str) -> Image.Image:
    """Pixels in the file's own colour space, with their alpha."""
    image = picture.pixels
    assert isinstance(image, Image.Image)
    if picture.convert_back and picture.profile and kind in _HOLDS_PROFILE:
        image = _convert(image.convert("RGB"), _srgb(), ImageCms.ImageCmsProfile(io.BytesIO(picture.profile)))
    if picture.alpha is not None:
        if kind not in _HOLDS_ALPHA:
            raise ImageFileError(f"has transparency, which {kind} cannot hold; write PNG, WebP or TIFF.")
        image = image.convert("RGB").convert("RGBA")  # from RGBX straight, the fourth byte would become alpha
        image.putalpha(picture.alpha)
    return image.convert("RGB") if image.mode == "RGBX" and kind != "JPEG" else image


def _encoder_options(picture: Picture, kind: str) -> dict[str, Any]:
    options = dict(_DEFAULTS[kind])
    if kind == picture.format:
        if "qtables" in picture.save_options:
            options.pop("quality", None)
        options |= picture.save_options
    elif "dpi" in picture.save_options:
        options["dpi"] = picture.save_options["dpi"]
    if picture.profile and kind in _HOLDS_PROFILE:
        options["icc_profile"] = picture.profile
    if picture.exif and kind == "JPEG" and len(picture.exif) > _MAX_JPEG_EXIF:
        picture.notes.append("its EXIF is larger than JPEG can hold and was left out")
    elif picture.exif:
        options["exif"] = picture.exif
    return options


def write_atomically(data: bytes, target: Path, *, overwrite: bool) -> None:
    """Write a file that appears whole or not at all, and survives a power cut once this returns.

    Errors: OutputError; without ``overwrite`` also when ``target`` exists, even if it came to exist just now.
    """
    partial = target.with_name(f".{secrets.token_hex(8)}.colorize-run.partial")
    try:
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
            _publish(partial, target, overwrite=overwrite)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except FileExistsError as error:
        raise OutputError(f"{shown(target)} exists; --overwrite replaces it.") from error
    except OSError as error:
        raise OutputError(f"{shown(target)} cannot be written: {error.strerror}.") from error


def _publish(partial: Path, target: Path, *, overwrite: bool) -> None:
    if overwrite:
        partial.replace(target)
        return
    try:
        os.link(partial, target)  # unlike a rename, fails when the name is taken
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if target.exists():  # a file system without hard links, such as FAT: a small race is left
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
        partial.replace(target)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; systems that cannot open a folder do not need it."""
    with contextlib.suppress(OSError):
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
