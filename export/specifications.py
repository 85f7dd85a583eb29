"""What the contract says of each model beyond its checkpoint."""

from dataclasses import dataclass

from colorize_run.model.contract import WorkingSize

from training.conventions import FLOWER_WORKING_SIZE, PHOTO_TEMPERATURE, PHOTO_WORKING_SIZE


@dataclass(frozen=True)
class Specification:
    """What the contract says of a model beyond its checkpoint.

    ``network`` is the kind of network that the checkpoint must hold. ``temperature`` is that of a palette's annealed mean:
    a lower one is more colourful, but less smooth.
    """

    name: str
    network: str
    working_size: WorkingSize
    temperature: float = 1.0
    licence: str = "MIT"


_TINY_PICTURES = WorkingSize(short_side=32, multiple=4, minimum=16, maximum=1024)
_FACES = WorkingSize(short_side=128, multiple=1, minimum=1, maximum=1024)  # the graph stretches to multiples of 64
_TORCHVISION = "begun from torchvision's BSD-3-Clause weights or none"


def _deeplab(name: str, weights: str) -> Specification:
    licence = f"MIT; {weights}; Oxford 17 Flowers, for research"
    return Specification(f"deeplab-{name}", "deeplab", FLOWER_WORKING_SIZE, licence=licence)


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
            PHOTO_WORKING_SIZE,
            temperature=PHOTO_TEMPERATURE,
            licence="MIT; encoder begun from Apache-2.0 weights; photographs partly of research and non-commercial licences",
        ),
        Specification(
            "flowers",
            "segmentation-unet",
            FLOWER_WORKING_SIZE,
            licence="MIT; encoder begun from Apache-2.0 weights; Oxford 17 Flowers, for research",
        ),
        _deeplab("mobilenet-v2", "begun from Apache-2.0 weights"),
        *(_deeplab(name, _TORCHVISION) for name in ("mobilenet-v3", "resnet50", "resnet101")),
    )
}
