"""What crosses the pipe between a run and its workers: options, requests, outcomes, and records of outputs."""

from dataclasses import dataclass, field
from typing import Literal

from colorize_run.errors import ColorizeRunError, ImageFileError
from colorize_run.system.files import FULL, MAX_PIXELS

Status = Literal["done", "copied", "skipped", "failed"]


@dataclass(frozen=True)
class Order:
    """What is wanted of every picture of a run; it can be written as JSON.

    ``view``: a form of `segment`; ``measure``: whether the change of lightness is measured, ``thumbnails``: their longer side
    in pixels, 0 for none; ``threads`` of a process that works alone.
    """

    task: Literal["colorize", "segment"]
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
    overwrite: bool = False
    measure: bool = False
    thumbnails: int = 0
    threads: int | None = None


@dataclass(frozen=True)
class Record:
    """An output: SHA-256 of input and output, and the key of model and options. ``size`` of the output in bytes."""

    input: str
    key: str
    output: str
    size: int


@dataclass(frozen=True)
class Request:
    """A picture to be done. ``known``: what was written under the target's name before; ``staged``: where to write its output.

    Without ``staged`` the output's bytes are handed back. An empty name stands for stdin or stdout. ``kept``: why what lies at
    the target may not be replaced, though it may be whole; a sentence, empty if it may.
    """

    number: int
    source: str
    target: str
    kind: str | None = None
    staged: str | None = None
    known: tuple[Record, ...] = ()
    kept: str = ""


@dataclass
class Outcome:
    """What became of a picture. Sizes in pixels and bytes, times in milliseconds by stage.

    ``reason``: the sentence of a failure, with its exit ``code``; ``full``: that no further output will fit. ``lightness``:
    mean and largest difference of L* between input and output before encoding; ``clipped``: share of the pixels whose chroma
    had to give way to ``gamut``. ``thumbnails``: WebP in base64, before and after. ``replaces``: whether it may replace a file.
    """

    status: Status = "failed"
    reason: str = ""
    code: int = 0
    full: bool = False
    size: tuple[int, int] = (0, 0)
    milliseconds: dict[str, float] = field(default_factory=dict)
    input_bytes: int = 0
    output_bytes: int = 0
    input_sha256: str = ""
    output_sha256: str = ""
    lightness: tuple[float, float] | None = None
    clipped: float = 0.0
    gamut: str = "sRGB"
    notes: list[str] = field(default_factory=list)
    thumbnails: list[str] = field(default_factory=list)
    replaces: bool = False

    @classmethod
    def of_error(cls, error: ColorizeRunError, name: str) -> "Outcome":
        """A picture that failed; errors of inputs leave their name to this."""
        told = f"{name} {error}" if isinstance(error, ImageFileError) else str(error)
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL
        return cls("failed", told, error.exit_code, full=full)
