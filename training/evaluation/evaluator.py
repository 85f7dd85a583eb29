"""What every evaluator of a kind of network can do."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

FloatArray = npt.NDArray[np.float32]


class Evaluator(Protocol):
    """Compares the output of one kind of network with the truth, in figures and in pictures.

    ``pictures`` are what the kind's data set loads: an array (N, H, W, 3) uint8, `Photos` or `Flowers`. Networks must be
    in evaluation mode; they compute in float32.
    """

    grid_pictures: int
    """Number of pictures that a grid shows."""
    grid_scale: int
    """Whole-number enlargement of a grid."""

    @property
    def colours(self) -> FloatArray:
        """The palette: (K, 3) R, G, B in byte / 256, or (K, 2) a*, b*; K is 0 without one."""
        ...

    def score(self, network: nn.Module, pictures: Any) -> dict[str, float]:
        """Figures of ``network`` by name, as a checkpoint records them."""
        ...

    def report(self, network: nn.Module, pictures: Any) -> dict[str, Any]:
        """`score`, with the number of pictures and the figures of simple methods to compare with."""
        ...

    def rows(self, network: nn.Module, pictures: Any) -> list[FloatArray]:
        """Rows of a grid: input, truth and prediction; each row (N, H, W, 3), 0..1."""
        ...

    def inputs(self, pictures: Any) -> Tensor:
        """The input of a network for the first of ``pictures``, (1, C, H, W)."""
        ...
