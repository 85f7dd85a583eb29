"""Named hyper-parameters: the original ones, and ours."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from training.errors import TrainingError
from training.networks import NETWORKS, Network


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights of one training run, besides the data and the machine.

    ``model`` is the name under which the result is exported, ``network`` and ``arguments`` build it.
    ``schedule``: "constant", or "one-cycle" (Smith and Topin 2017) with ``learning_rate`` as its peak.
    ``augment``: some of AUGMENTATIONS, drawn anew for each batch; shifts go up to ``shift`` pixels. ``folds``: so many
    variants of each face are made beforehand (0: the faces as they are), and an epoch sees
    a ``share`` of them, drawn anew. ``precise_batchnorm``: measure BatchNorm's
    statistics anew at the end (`training.batchnorm`). ``rebalance``: weigh rare palette colours more. ``ema_decay``: 0
    leaves averaging out, otherwise an exponential moving average of weights and BatchNorm statistics is what is
    validated and kept. ``side``: of the squares that are cut out of photographs and flowers, ``final_side`` in the
    last quarter of the epochs; ``augmented``: flowers are moved and lit anew in every batch; ``chroma_loss``: weight of the
    distance in a*, b* beside the cross-entropy; ``learn_encoder``: beginnings of the names of the pretrained layers that
    learn on, "" for all; ``from_scratch``: begin at random what others have trained. ``split_seed``
    cuts validation off the training set and stays the same when ``seed`` is varied.
    """

    name: str
    model: str
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
    augment: tuple[str, ...] = ()
    shift: int = 1
    folds: int = 0
    share: float = 1.0
    precise_batchnorm: bool = False
    rebalance: bool = False
    ema_decay: float = 0.0
    side: int = 128
    final_side: int = 0
    chroma_loss: float = 0.0
    learn_encoder: tuple[str, ...] = ()
    augmented: bool = False
    from_scratch: bool = False
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    @property
    def kind(self) -> Network:
        """The kind of network that this recipe trains."""
        return NETWORKS[self.network]

    @property
    def begins_with_weights(self) -> bool:
        """Whether the network has a part that others have trained: a classifier, an encoder, a backbone."""
        return any(part in self.arguments for part in ("classifier", "encoder", "backbone"))

    def with_changes(self, **changes: Any) -> "Recipe":
        """Copy with those ``changes`` that are not None."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    def with_colours(self, colours: int | None, *, asked: bool) -> "Recipe":
        """Copy for a palette of so many colours; TrainingError where only a classification could do what is ``asked``."""
        if self.kind.target not in ("palette", "chroma-palette") or self.arguments.get("num_colours") == 0:
            if asked or self.rebalance:
                raise TrainingError(f"{self.model} does not classify into a palette: --colours and --rebalance mean nothing.")
            return self
        return self if colours is None else replace(self, arguments={**self.arguments, "num_colours": colours})

    def with_encoder(self, encoder: str | None) -> "Recipe":
        """Copy with another pretrained encoder, all of which learns; TrainingError for a network that has none."""
        if encoder is None:
            return self
        if "encoder" not in self.arguments:
            raise TrainingError(f"{self.model} has no encoder to choose: leave --encoder away.")
        return replace(self, arguments={**self.arguments, "encoder": encoder}, learn_encoder=("",))

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)


_PALETTE = {"kernel": 3, "num_filters": 32, "num_colours": 24, "in_channels": 1}
_REGRESSION = {"kernel": 3, "num_filters": 32, "in_channels": 1}
_DOWNSIZED = {"kernel": 3, "num_filters": 32, "num_colours": 24}
# A small network beside a large one; the large one is a classifier that this project can train on anywhere
_INCEPTION = {"architecture": 2, "output": "tanh", "classifier": "inception_resnet_v2", "classifier_size": 299}
_MOBILENET = {"architecture": 2, "output": "tanh", "classifier": "mobilenetv2_100", "classifier_size": 128}

_MIRROR_AND_SHIFT: Any = {"augment": ("flip-left-right", "shift-sideways", "shift-up-down"), "shift": 4}
# A large one-cycle step, mirrored and shifted pictures, averaged weights. 150 epochs with weight decay 0.01 reach half
# a point more on the UNet, but logits so steep that rounding costs three times as much parity.
_TUNED: Any = {
    "learning_rate": 0.02, "batch_size": 50, "epochs": 90, "optimizer": "adamw", "weight_decay": 0.03,
    "schedule": "one-cycle", "ema_decay": 0.998, "precision": "bf16-mixed", **_MIRROR_AND_SHIFT,
}  # fmt: skip
# CSC321 (2018), assignment 2, as handed out
_ASSIGNMENT: Any = {"learning_rate": 0.001, "batch_size": 10, "epochs": 25}
# On top of the ten variants every batch is mirrored and shifted anew: without, the mean-chroma regressor learns the ten by
# heart. With a tenth of the decay the colorizers' errors are 12 to 40 % larger, and the large decoder lets what is no face
# grow a hundredfold before its last layers take it away again: rounding overruns float32's parity.
_FACES: Any = {
    "learning_rate": 0.003, "batch_size": 50, "epochs": 20, "optimizer": "adamw", "weight_decay": 0.5, "folds": 10,
    "schedule": "one-cycle", "precision": "bf16-mixed", "precise_batchnorm": True, **_MIRROR_AND_SHIFT, "shift": 8,
}  # fmt: skip
# Without grain architecture 1's first BatchNorm learns to stretch fine texture, and white noise overruns parity too.
_GRAINY: Any = {"augment": (*_MIRROR_AND_SHIFT["augment"], "grain")}
_FACES_CHANGES: dict[str, Any] = {
    # Its last bias says grey, 0.5: decay by 0.5 takes that away, and what is no face turns blue, though faces are 6 % better.
    "chroma-regressor": {"epochs": 10, "weight_decay": 0.05},
    "chroma-large": _GRAINY,
    "chroma-large-sigmoid": _GRAINY,
    "fusion": {"epochs": 15},
}
# The Lab project's own, by their number of epochs: (epochs, learning rate, weight decay)
_PROJECT = ((100, 0.005, 1e-7), (400, 1e-4, 1e-5), (50, 0.005, 1e-7))

_PHOTO: Any = {
    "learning_rate": 0.0015, "batch_size": 32, "epochs": 20, "optimizer": "adamw", "weight_decay": 0.02,
    "schedule": "one-cycle", "ema_decay": 0.998, "precision": "bf16-mixed", "rebalance": True, "chroma_loss": 0.05,
    "side": 128, "final_side": 160, "learn_encoder": ("blocks.4", "blocks.5", "blocks.6"),
}  # fmt: skip
_PHOTO_ARGUMENTS = {"num_colours": 128, "encoder": "efficientnet_lite0", "width": 64, "fusion": True, "dilation": True}
# One change each to a training of a few epochs, for the table of what helps
_PHOTO_ABLATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "short": ({}, {}),
    "no-rebalancing": ({}, {"rebalance": False}),
    "no-fusion": ({"fusion": False}, {}),
    "no-dilation": ({"dilation": False}, {}),
    "no-chroma-loss": ({}, {"chroma_loss": 0.0}),
    "regression": ({"num_colours": 0}, {"rebalance": False}),
}

_PALETTE_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "cnn": ("cnn", _PALETTE),
    "regression-cnn": ("regression-cnn", _REGRESSION),
    "unet": ("unet", _PALETTE),
    "dilated-unet": ("dilated-unet", _PALETTE),
    "unet-downsized": ("downsized-unet", _DOWNSIZED),
}
_LAB_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "chroma-regressor": ("chroma-regressor", {"architecture": 1}),
    "chroma-sigmoid": ("chroma-colorizer", {"architecture": 2, "output": "sigmoid"}),
    "chroma-tanh": ("chroma-colorizer", {"architecture": 2, "output": "tanh"}),
    "chroma-large": ("chroma-colorizer", {"architecture": 1, "output": "tanh"}),
}
# Only by our recipe: the project's take hours each, and its two last layers are compared on the small architecture
_LARGE_SIGMOID = {"architecture": 1, "output": "sigmoid"}


# The original notebook's: only the last layer, in large steps
_LAST_LAYER: Any = {"learning_rate": 0.05, "batch_size": 128, "epochs": 10, "side": 224}
_WHOLE: Any = {
    "learning_rate": 0.001, "batch_size": 16, "epochs": 16, "optimizer": "adamw", "weight_decay": 0.02, "augmented": True,
    "schedule": "one-cycle", "ema_decay": 0.99, "precision": "bf16-mixed", "side": 192,
    "final_side": 256,
}  # fmt: skip
_SEGMENTERS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "flowers": ("segmentation-unet", {"num_classes": 2, "encoder": "efficientnet_lite0", "width": 64}, {}),
    "deeplab-mobilenet-v2": ("deeplab", {"backbone": "mobilenet_v2", "kernel": 3, "padding": 1}, {}),
    "deeplab-mobilenet-v3": ("deeplab", {"backbone": "mobilenet_v3_large", "kernel": 3, "padding": 1}, {}),
    "deeplab-resnet50": ("deeplab", {"backbone": "resnet50", "kernel": 3, "padding": 1}, {}),
    "deeplab-resnet101": (
        "deeplab",
        {"backbone": "resnet101", "kernel": 3, "padding": 1},
        {"epochs": 3, "side": 128, "final_side": 0},
    ),
}


def _segmenters() -> list[Recipe]:
    found = []
    for model, (network, arguments, changes) in _SEGMENTERS.items():
        found.append(Recipe(f"{model}-tuned", model, network, arguments, **{**_WHOLE, **changes}))
        if network == "deeplab":
            last = {**arguments, "padding": 0, "last_layer_only": True}
            found.append(Recipe(f"{model}-original", model, network, last, **_LAST_LAYER))
    return found


def _recipes() -> list[Recipe]:
    found = []
    for model, (network, arguments) in _PALETTE_MODELS.items():
        found.append(Recipe(f"{model}-original", model, network, arguments, **_ASSIGNMENT))
        found.append(Recipe(f"{model}-tuned", model, network, arguments, **_TUNED))
    deep = {"num_filters": 32, "num_colours": 24, "in_channels": 1, "dropout": 0.2}
    found.append(Recipe("unet-large-tuned", "unet-large", "deep-unet", deep, **{**_TUNED, "learning_rate": 0.01, "epochs": 60}))
    for model, (network, arguments) in {**_LAB_MODELS, "fusion": ("fusion-colorizer", _INCEPTION)}.items():
        for epochs, rate, decay in _PROJECT:
            name = f"{model}-original-{epochs}"
            found.append(Recipe(name, model, network, arguments, rate, 32, epochs, weight_decay=decay, folds=10))
            # As many epochs, each of as many pictures as there are faces, in bfloat16; a classifier that can be had anywhere
            smaller = {**arguments, **_MOBILENET} if network == "fusion-colorizer" else arguments
            found.append(replace(found[-1], name=f"{name}-cpu", arguments=smaller, share=0.1, precision="bf16-mixed"))
    ours = {"chroma-large-sigmoid": ("chroma-colorizer", _LARGE_SIGMOID), "fusion": ("fusion-colorizer", _MOBILENET)}
    for model, (network, arguments) in {**_LAB_MODELS, **ours}.items():
        changes = _FACES_CHANGES.get(model, {})
        found.append(Recipe(f"{model}-tuned", model, network, arguments, **{**_FACES, **changes}))
    found.append(Recipe("photo-tuned", "photo", "photo-colorizer", _PHOTO_ARGUMENTS, **_PHOTO))
    cuda = {"learning_rate": 0.002, "batch_size": 64, "epochs": 40, "side": 192, "final_side": 256, "learn_encoder": ("",)}
    found.append(Recipe("photo-cuda", "photo", "photo-colorizer", _PHOTO_ARGUMENTS, **{**_PHOTO, **cuda}))
    for name, (arguments, changes) in _PHOTO_ABLATIONS.items():
        options = {**_PHOTO, "epochs": 3, "final_side": 0, **changes}
        found.append(Recipe(f"photo-{name}", "photo", "photo-colorizer", {**_PHOTO_ARGUMENTS, **arguments}, **options))
    return found + _segmenters()


RECIPES = {recipe.name: recipe for recipe in _recipes()}
MODELS = tuple(dict.fromkeys(recipe.model for recipe in RECIPES.values()))


def find(model: str, recipe: str) -> Recipe:
    """The recipe called ``model-recipe``; TrainingError lists the known ones."""
    name = f"{model}-{recipe}"
    if model not in MODELS:
        raise TrainingError(f"There is no model {model!r}; there is: {', '.join(MODELS)}.")
    if name not in RECIPES:
        known = (known.removeprefix(f"{model}-") for known, r in RECIPES.items() if r.model == model)
        raise TrainingError(f"There is no recipe {recipe!r} for {model!r}; there is: {', '.join(known)}.")
    return RECIPES[name]
