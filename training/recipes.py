"""Named hyper-parameters: the original ones, and ours."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from training.errors import TrainingError
from training.recipe import Recipe

_MIRROR_AND_SHIFT = ("flip-left-right", "shift-sideways", "shift-up-down")
Template = Callable[..., Recipe]  # `Recipe` with some fields given


def _named(template: Template, recipe: str, model: str, network: str, arguments: dict[str, Any], **changes: Any) -> Recipe:
    """The recipe ``recipe`` of ``model`` by ``template``, with ``changes``."""
    return template(f"{model}-{recipe}", model, network, arguments, **changes)


def _palette_recipes() -> list[Recipe]:
    """CIFAR-10: the networks of the assignment, and a larger UNet."""
    # CSC321 (2018), assignment 2, as handed out
    original = partial(Recipe, learning_rate=0.001, batch_size=10, epochs=25)
    # Large one-cycle steps, mirrored and shifted pictures, averaged weights. 150 epochs with weight decay 0.01 reach half
    # a point more on the UNet, but logits so steep that rounding costs three times as much parity.
    tuned = partial(
        Recipe,
        learning_rate=0.02,
        batch_size=50,
        epochs=90,
        optimizer="adamw",
        weight_decay=0.03,
        schedule="one-cycle",
        ema_decay=0.998,
        precision="bf16-mixed",
        augment=_MIRROR_AND_SHIFT,
        shift=4,
    )
    palette = {"kernel": 3, "num_filters": 32, "num_colours": 24, "in_channels": 1}
    without_channels = {"kernel": 3, "num_filters": 32, "num_colours": 24}
    models: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("cnn", "cnn", palette),
        ("regression-cnn", "regression-cnn", {"kernel": 3, "num_filters": 32, "in_channels": 1}),
        ("unet", "unet", palette),
        ("dilated-unet", "dilated-unet", palette),
        ("unet-downsized", "downsized-unet", without_channels),
    )
    recipes = []
    for model in models:
        recipes += [_named(original, "original", *model), _named(tuned, "tuned", *model)]
    deep = {"num_filters": 32, "num_colours": 24, "in_channels": 1, "dropout": 0.2}
    return [*recipes, _named(tuned, "tuned", "unet-large", "deep-unet", deep, learning_rate=0.01, epochs=60)]


_LAB_MODELS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chroma-regressor", "chroma-regressor", {"architecture": 1}),
    ("chroma-sigmoid", "chroma-colorizer", {"architecture": 2, "output": "sigmoid"}),
    ("chroma-tanh", "chroma-colorizer", {"architecture": 2, "output": "tanh"}),
    ("chroma-large", "chroma-colorizer", {"architecture": 1, "output": "tanh"}),
)
# A small network beside a classifier: the project's large one, and one that can be trained on any machine
_INCEPTION = {"architecture": 2, "output": "tanh", "classifier": "inception_resnet_v2", "classifier_size": 299}
_MOBILENET = {"architecture": 2, "output": "tanh", "classifier": "mobilenetv2_100", "classifier_size": 128}


def _lab_originals() -> list[Recipe]:
    """Faces: the recipes of the Lab project."""
    recipes = []
    for model, network, arguments in (*_LAB_MODELS, ("fusion", "fusion-colorizer", _INCEPTION)):
        for epochs, rate, decay in ((100, 0.005, 1e-7), (400, 1e-4, 1e-5), (50, 0.005, 1e-7)):
            name = f"original-{epochs}"
            project = partial(Recipe, learning_rate=rate, batch_size=32, epochs=epochs, weight_decay=decay, folds=10)
            # For a CPU: as many epochs of a tenth of the pictures, in bfloat16, with the classifier for any machine
            smaller = _MOBILENET if model == "fusion" else arguments
            recipes += [
                _named(project, name, model, network, arguments),
                _named(project, f"{name}-cpu", model, network, smaller, share=0.1, precision="bf16-mixed"),
            ]
    return recipes


def _lab_recipes() -> list[Recipe]:
    """Faces: ours.

    Each batch is mirrored and shifted on top of the ten copies per face: otherwise the mean-chroma regressor memorises the
    ten. With a tenth of the decay the colorizers' errors are 12 to 40 % larger, and on pictures without a face the large
    decoder lets values grow a hundredfold before its last layers reduce them: rounding then exceeds float32's parity.
    """
    tuned = partial(
        Recipe,
        learning_rate=0.003,
        batch_size=50,
        epochs=20,
        optimizer="adamw",
        weight_decay=0.5,
        folds=10,
        schedule="one-cycle",
        precision="bf16-mixed",
        precise_batchnorm=True,
        augment=_MIRROR_AND_SHIFT,
        shift=8,
    )
    # Without noise the first BatchNorm of architecture 1 learns to stretch fine texture, and white noise exceeds parity too
    large = partial(tuned, augment=(*_MIRROR_AND_SHIFT, "grain"))
    regressor, sigmoid, tanh, large_tanh = _LAB_MODELS
    return [
        # Its last bias starts at grey, 0.5: a decay of 0.5 removes that, and pictures without a face turn blue, though
        # faces are 6 % better
        _named(tuned, "tuned", *regressor, epochs=10, weight_decay=0.05),
        _named(tuned, "tuned", *sigmoid),
        _named(tuned, "tuned", *tanh),
        _named(large, "tuned", *large_tanh),
        # Only by our recipe: the project's take hours each, and the small architecture compares the two last layers
        _named(large, "tuned", "chroma-large-sigmoid", "chroma-colorizer", {"architecture": 1, "output": "sigmoid"}),
        _named(tuned, "tuned", "fusion", "fusion-colorizer", _MOBILENET, epochs=15),
    ]


def _photo_recipes() -> list[Recipe]:
    """Photographs: for a CPU, for large collections, for CUDA, and ablations that show what helps."""
    plain = {"num_colours": 128, "encoder": "efficientnet_lite0", "width": 64, "fusion": True, "dilation": True}
    # The first one that shipped, and still the first row of the ablations
    rebalanced = Recipe(
        "photo-rebalanced",
        "photo",
        "photo-colorizer",
        plain,
        learning_rate=0.0015,
        batch_size=32,
        epochs=20,
        optimizer="adamw",
        weight_decay=0.02,
        schedule="one-cycle",
        ema_decay=0.998,
        precision="bf16-mixed",
        rebalance=True,
        chroma_loss=0.05,
        side=128,
        final_side=160,
        learn_encoder=("blocks.4", "blocks.5", "blocks.6"),
    )
    tuned = replace(
        rebalanced,
        name="photo-tuned",
        arguments={**plain, "hints": True},
        rebalance=False,
        learn_encoder=("",),
        ema_decay=0.999,
        colourless=0.06,
    )
    short = replace(rebalanced, name="photo-short", epochs=3, final_side=0)
    return [
        tuned,
        replace(tuned, name="photo-large", epochs=5),  # for collections of 100,000 photographs
        replace(tuned, name="photo-cuda", learning_rate=0.002, batch_size=64, epochs=40, side=192, final_side=256),
        rebalanced,
        short,
        replace(short, name="photo-no-rebalancing", rebalance=False),
        replace(short, name="photo-no-fusion", arguments={**plain, "fusion": False}),
        replace(short, name="photo-no-dilation", arguments={**plain, "dilation": False}),
        replace(short, name="photo-no-chroma-loss", chroma_loss=0.0),
        replace(short, name="photo-regression", arguments={**plain, "num_colours": 0}, rebalance=False),
    ]


def _flower_recipes() -> list[Recipe]:
    """Flowers: our segmenter, and DeepLabV3 as a whole or, as in the original notebook, only its last layer."""
    whole = partial(
        Recipe,
        learning_rate=0.001,
        batch_size=16,
        epochs=16,
        optimizer="adamw",
        weight_decay=0.02,
        augmented=True,
        schedule="one-cycle",
        ema_decay=0.99,
        precision="bf16-mixed",
        side=192,
        final_side=256,
    )
    last_layer = partial(Recipe, learning_rate=0.05, batch_size=128, epochs=10, side=224)
    segmenter = {"num_classes": 2, "encoder": "efficientnet_lite0", "width": 64}
    recipes = [_named(whole, "tuned", "flowers", "segmentation-unet", segmenter)]
    for name, backbone in (
        ("mobilenet-v2", "mobilenet_v2"),
        ("mobilenet-v3", "mobilenet_v3_large"),
        ("resnet50", "resnet50"),
        ("resnet101", "resnet101"),
    ):
        model, arguments = f"deeplab-{name}", {"backbone": backbone, "kernel": 3, "padding": 1}
        changes = {"epochs": 3, "side": 128, "final_side": 0} if name == "resnet101" else {}
        last = {**arguments, "padding": 0, "last_layer_only": True}
        recipes += [
            _named(whole, "tuned", model, "deeplab", arguments, **changes),
            _named(last_layer, "original", model, "deeplab", last),
        ]
    return recipes


RECIPES = {
    recipe.name: recipe
    for recipe in (*_palette_recipes(), *_lab_originals(), *_lab_recipes(), *_photo_recipes(), *_flower_recipes())
}


def models() -> tuple[str, ...]:
    """Names of the models that have a recipe."""
    return tuple(dict.fromkeys(recipe.model for recipe in RECIPES.values()))


def find(model: str, recipe: str) -> Recipe:
    """The recipe called ``model-recipe``; TrainingError lists the known ones."""
    if model not in models():
        raise TrainingError(f"There is no model {model!r}; the models are {', '.join(models())}.")
    names = {known.name.removeprefix(f"{model}-"): known for known in RECIPES.values() if known.model == model}
    if recipe not in names:
        raise TrainingError(f"{model} has no recipe {recipe!r}; its recipes are {', '.join(names)}.")
    return names[recipe]
