"""What crosses the pipe between a run and its workers: options, requests, outcomes, and records of outputs."""

from dataclasses import dataclass, field
from typing import Literal

from colorize_run.errors import ColorizeRunError, ImageFileError
from colorize_run.options import ConversionOptions
from colorize_run.system.files import FULL
from colorize_run.system.times import Times

Status = Literal["done", "copied", "skipped", "failed"]


@dataclass(frozen=True)
class Options(ConversionOptions):
    """Options that hold for every picture of a run; plain values, so that they can be sent to another process as JSON.

    ``overwrite``: whether files may be replaced that are not this program's own outputs; ``measure``: whether the change of
    lightness is measured; ``thumbnails``: their longer side in pixels, 0 for none; ``threads``: of a process that works alone,
    all when None. ``keep_times``: whether an output gets the times of its input.
    """

    overwrite: bool = False
    measure: bool = False
    thumbnails: int = 0
    threads: int | None = None
    keep_times: bool = False


@dataclass(frozen=True)
class Engine:
    """What converts the pictures of a run: a model that is open on a device.

    ``model``: its name; ``sha256`` and ``path``: of its file; ``why``: the reason for the ``device``; ``jobs``: how many
    pictures at a time: processes with ``threads`` each, or threads beside a CUDA device; ``key``: digest of all that decides
    an output's bytes besides its input.
    """

    model: str
    sha256: str
    path: str
    device: str
    why: str
    threads: int
    key: str
    jobs: int = 1

    def describe_jobs(self) -> str:
        """How many pictures are done at a time, and by what, in words."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        if self.device == "cuda":
            return f"{self.jobs} at a time on CUDA"
        return f"1 process with {threads}" if self.jobs == 1 else f"{self.jobs} processes with {threads} each"


@dataclass(frozen=True)
class Record:
    """An output as an index remembers it: SHA-256 of input and output, key of model and options, size in bytes."""

    input: str
    key: str
    output: str
    size: int


@dataclass(frozen=True)
class Request:
    """A picture to convert. ``known``: records of outputs that had the target's name; ``staged``: where to write the output.

    Without ``staged`` the output's bytes are returned. An empty name stands for stdin or stdout. ``refusal``: why the file
    at the target must stay (see `RunFiles`), a sentence; empty if it may be replaced.
    """

    number: int
    source: str
    target: str
    kind: str | None = None
    staged: str | None = None
    known: tuple[Record, ...] = ()
    refusal: str = ""


@dataclass
class Outcome:
    """What became of a picture. Sizes in pixels and bytes, times in milliseconds by stage.

    ``reason``: the sentence of a failure, with its exit ``code``; ``full``: that no further output will fit. ``lightness``:
    mean and largest difference of L* between input and output before encoding; ``clipped``: share of the pixels whose chroma
    had to give way to ``gamut``. ``thumbnails``: WebP in base64, before and after;
    ``thumbnail_size``: width and height of the second. ``replaces``: whether the output may replace a file.
    ``times``: those that the output must get, if it was not staged.
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
    thumbnail_size: tuple[int, int] = (0, 0)
    replaces: bool = False
    times: Times | None = None

    @classmethod
    def of_error(cls, error: ColorizeRunError, name: str) -> "Outcome":
        """The outcome of a failure; ``name`` is put before errors of inputs, which do not name their file."""
        reason = f"{name} {error}" if isinstance(error, ImageFileError) else str(error)
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL
        return cls("failed", reason, error.exit_code, full=full)


Answer = tuple[Request, Outcome]
