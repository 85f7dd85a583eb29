"""What colourizing and segmenting share: how a network is opened and run, and what is known of the result."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy.typing as npt
from PIL import Image

from colorize_run.image.picture import Picture

Observe = Callable[[Image.Image | npt.NDArray[Any], Picture], None]
T = TypeVar("T")


@dataclass
class Result:
    """One colourized file: seconds by stage, the share of pixels whose chroma had to give way, and notes.

    ``gamut``: what they had to give way to; ``confidence``: a mode L image of the picture's size, white where the model is
    sure, of the first frame; None where the model says nothing of it. ``size``: width and height of the first frame;
    ``left``: whether the picture was left as it is, as it has colours.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    moved_share: float = 0.0
    gamut: str = "sRGB"
    confidence: Image.Image | None = None
    notes: list[str] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    left: bool = False

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
