"""Named hyper-parameters: the original ones of the assignment, and ours."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from training.errors import TrainingError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of one training run, besides the data and the machine.

    ``schedule``: "constant", or "one-cycle" (Smith and Topin 2017) with ``learning_rate`` as its peak.
    ``augment``: mirror left-right and shift by up to ``shift`` pixels. ``ema_decay``: 0 leaves averaging out,
    otherwise an exponential moving average of weights and BatchNorm statistics is what is validated and kept.
    ``split_seed`` cuts validation off the training set and stays the same when ``seed`` is varied.
    """

    name: str
    network: str
    arguments: dict[str, Any]
    learning_rate: float
    batch_size: int
    epochs: int
    seed: int = 0
    split_seed: int = 0
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["constant", "one-cycle"] = "constant"
    augment: bool = False
    shift: int = 4
    ema_decay: float = 0.0
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    def with_changes(self, **changes: Any) -> "Recipe":
        """Copy with those ``changes`` that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


_UNET = {"kernel": 3, "num_filters": 32, "num_colours": 24, "in_channels": 1}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        # CSC321 (2018), assignment 2, as handed out
        Recipe("unet-original", "unet", _UNET, learning_rate=0.001, batch_size=10, epochs=25),
        # Same network, longer: a large one-cycle step, mirrored and shifted pictures, averaged weights. 150 epochs with
        # weight decay 0.01 reach half a point more, but logits so steep that rounding costs three times as much parity.
        Recipe(
            "unet-tuned",
            "unet",
            _UNET,
            learning_rate=0.02,
            batch_size=50,
            epochs=90,
            optimizer="adamw",
            weight_decay=0.03,
            schedule="one-cycle",
            augment=True,
            ema_decay=0.998,
            precision="bf16-mixed",
        ),
    )
}


def find(network: str, recipe: str) -> Recipe:
    """The recipe called ``network-recipe``; TrainingError lists the known ones."""
    name = f"{network}-{recipe}"
    if name not in RECIPES:
        raise TrainingError(f"There is no recipe {recipe!r} for {network!r}; recipes: {', '.join(RECIPES)}.")
    return RECIPES[name]
