"""What the contract says of each model beyond its checkpoint."""

from dataclasses import dataclass

from colorize_run.model.contract import WorkingSize

from training.datasets.flowers import WORKING_SIZE
from training.networks.photo import TEMPERATURE, WORKING_SIDE


@dataclass(frozen=True)
class Specification:
    """What the contract says of a model beyond its checkpoint.

    ``network`` is the kind of network that it must be. ``temperature``: of a palette's annealed mean; lower is more
    colourful and blotchier.
    """

    name: str
    network: str
    working_size: WorkingSize
    temperature: float = 1.0
    licence: str = "MIT"


_TINY_PICTURES = WorkingSize(short_side=32, multiple=4, minimum=16, maximum=1024)
_FACES = WorkingSize(short_side=128, multiple=1, minimum=1, maximum=1024)  # the graph stretches to multiples of 64

SPECIFICATIONS = {
    specification.name: specification
    for specification in (
        Specification("cnn", "cnn", _TINY_PICTURES),
        Specification("regression-cnn", "regression-cnn", _TINY_PICTURES),
        Specification("unet", "unet", _TINY_PICTURES),
        Specification("dilated-unet", "dilated-unet", _TINY_PICTURES),
        Specification("unet-large", "deep-unet", WorkingSize(32, 8, 16, 1024)),
        Specification("unet-downsized", "downsized-unet", _TINY_PICTURES),
        Specification("chroma-regressor", "chroma-regressor", _FACES),
        Specification("chroma-sigmoid", "chroma-colorizer", _FACES),
        Specification("chroma-tanh", "chroma-colorizer", _FACES),
        Specification("chroma-large", "chroma-colorizer", _FACES),
        Specification("chroma-large-sigmoid", "chroma-colorizer", _FACES),
        Specification("fusion", "fusion-colorizer", _FACES),
        Specification(
            "photo",
            "photo-colorizer",
            WorkingSize(WORKING_SIDE, 32, 32, 1024),
            temperature=TEMPERATURE,
            licence="MIT; encoder begun from Apache-2.0 weights; photographs partly of research and non-commercial licences",
        ),
        Specification(
            "flowers",
            "segmentation-unet",
            WORKING_SIZE,
            licence="MIT; encoder begun from Apache-2.0 weights; Oxford 17 Flowers, for research",
        ),
        *(
            Specification(f"deeplab-{name}", "deeplab", WORKING_SIZE, licence=f"MIT; {begun}; Oxford 17 Flowers, for research")
            for name, begun in (
                ("mobilenet-v2", "begun from Apache-2.0 weights"),
                ("mobilenet-v3", "begun from torchvision's BSD-3-Clause weights or none"),
                ("resnet50", "begun from torchvision's BSD-3-Clause weights or none"),
                ("resnet101", "begun from torchvision's BSD-3-Clause weights or none"),
            )
        ),
    )
}
