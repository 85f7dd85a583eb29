"""Numbers on which data sets, networks, evaluation and export must agree. Imports no PyTorch, so that help is fast."""

from typing import TYPE_CHECKING

from colorize_run.model.contract import WorkingSize

if TYPE_CHECKING:  # PyTorch takes seconds to import
    from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # weights of sRGB-encoded R, G, B in the grey of faces and photographs, as in the runtime
MEAN_OF_CHANNELS = (1 / 3, 1 / 3, 1 / 3)  # the same for CIFAR-10, as in the assignment
# The assignment scales pictures as byte / 256, everybody else as byte / 255.
FROM_256THS, TO_256THS = 256 / 255, 255 / 256

# The size at which the runtime shows a picture to a network that learnt from photographs, or from flowers
PHOTO_WORKING_SIZE = WorkingSize(short_side=192, multiple=32, minimum=32, maximum=1024)
FLOWER_WORKING_SIZE = WorkingSize(short_side=320, multiple=1, minimum=32, maximum=1024)
PHOTO_TEMPERATURE = 0.5  # of the mean colour of photographs; chosen on validation photographs (docs/results.md)


def to_ab(output: "Tensor", kind: str) -> "Tensor":
    """Convert the output of a Lab network, "sigmoid" 0..1 or "tanh" -1..1, to CIELAB a*, b*; any shape."""
    return output * 256 - 128 if kind == "sigmoid" else output * 128


def from_ab(ab: "Tensor", kind: str) -> "Tensor":
    """Convert a*, b* to what a network with this output must learn: the inverse of `to_ab`."""
    return (ab + 128) / 256 if kind == "sigmoid" else ab / 128
