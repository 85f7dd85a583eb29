"""Timing: candidates in turn, round by round, so that changes in machine load affect all of them alike."""

import contextlib
import io
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence
from PIL.JpegImagePlugin import JpegImageFile

from colorize_run.convert import Converter
from colorize_run.errors import DeviceError
from colorize_run.model.contract import INPUTS, Arrays
from colorize_run.model.session import DEVICES, Model
from colorize_run.options import ConversionOptions

WARM_UP = 2  # rounds before those that count
Action = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """What 95 % of the rounds stay within: of 20 rounds, all but the slowest."""
        return sorted(self.seconds)[max(0, -(-95 * len(self.seconds) // 100) - 1)]

    def ratio(self, other: "Times") -> float:
        """Median over the rounds of this one's time over the other's in the same round."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))

    def __add__(self, other: "Times") -> "Times":
        return Times(tuple(a + b for a, b in zip(self.seconds, other.seconds, strict=True)))

    def as_dict(self) -> dict[str, Any]:
        """Median and p95 in seconds, and the number of rounds."""
        return {"median_s": self.median, "p95_s": self.p95, "rounds": len(self.seconds)}


def seconds(action: Action) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turn(actions: Sequence[Action], rounds: int, tick: Action = lambda: None, warm_up: int = WARM_UP) -> list[Times]:
    """Times of each action, taken in turn in ``rounds`` rounds after ``warm_up`` others; ``tick`` is called after each."""
    measured: list[list[float]] = [[] for _ in actions]
    for i in range(rounds + warm_up):
        for times, action in zip(measured, actions, strict=True):
            taken = seconds(action)
            if i >= warm_up:
                times.append(taken)
        tick()
    return [Times(tuple(times)) for times in measured]


def photograph(width: int, height: int) -> bytes:
    """A JPEG of that many pixels that costs what a photograph costs: soft shapes in colours, and the grain of a camera."""
    random = np.random.default_rng(0)
    shapes = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
    soft = np.asarray(shapes.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    grain = random.normal(0, 8, (height, width, 1)).astype(np.float32)
    file = io.BytesIO()
    Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=92)
    return file.getvalue()


class Candidate:
    """A model file on a device with so many threads, opened as the commands open it."""

    def __init__(self, task: str, path: Path, device: str, threads: int) -> None:
        self.path, self.threads = path, threads
        options = {"task": task, "model": str(path), "device": device, "keep_colour": False}
        self._converter = Converter(ConversionOptions.among(options), threads)
        self.model = self._converter.model

    def convert(self, data: bytes) -> bytes:
        """The bytes of the output file for those of a picture file."""
        return self._converter(io.BytesIO(data))[0]

    @property
    def about(self) -> dict[str, Any]:
        """What identifies the candidate: model, path, device and threads."""
        return {"model": self.path.stem, "path": str(self.path), "device": self.model.device.name, "threads": self.threads}

    @property
    def side(self) -> int:
        """Pixels of a side of the squares that `network` gives to the network: its working size."""
        size = self.model.contract.working_size
        return size.pad(size.short_side)

    def network(self, batch: int = 1) -> Action:
        """A call that runs the network alone, on ``batch`` squares of noise."""
        shape = (batch, INPUTS[self.model.input], self.side, self.side)
        inputs: Arrays = {self.model.input: np.random.default_rng(0).random(shape, np.float32)}
        outputs = list(self.model.outputs[:1])
        return lambda: self.model.run(inputs, outputs)

    def floor(self, data: bytes) -> Action:
        """A call that decodes the file and encodes what `convert` made of it, and does nothing between."""
        with Image.open(io.BytesIO(self.convert(data))) as made:
            kind = made.format
            options: dict[str, Any] = {"qtables": made.quantization} if isinstance(made, JpegImageFile) else {}
            first, *others = _frames(made)
        if others:
            options |= {"save_all": True, "append_images": others}

        def decode_and_encode() -> None:
            with Image.open(io.BytesIO(data)) as image:
                for frame in ImageSequence.Iterator(image):
                    frame.load()
            first.save(io.BytesIO(), kind, **options)

        return decode_and_encode


def _frames(image: Image.Image) -> list[Image.Image]:
    return [frame.copy() for frame in ImageSequence.Iterator(image)]


def devices(asked: str, path: Path) -> list[str]:
    """The devices that ``asked``, auto, cpu or cuda, stands for: auto for every one on which the model opens.

    Errors: DeviceError where cuda is asked for and does not work; ModelFileError, ContractError.
    """
    if asked != "auto":
        Model(path, asked)
        return [asked]
    working = []
    for device in DEVICES[1:]:
        with contextlib.suppress(DeviceError):
            Model(path, device)
            working.append(device)
    return working
