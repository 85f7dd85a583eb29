"""The settings of a watch: folders, task and limits, in seconds, bytes and pixels."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from colorize_run.errors import OptionError, OutputError
from colorize_run.options import ConversionOptions, Lightness
from colorize_run.system.files import WATCH_MAX_PIXELS, is_within, shortened
from colorize_run.system.mounts import is_local

STATE_FOLDER = ".colorize-run"  # in the output folder, unless --state names another one


@dataclass(frozen=True)
class Settings:
    """All settings of one run of the watch folder.

    Sizes in bytes, times in seconds, ``max_pixels`` and ``max_side`` in pixels. ``memory`` limits a worker's address
    space on the CPU, 0 for no limit. ``min_free`` must stay free on the disk of the outputs.
    """

    inbox: Path
    outbox: Path
    state: Path
    task: str = "colorize"
    view: str = "mask"
    model: str = "photo"
    device: str = "auto"
    recursive: bool = False
    once: bool = False
    adopt: bool = False
    working_size: int | None = None
    temperature: float | None = None
    saturation: float = 1.0
    lightness: Lightness = "luma"
    keep_colour: bool = True
    strip_metadata: bool = False
    workers: int = 1
    inputs: str = "keep"
    done_dir: Path | None = None
    failed_dir: Path | None = None
    poll: float = 0.25
    settle: float = 0.5
    remote_settle: float = 5.0
    incomplete_timeout: float = 600.0
    timeout: float = 120.0
    drain: float = 30.0
    max_bytes: int = 64 << 20
    max_pixels: int = WATCH_MAX_PIXELS
    max_side: int = 16_384
    max_depth: int = 8
    max_pending: int = 10_000
    min_free: int = 256 << 20
    memory: int = 4 << 30
    port: int | None = None

    @property
    def conversion(self) -> ConversionOptions:
        """The options of the conversion, the same for every picture."""
        return ConversionOptions.among(asdict(self))

    @property
    def options_key(self) -> str:
        """Digest of the options that affect an output's bytes."""
        return self.conversion.watch_key()

    def output_name(self, name: bytes) -> bytes:
        """Relative name of the output for an input's relative name; two inputs never have the same output."""
        suffix = f".{self.view}.png".encode() if self.task == "segment" else b""
        folder, _, base = name.rpartition(b"/")
        short = shortened(base, suffix)
        return folder + b"/" + short if folder else short

    def check(self) -> None:
        """Refuse folders inside each other, and a ledger on a network share. Errors: OptionError, OutputError."""
        for kind, folder in (("output", self.outbox), ("state", self.state)):
            if is_within(folder, self.inbox):
                raise OptionError(f"The {kind} folder {folder} is inside the input folder {self.inbox}: choose one outside.")
        if self.recursive and is_within(self.inbox, self.outbox):
            raise OptionError(f"With --recursive, {self.inbox} must not be inside the output folder {self.outbox}.")
        for folder in filter(None, (self.done_dir, self.failed_dir)):
            if is_within(folder, self.inbox):
                raise OptionError(f"{folder} is inside the input folder {self.inbox}: its files would be converted again.")
            if os.stat(folder).st_dev != os.stat(self.inbox).st_dev:
                raise OptionError(f"{folder} is not on the file system of {self.inbox}: moving a file would not be atomic.")
        if not is_local(self.state):
            raise OutputError(f"The state folder {self.state} is on a network share, where a ledger is not safe: use --state.")


def another_watch(folder: str) -> str:
    """The sentence for a folder that is locked."""
    return f"Another watch is using {folder}: stop it first, or choose another folder."
