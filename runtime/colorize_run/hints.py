"""Colour hints: places of a picture whose colour the user gives, because no network can know it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour.space import SRGB
from colorize_run.errors import ImageFileError, InputMissingError, OptionError
from colorize_run.image import icc, reader
from colorize_run.image.picture import Picture, have_one_shape
from colorize_run.system.files import printable

RADIUS = 1 / 64  # of a hint without one, as a share of the picture's short side
_PAINTED = 0.05  # share of a pixel at the working size that is painted, from which it is a hint
_FORM = re.compile(r"\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*([\d.]+)\s*)?=\s*#?([0-9a-fA-F]{6})\s*")
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Hint:
    """A disc of pixels around ``x``, ``y``, from the left upper corner of the picture as it is shown, that has one colour.

    ``rgb``: sRGB bytes; their lightness does not matter, as the picture has its own. ``radius`` in pixels; None for a
    share of the picture's short side. Errors: OptionError for other values.
    """

    x: float
    y: float
    rgb: tuple[int, int, int]
    radius: float | None = None

    def __post_init__(self) -> None:
        numbers = self.x, self.y, self.radius or 0
        if not all(0 <= number < float("inf") for number in numbers) or not all(0 <= value <= 255 for value in self.rgb):
            raise OptionError(f"{self.x}, {self.y}, {self.rgb}, {self.radius} is no hint: pixels from 0, and bytes of R, G, B.")

    def __str__(self) -> str:
        return f"{self.x:g},{self.y:g}"


def parse_hint(text: str) -> Hint:
    """A hint from ``X,Y=#RRGGBB`` or ``X,Y,RADIUS=#RRGGBB``, in pixels. Errors: OptionError."""
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        x, y, radius = (None if part is None else float(part) for part in match.groups()[:3])
        assert x is not None
        assert y is not None
    except ValueError:
        raise OptionError(f"{text!r} is not a hint: write X,Y=#RRGGBB or X,Y,RADIUS=#RRGGBB, in pixels.") from None
    return Hint(x, y, _bytes_of(match[4]), radius)


def _bytes_of(digits: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


class Hints:
    """Hints for one picture: single ones, and those of ``path``, a JSON file or a picture whose opaque pixels are hints.

    The JSON is a list of objects with ``x``, ``y``, ``colour`` ("#rrggbb") and maybe ``radius``. The picture has the shape of
    the one it is for: a copy, cleared and painted over in an editor. Errors: ImageFileError, InputMissingError, which name
    the file.
    """

    def __init__(self, single: Sequence[Hint] = (), path: Path | None = None) -> None:
        self._single, self._painted, self._path = list(single), None, path
        self._made: tuple[tuple[int, int], tuple[int, int], FloatArray] | None = None  # for a film's next frame
        if path is None:
            return
        if path.suffix.lower() == ".json":
            self._single += _from_json(path)
        else:
            self._painted = _painted(path)

    def planes(self, size: tuple[int, int], working: tuple[int, int]) -> FloatArray:
        """(3, h, w): a*, b*, and 1 where there is a hint, else 0, for a picture of ``size`` seen at ``working``.

        Both are (width, height).

        Errors: ImageFileError for hints outside the picture, and for a painted file of another shape.
        """
        if (made := self._made) and made[:2] == (size, working):
            return made[2]
        planes = np.zeros((3, working[1], working[0]), np.float32)
        if self._painted is not None:
            self._paint(planes, self._painted, size)
        for hint in self._single:
            _draw(planes, hint, size)
        self._made = size, working, planes
        return planes

    def _paint(self, planes: FloatArray, painted: Image.Image, size: tuple[int, int]) -> None:
        width, height = painted.size
        if not have_one_shape((width, height), size):
            assert self._path is not None
            raise ImageFileError(
                f"is {size[0]} x {size[1]}, but the file of hints {printable(self._path)} is {width} x {height}: give it the"
                " same shape."
            )
        values = np.asarray(painted, np.float32)
        weighted = np.concatenate([values[..., :3] * (values[..., 3:] / 255), values[..., 3:] / 255], axis=2)
        small = np.stack(
            [
                np.asarray(Image.fromarray(plane).resize(planes.shape[:0:-1], Image.Resampling.BOX))
                for plane in weighted.transpose(2, 0, 1)
            ]
        )
        known = small[3] > _PAINTED
        if known.any():
            rgb = (small[:3, known] / small[3, known] / 255).T.astype(np.float32)
            planes[:2, known] = colour.srgb_to_lab(np.clip(rgb, 0, 1)).T[1:]
            planes[2, known] = 1


def _draw(planes: FloatArray, hint: Hint, size: tuple[int, int]) -> None:
    """Set the disc of ``hint``, given in pixels of a picture of ``size``, in place; at least one pixel."""
    if not (0 <= hint.x < size[0] and 0 <= hint.y < size[1]):
        raise ImageFileError(f"is {size[0]} x {size[1]}, and the hint at {hint} is outside it.")
    height, width = planes.shape[1:]
    scale = np.array([width / size[0], height / size[1]])
    radius = max(1.0, min(size) * RADIUS) if hint.radius is None else hint.radius
    centre = (np.array([hint.x, hint.y]) + 0.5) * scale - 0.5
    y, x = np.ogrid[:height, :width]
    inside = np.hypot((x - centre[0]) / scale[0], (y - centre[1]) / scale[1]) <= radius
    nearest = np.clip(np.floor(centre + 0.5), 0, (width - 1, height - 1)).astype(int)  # the pixel that holds the point
    inside[nearest[1], nearest[0]] = True
    lab = colour.srgb_to_lab(np.array(hint.rgb, np.float32)[None] / np.float32(255))[0]
    planes[:, inside] = np.array([lab[1], lab[2], 1], np.float32)[:, None]


def _painted(path: Path) -> Image.Image:
    try:
        picture = reader.read(path)
    except ImageFileError as error:
        raise type(error)(f"The file of hints {printable(path)} {error}") from error
    alpha = picture.alpha_in_bytes()
    if alpha is None:
        raise ImageFileError(f"The file of hints {printable(path)} has no transparent places: every pixel would be a hint.")
    painted = in_srgb(picture).convert("RGBA")
    painted.putalpha(alpha)
    return painted


def in_srgb(picture: Picture) -> Image.Image:
    """The pixels of a decoded picture as RGB in sRGB, 8 bits, without its alpha."""
    image = picture.in_bytes().convert("RGB")
    if picture.space in (None, SRGB) or picture.profile is None:
        return image
    return icc.to_srgb(image, picture.profile)


def _from_json(path: Path) -> list[Hint]:
    what = f"The file of hints {printable(path)}"
    try:
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise InputMissingError(f"{what} does not exist.") from error
    except OSError as error:
        raise ImageFileError(f"{what} cannot be read: {error.strerror}.") from error
    return hints_from_json(text, what)


def hints_from_json(text: str | bytes, what: str) -> list[Hint]:
    """Hints from the JSON of a file; ImageFileError, whose sentence begins with ``what``, for anything else."""
    try:
        listed = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except json.JSONDecodeError as error:
        raise ImageFileError(f"{what} is not JSON: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"{what} is not JSON.") from error
    if not isinstance(listed, list):
        raise ImageFileError(f"{what} is no list of objects with x, y, colour, and maybe radius.")
    hints = []
    for number, entry in enumerate(listed, 1):
        hint = _hint_of(entry)
        if hint is None:
            raise ImageFileError(
                f'{what} has an entry {number} that is not like {{"x": 420, "y": 310, "colour": "#c03020", "radius": 8}}.'
            )
        hints.append(hint)
    return hints


def _hint_of(entry: Any) -> Hint | None:
    if not isinstance(entry, dict) or not {"x", "y", "colour"} <= set(entry) <= {"x", "y", "colour", "radius"}:
        return None
    numbers = [entry["x"], entry["y"], *([entry["radius"]] if entry.get("radius") is not None else [])]
    if not all(type(number) in (int, float) and 0 <= number < 1e6 for number in numbers):
        return None
    match = re.fullmatch("#([0-9a-fA-F]{6})", entry["colour"]) if isinstance(entry["colour"], str) else None
    return Hint(float(numbers[0]), float(numbers[1]), _bytes_of(match[1]), entry.get("radius")) if match else None
