"""ICC profiles: read into a `Space` where curves and primaries say all, else converted by Little CMS.

Layout: ICC.1:2022 (https://www.color.org/specification/ICC.1-2022-05.pdf), sections 7, 10.6 and 10.18.
"""

import io
import re
import struct
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from colorize_run.colour import lightness
from colorize_run.colour.space import Space
from colorize_run.image import cicp

FloatArray = npt.NDArray[np.float32]

CMS_ERRORS = (ImageCms.PyCMSError, OSError, ValueError)
_NONSENSE = (struct.error, KeyError, ValueError, IndexError, ZeroDivisionError)
_WAY_BACK = 2.0
_VALUES = np.arange(65536) / 65535


@lru_cache(maxsize=8)
def space_of(profile: bytes) -> Space | None:
    """The space of an RGB profile that consists of curves and primaries; None for tables, and for what makes no sense."""
    try:
        tags = _tags(profile)
        if profile[16:24] != b"RGB XYZ " or b"A2B0" in tags or b"A2B1" in tags:
            return None
        primaries = np.array([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T
        curves = np.stack([_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")])
    except _NONSENSE:
        return None
    usable = abs(np.linalg.det(primaries)) > 1e-4 and 0.9 < primaries[1].sum() < 1.1 and (primaries.sum(axis=1) > 0.2).all()
    return Space.of_primaries(curves, primaries) if usable else None


@lru_cache(maxsize=8)
def grey_curve_of(profile: bytes) -> FloatArray | None:
    """Linear light of the grey values k / 65535 by a grey profile, (65536,); None when it is none that is a curve alone."""
    try:
        tags = _tags(profile)
        return _curve(tags[b"kTRC"]) if profile[16:24] == b"GRAYXYZ " and b"A2B0" not in tags else None
    except _NONSENSE:
        return None


@lru_cache(maxsize=8)
def with_grey_curve(profile: bytes) -> bytes:
    """An RGB profile whose greys have the tone curve of a grey profile that `grey_curve_of` knows."""
    return cicp.of_curve(_tags(profile)[b"kTRC"])


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Tag name -> its data. Errors: struct.error, ValueError."""
    count = struct.unpack_from(">I", profile, 128)[0]
    if count > 200 or profile[36:40] != b"acsp":
        raise ValueError("no profile")
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count)]
    return {name: profile[start : start + size] for name, start, size in entries}


def _xyz(data: bytes) -> tuple[float, ...]:
    if data[:4] != b"XYZ ":
        raise ValueError("no XYZ")
    return tuple(value / 65536 for value in struct.unpack_from(">3i", data, 8))


def _curve(data: bytes) -> FloatArray:
    """A tone curve as linear light, 0..1, for the values k / 65535. Errors: ValueError when it falls, or leads nowhere."""
    if data[:4] == b"curv":
        curve = _sampled(data)
    elif data[:4] == b"para":
        curve = _parametric(data)
    else:
        raise ValueError("no curve")
    curve = np.clip(curve, 0, 1)
    if not np.isfinite(curve).all() or np.diff(curve).min() < -1e-6 or curve[-1] < 0.9 or curve[0] > 0.1:
        raise ValueError("no tone curve")
    return np.maximum.accumulate(curve).astype(np.float32)


def _sampled(data: bytes) -> npt.NDArray[np.float64]:
    count = struct.unpack_from(">I", data, 8)[0]
    if count == 0:
        return _VALUES
    if count == 1:
        return np.asarray(_VALUES ** (struct.unpack_from(">H", data, 12)[0] / 256))
    samples = np.frombuffer(data, ">u2", count, 12) / 65535
    return np.interp(_VALUES, np.linspace(0, 1, count), samples)


def _parametric(data: bytes) -> npt.NDArray[np.float64]:
    """Functions 0 to 4 of ICC.1, table 68: ``(a x + b) ** g + e`` from ``d`` on, ``c x + f`` below."""
    kind = struct.unpack_from(">H", data, 8)[0]
    count = (1, 3, 4, 5, 7)[kind]
    parameters = [value / 65536 for value in struct.unpack_from(f">{count}i", data, 12)]
    g, a, b, c, d, e, f = parameters + [0.0] * (7 - count)
    if kind == 0:
        a, d = 1, 0
    elif kind in (1, 2):
        e = f = c if kind == 2 else 0
        c, d = 0, -b / a
    with np.errstate(invalid="ignore"):
        power = np.power(np.maximum(a * _VALUES + b, 0), g) + e
    return np.asarray(np.where(d <= _VALUES, power, c * _VALUES + f))


@lru_cache(maxsize=8)
def is_srgb(profile: bytes) -> bool:
    """Whether a profile changes no colour by more than a level on the way to sRGB; names are not to be trusted.

    Errors: CMS_ERRORS.
    """
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = np.asarray(to_srgb(Image.fromarray(colours), profile))
    return int(np.abs(converted.astype(np.int16) - colours).max()) <= 1


@lru_cache(maxsize=8)
def transfer_of(profile: bytes) -> int | None:
    """The transfer function, by its number in H.273, of a profile that says so: by its tag ``cicp``, or if it is PQ or HLG by
    its description. None for others. Sources: ICC.1:2022, 10.3; descriptions as Apple, Adobe and libplacebo write them.
    """
    try:
        tags = _tags(profile)
    except _NONSENSE:
        return None
    if (coded := tags.get(b"cicp", b""))[:4] == b"cicp" and len(coded) >= 10:
        return coded[9]
    described = tags.get(b"desc", b"").replace(b"\0", b"").decode("latin-1")
    named = {16: r"\bPQ\b|ST ?2084", 18: r"\bHLG\b"}
    return next((number for number, words in named.items() if re.search(words, described)), None)


def unusable(reason: Exception | str) -> str:
    """The note for a profile that is left out."""
    return f"its colour profile could not be used, so sRGB was assumed ({reason})"


@lru_cache(maxsize=8)
def can_be_written(profile: bytes) -> bool:
    """Whether greys and mild colours come back from a profile's space within `_WAY_BACK` of L*; some lead one way only."""
    steps = np.arange(16, 240, 32, dtype=np.int16)
    shifts = np.array([[0, 0, 0], [16, 0, 0], [0, 16, 0], [0, 0, 16], [16, 16, 0]], np.int16)
    colours = (steps[:, None, None] + shifts).reshape(1, -1, 3).astype(np.uint8)
    try:
        back = to_srgb(from_srgb(Image.fromarray(colours), profile), profile)
    except CMS_ERRORS:
        return False
    return float(np.abs(lightness(np.asarray(back)) - lightness(colours)).max()) <= _WAY_BACK


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an 8-bit image of the profile's own mode to RGB in sRGB. Errors: CMS_ERRORS."""
    return _convert(image, opened(profile), opened(srgb()))


def from_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert RGB in sRGB to an RGB profile's space. Errors: CMS_ERRORS."""
    return _convert(image, opened(srgb()), opened(profile))


def from_lab(image: Image.Image) -> Image.Image:
    """Convert a mode LAB image to RGB in sRGB."""
    return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), opened(srgb()))


def opened(profile: bytes) -> ImageCms.ImageCmsProfile:
    """A profile as Little CMS knows it. Errors: CMS_ERRORS."""
    return ImageCms.ImageCmsProfile(io.BytesIO(profile))


@lru_cache(maxsize=1)
def srgb() -> bytes:
    """The sRGB profile, the same at any time: Little CMS writes the hour of its making into it."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data[:24] + struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + data[36:]


def _convert(image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile) -> Image.Image:
    """From one profile's space to RGB in another's; black stays where it is."""
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    converted = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode="RGB")
    assert converted is not None  # only an in-place conversion returns nothing
    return converted
