"""What CMYK means without a profile: offset print on coated paper, by a formula, as an ICC profile made in memory.

Every dot of ink is larger on paper than in the file (dot gain), and a point of a screen shows one of 16 overprints
(Neugebauer): the light of a colour is the mean of theirs, each weighted by the share of paper that it covers. Colours are
relative to the paper, and four solid inks are black, as programs for pictures have it (relative colorimetric, black point
compensation). Sources: ISO 12647-2:2004, tables 2 and 3, paper types 1 and 2, tone value increase of curves A and B.
"""

import struct
from functools import lru_cache
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.errors import ImageFileError, InputMissingError
from colorize_run.image import cicp, icc
from colorize_run.system.files import printable

_OFFSET, _GIVEN = "as offset print on coated paper (ISO 12647-2)", "by the profile that was given"

_Array = npt.NDArray[np.float64]
# CIELAB (D50) of solid inks and overprints on paper, by which of C, M, Y are there
_SOLIDS = {
    (0, 0, 0): (95, 0, -2), (1, 0, 0): (55, -37, -50), (0, 1, 0): (48, 74, -3), (0, 0, 1): (89, -5, 93),
    (0, 1, 1): (47, 68, 48), (1, 0, 1): (50, -65, 27), (1, 1, 0): (24, 22, -46), (1, 1, 1): (23, 0, 0),
}  # fmt: skip
_BLACK = (16.0, 0.0, 0.0)
_GAIN, _GAIN_OF_BLACK = 0.143, 0.17  # of a dot of half the area, as a share of the paper
_GRID = 9
_WHITE = np.array([0.9642, 1.0, 0.8249])  # D50
_SRGB_WHITE = struct.pack(">3i", *(round(value * 65536) for value in _WHITE))


def to_srgb(image: Image.Image, given: bytes | None) -> tuple[Image.Image, str]:
    """A CMYK image without a profile as RGB in sRGB, by the profile ``given``, or as offset print; and which, in words."""
    return icc.to_srgb(image, given or offset_print()), _GIVEN if given else _OFFSET


def read_profile(path: Path) -> bytes:
    """A CMYK profile from its file. Errors: InputMissingError, ImageFileError; they name the file."""
    name = printable(path)
    try:
        data = path.read_bytes()
        if data[16:20] == b"CMYK":
            icc.to_srgb(Image.new("CMYK", (1, 1)), data)
            return data
    except FileNotFoundError as error:
        raise InputMissingError(f"The CMYK profile {name} does not exist.") from error
    except icc.CMS_ERRORS as error:
        raise ImageFileError(f"The CMYK profile {name} cannot be read: {error}.") from error
    raise ImageFileError(f"{name} is no ICC profile of CMYK.")


@lru_cache(maxsize=1)
def offset_print() -> bytes:
    """The ICC profile (version 2, CMYK to XYZ) of offset print on coated paper."""
    dots = np.arange(256) / 255
    curves = [dots + 4 * gain * dots * (1 - dots) for gain in (_GAIN, _GAIN, _GAIN, _GAIN_OF_BLACK)]
    table = b"mft2\0\0\0\0" + bytes((4, 3, _GRID, 0)) + struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table += struct.pack(">HH", 256, 2) + _words(np.concatenate(curves) * 65535)
    table += _words(_light() * 32768) + struct.pack(">6H", *(0, 65535) * 3)
    return _file(table)


def _words(values: _Array) -> bytes:
    return np.rint(values).clip(0, 65535).astype(">u2").tobytes()


def _light() -> _Array:
    """X, Y, Z of all combinations of `_GRID` shares of paper that C, M, Y and K cover, (_GRID ** 4, 3)."""
    shares = np.linspace(0, 1, _GRID)
    axes = np.stack(np.meshgrid(shares, shares, shares, shares, indexing="ij"), axis=-1).reshape(-1, 4)
    light = np.zeros((len(axes), 3))
    for inks in product((0, 1), repeat=4):
        weight = np.prod(np.where(np.array(inks) == 1, axes, 1 - axes), axis=1)
        light += weight[:, None] * _of_solid(*inks)
    return np.asarray(light * _WHITE)


def _of_solid(cyan: int, magenta: int, yellow: int, black: int) -> _Array:
    """X, Y, Z of an overprint, as shares of the paper's, the darkest being 0."""
    return np.asarray((_printed(cyan, magenta, yellow, black) - _printed(1, 1, 1, 1)) / (1 - _printed(1, 1, 1, 1)))


def _printed(cyan: int, magenta: int, yellow: int, black: int) -> _Array:
    paper = _xyz(_SOLIDS[0, 0, 0])
    colours = _xyz(_SOLIDS[cyan, magenta, yellow]) / paper
    # black ink hides most, but not all, of what lies below it
    return np.asarray(_xyz(_BLACK) / paper * (1 + colours) / 2 if black else colours)


def _xyz(lab: tuple[float, ...]) -> _Array:
    lightness, a, b = lab
    f = (lightness + 16) / 116 + np.array([a / 500, 0, -b / 200])
    return np.asarray(np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * _WHITE)


def _file(table: bytes) -> bytes:
    text = b"Offset print on coated paper, by formula\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78), b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + _SRGB_WHITE, b"A2B0": table,
    }  # fmt: skip
    return cicp.file_of(tags, device=b"prtr", space=b"CMYK", version=0x02400000)
