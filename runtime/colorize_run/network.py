"""What colourizing and segmenting share: a network opened for a task, and the record of a result."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.errors import ContractError, ModelFileError
from colorize_run.image.picture import Picture
from colorize_run.model.contract import CELL, HINTS, LOGITS, Arrays
from colorize_run.model.library import find_model
from colorize_run.model.session import Model

Observe = Callable[[Image.Image | npt.NDArray[Any], Picture], None]
T = TypeVar("T")
FloatArray = npt.NDArray[np.float32]
_ACTIVITY = {"colorize": "colourizing", "segment": "segmenting"}


@dataclass
class Result:
    """One colourized file: seconds by stage, the share of pixels whose chroma was out of gamut, and notes.

    ``gamut``: the name of that gamut. ``size``: width and height of the first frame;
    ``unchanged``: the picture was left unchanged, because it has colours.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    out_of_gamut: float = 0.0
    gamut: str = "sRGB"
    notes: list[str] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    unchanged: bool = False

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time that each takes to come is added to stage ``name``."""
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item


@dataclass(frozen=True)
class Prediction:
    """What the network says at its working size h x w: ``ab`` (2, h, w) CIELAB.

    ``rgb`` (3, h, w), 0..1: the model's own picture; None for models that make none. ``logits`` (K, h/4, w/4) over the
    contract's palette of chroma; None for models without one.
    """

    ab: FloatArray
    rgb: FloatArray | None
    logits: FloatArray | None = None


class Network:
    """A model opened for ``task``. Attributes: ``model``, its ``contract``, and the ``working_size`` it sees pictures at.

    ``model``: a model's name or the path of its file; ``device``: auto, cpu or cuda; ``threads``: all that this process may
    use when None; ``working_size``: short side in pixels, the contract's when None. One instance may be used from several
    threads. Errors: ModelFileError, ContractError, DeviceError, OptionError.
    """

    def __init__(self, task: str, model: str | Path, device: str, threads: int | None, working_size: int | None) -> None:
        self.model = Model(find_model(str(model)), device, threads)
        self.contract = self.model.contract
        if self.contract.task != task:
            raise ContractError(f"{self.model.path} is a model for {_ACTIVITY[self.contract.task]}, not for {_ACTIVITY[task]}.")
        self.working_size = self.contract.working_size.with_short_side(working_size)

    def run_on(
        self, planes: FloatArray, settings: Arrays, outputs: list[str] | None = None, hints: FloatArray | None = None
    ) -> dict[str, FloatArray]:
        """Run the network on one picture at its working size: (C, h, w) in, (C, h, w) of each output, by name, out.

        The picture is padded with its edge pixels to the network's multiple, and the outputs are cropped again; those of cells,
        `contract.LOGITS`, to the cells that the picture covers. ``settings``: further inputs; ``outputs``: all when None;
        ``hints`` (3, h, w). Errors: ModelFileError for outputs of another size or with NaN; DeviceError.
        """
        h, w = planes.shape[1:]
        size = self.working_size
        margins = (0, 0), (0, size.pad(h) - h), (0, size.pad(w) - w)
        padded = np.pad(planes, margins, mode="edge")
        if hints is not None:
            settings = {**settings, HINTS: np.pad(hints, margins)[None]}
        results = self.model.run({self.model.input: padded[None], **settings}, outputs)
        for name, values in results.items():
            cell = CELL if name == LOGITS else 1
            if values.shape[:1] + values.shape[2:] != (1, padded.shape[1] // cell, padded.shape[2] // cell) or not (
                np.isfinite(values).all()
            ):
                raise ModelFileError(
                    f"{self.model.path} gave an output {name} of a wrong size, or with values that are not finite."
                )
            results[name] = values[0, :, : -(-h // cell), : -(-w // cell)]
        return results
