"""Options that several commands of ``python -m training`` share, and how their values are checked. Imports only click."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from training.recipe import Recipe

AUGMENTATIONS = ("flip-left-right", "flip-up-down", "shift-sideways", "shift-up-down", "grain")

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="Folder with CIFAR-10 or Oxford 17 Flowers (downloaded into it when missing), face_images, or photographs.",
)
palette = click.option(
    "--palette",
    type=click.Path(path_type=Path),
    help="Palette file (.npy, also inside a zip: a.zip/colours/x.npy). Default for fit: k-means of the training pictures.",
)
classes = click.option("--classes", default="horse", show_default=True, help="CIFAR-10 classes, separated by commas, or all.")
weights = click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File of the pretrained weights on which CHECKPOINT, a last layer, was trained.  [default: the library's download]",
)
device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse nan, which no range excludes. Errors: BadParameter."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number.")
    return value


def augmentations(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Split a list of kinds of augmentation; "none" is the empty list. Errors: BadParameter."""
    if value is None:
        return None
    kinds = tuple(kind.strip() for kind in value.split(",") if kind.strip() not in ("", "none"))
    unknown = [kind for kind in kinds if kind not in AUGMENTATIONS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)} is unknown; choose from {', '.join(AUGMENTATIONS)}, or none.")
    return kinds


_RECIPE_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--precision", {"type": click.Choice(["32-true", "bf16-mixed", "16-mixed"])}),
    ("--epochs", {"type": click.IntRange(1)}),
    ("--batch-size", {"type": click.IntRange(1)}),
    ("--learning-rate", {"type": click.FloatRange(0, 100, min_open=True), "callback": number}),
    ("--weight-decay", {"type": click.FloatRange(0, 100), "callback": number}),
    ("--seed", {"type": click.IntRange(0, 2**32 - 1)}),
    ("--ema-decay", {"type": click.FloatRange(0, 1, max_open=True), "callback": number, "help": "; 0: no averaging"}),
    ("--augment", {"callback": augmentations, "metavar": "KINDS", "help": f"; some of {', '.join(AUGMENTATIONS)}"}),
    ("--shift", {"type": click.IntRange(0, 16), "help": ": largest shift in pixels"}),
)


def recipe_changes(command: Any) -> Any:
    """Add an option for each field of a recipe that ``fit`` can change."""
    for name, settings in reversed(_RECIPE_OPTIONS):
        command = click.option(name, **{**settings, "help": f"Instead of the recipe's{settings.get('help', '')}."})(command)
    return command


def weights_file(recipe: "Recipe", weights: str | None) -> Path | None:
    """The file of ``--weights FILE|none``, or None where no file should be read. Errors: UsageError."""
    if weights and recipe.kind.pretrain is None:
        raise click.UsageError(f"{recipe.model} does not start with pretrained weights: omit --weights.")
    if weights in (None, "none"):
        return None
    if not Path(weights).is_file():
        raise click.UsageError(f"There is no file {weights} for --weights.")
    return Path(weights)


def print_interrupted(folder: Path) -> None:
    """Say how to go on after Ctrl-C."""
    from training.resume import latest_state

    if latest_state(folder):
        click.echo(
            f"Interrupted. The same command with --resume continues after the last complete epoch in {folder}.", err=True
        )
    else:
        click.echo("Interrupted before the first epoch was complete: there is nothing to resume.", err=True)
