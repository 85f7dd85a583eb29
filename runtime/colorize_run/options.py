"""Options of a conversion, which hold for every picture, and digests of those that decide an output's bytes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from colorize_run.system.files import MAX_PIXELS

Form = Literal["mask", "soft", "overlay", "cutout"]
FORMS: tuple[Form, ...] = get_args(Form)
# What of a picture stays as it is: the luma that a JPEG is coded in (others, and what cannot be coloured in its own planes,
# keep CIELAB's lightness), or CIELAB's lightness always
Lightness = Literal["luma", "cielab"]
LIGHTNESSES: tuple[Lightness, ...] = get_args(Lightness)
Task = Literal["colorize", "segment"]

# Fields that say where and how fast an output is made, not what it holds.
_WITHOUT_EFFECT = ("device", "max_pixels", "accept_damaged")
_FILES = ("mask", "hints", "like", "cmyk_profile")
# Later than the first indices
_ADDED = ("hint", "hints", "like", "confidence", "lightness", "upright", "cmyk_profile")


@dataclass(frozen=True)
class ConversionOptions:
    """Options that hold for every picture. Plain values, so that they can be sent to another process as JSON.

    ``view``: the form that a segmentation is written as. ``max_pixels``: the largest picture that is decoded. ``mask``: path
    of a picture that says where to colour. ``hint``: hints as `parse_hint` reads them, separated by spaces; ``hints``: path
    of a file of hints; ``like``: path of a picture whose colours are borrowed. ``confidence``: whether confidence is written
    instead of colours. ``cmyk_profile``: path of the ICC profile for CMYK that has none. The others are arguments of
    `Colorizer`, `Segmenter` and `Control`.
    """

    task: Task
    model: str
    device: str = "auto"
    working_size: int | None = None
    temperature: float | None = None
    raw: bool = False
    saturation: float = 1.0
    blend: float = 1.0
    mask: str | None = None
    keep_colour: bool = True
    view: str = "mask"
    strip_metadata: bool = False
    max_pixels: int = MAX_PIXELS
    hint: str = ""
    hints: str | None = None
    like: str | None = None
    confidence: bool = False
    lightness: Lightness = "luma"
    upright: bool = False
    accept_damaged: bool = False
    cmyk_profile: str | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Files that every conversion reads besides its input, by the names of their options."""
        given = {name: getattr(self, name) for name in _FILES}
        return {name: Path(path) for name, path in given.items() if path}

    @classmethod
    def among(cls, values: dict[str, Any]) -> "ConversionOptions":
        """The options among ``values``, which may hold others."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    def key(self, model: str, files: Mapping[str, str]) -> str:
        """Digest, 16 hex digits, of all that decides an output's bytes besides its input; kept in folders' indices.

        ``model``: SHA-256 of its file; ``files``: those of `files`, by name. Options that were added later take part only
        where they differ from their defaults: older indices stay valid.
        """
        values = {name: value for name, value in asdict(self).items() if name not in _ADDED or value != _DEFAULTS[name]}
        decisive = {**values, "model": model, "mask": "", **files}
        for name in (*_WITHOUT_EFFECT, "view" if self.task == "colorize" else "raw"):
            del decisive[name]
        return _digest(json.dumps(decisive, sort_keys=True))

    def watch_key(self) -> str:
        """Digest, 16 hex digits, of the options that decide an output's bytes; kept in ledgers, beside the model's SHA-256.

        Options that were added later take part only where they differ from their defaults: older ledgers stay valid.
        """
        parts = [self.task, self.view, str(self.keep_colour), str(self.strip_metadata)]
        for name in ("working_size", "temperature", "saturation", "lightness", "upright"):
            value = getattr(self, name)
            if value != getattr(ConversionOptions, name):
                parts.append(f"{name}={value}")
        return _digest(":".join(parts))


_DEFAULTS = {field.name: field.default for field in fields(ConversionOptions)}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
