"""Command line of the training side: ``python -m training``."""

import json
import os
import sys
from pathlib import Path

import click

from training.errors import TrainingError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and evaluate the networks that colorize-run runs."""


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="Folder with CIFAR-10, or with cifar10_horses_train.npz; CIFAR-10 is downloaded there when missing.",
)
palette_option = click.option(
    "--palette",
    type=click.Path(path_type=Path),
    help="Palette file (.npy, also inside a zip: a.zip/colours/x.npy). Default for fit: k-means of the training pictures.",
)
classes_option = click.option(
    "--classes", default="horse", show_default=True, help="CIFAR-10 classes, comma-separated, or all."
)
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def _class_names(classes: str | None) -> tuple[str, ...]:
    from training.datasets.cifar import CLASSES

    return CLASSES if classes == "all" else tuple(name.strip() for name in (classes or "").split(",") if name.strip())


def _augmentations(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    from training.recipes import AUGMENTATIONS

    if value is None:
        return None
    kinds = tuple(kind.strip() for kind in value.split(",") if kind.strip() not in ("", "none"))
    unknown = [kind for kind in kinds if kind not in AUGMENTATIONS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: known are {', '.join(AUGMENTATIONS)}, and none.")
    return kinds


@main.command()
@click.argument("model")
@click.option("--recipe", "recipe_name", default="tuned", show_default=True,
              help="original (of the assignment), original-100, -400, -50 (of the Lab project), or tuned (ours).")  # fmt: skip
@data_dir_option
@palette_option
@classes_option
@click.option("--extra-classes", metavar="CLASSES", help="CIFAR-10 classes that join the training pictures only.")
@device_option
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Train with DDP on that many devices.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Instead of the recipe's.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
@click.option("--augment", callback=_augmentations, metavar="KINDS",
              help="Instead of the recipe's; of flip-left-right, flip-up-down, shift-sideways, shift-up-down.")  # fmt: skip
@click.option("--shift", type=click.IntRange(0, 16), help="Largest shift in pixels, instead of the recipe's.")
@click.option("--rebalance/--no-rebalance", default=None, help="Weigh rare palette colours more (Zhang et al. 2016).")
@click.option("--classifier-weights", type=click.Path(path_type=Path, dir_okay=False, exists=True),
              help="Weights of the classifier in fusion, instead of downloading timm's.")  # fmt: skip
@click.option(
    "--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Where results go [default: runs/MODEL-RECIPE]."
)
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch of the run in --run-dir.")
def fit(
    model: str, recipe_name: str, data_dir: Path, palette: Path | None, classes: str, extra_classes: str | None,
    device: str, devices: int, classifier_weights: Path | None, run_dir: Path | None, resume: bool, **changes: object,
) -> None:  # fmt: skip
    """Train MODEL and leave a checkpoint, curves, picture grids and metrics in the run's folder.

    \b
    On CIFAR-10: cnn, regression-cnn, unet, dilated-unet, unet-large, unet-downsized.
    On faces:    chroma-regressor, chroma-sigmoid, chroma-tanh, chroma-large, fusion.
    """
    from training import recipes
    from training.fit import Data, Machine
    from training.fit import fit as run_fit
    from training.palette import load_palette

    recipe = recipes.find(model, recipe_name).with_changes(**changes)
    folder = run_dir or Path("runs") / recipe.name
    colours = load_palette(palette) if palette else None
    if colours is not None and len(colours) != recipe.arguments.get("num_colours", len(colours)):
        recipe = recipe.with_changes(arguments={**recipe.arguments, "num_colours": len(colours)})
    data = Data(data_dir, _class_names(classes), _class_names(extra_classes), colours, classifier_weights)
    try:
        path = run_fit(recipe, data, folder, machine=Machine(device, devices), resume=resume)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; the same command with --resume goes on from the last whole epoch in {folder}.", err=True)
        sys.exit(130)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    click.echo(f"{path}: " + ", ".join(f"{name} {value:.5g}" for name, value in metrics.items()), err=True)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@data_dir_option
@palette_option
@classes_option
@device_option
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]), default="validation", show_default=True,
              help="train and validation divide the official training set, all is the whole of it.")  # fmt: skip
@click.option("--first", type=click.IntRange(1), help="Only the first so many pictures of the split.")
@click.option(
    "--grid", type=click.Path(path_type=Path, dir_okay=False), help="Write grey, truth and prediction of 12 pictures here."
)
def evaluate(
    checkpoint: Path, data_dir: Path, palette: Path | None, classes: str, device: str, split: str,
    first: int | None, grid: Path | None,
) -> None:  # fmt: skip
    """Print the figures of CHECKPOINT on pictures as JSON; reads the assignment's hand-out weights too."""
    import torch

    from training import plots
    from training.checkpoint import load
    from training.evaluate import Judge, grid_rows, load_split
    from training.evaluate import evaluate as run_evaluate
    from training.fit import GRID_PICTURES, Machine

    Machine(device).check()
    loaded = load(checkpoint, palette)
    images = load_split(loaded.kind, data_dir, split, _class_names(classes), loaded.recipe.get("split_seed", 0))[:first]
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    scores = run_evaluate(loaded, images, chosen)
    if grid:
        judge = Judge.of(loaded.network, loaded.arguments, loaded.colours)
        plots.save_grid(grid_rows(loaded.build(), judge, images[:GRID_PICTURES]), grid)
    click.echo(json.dumps({"checkpoint": str(checkpoint), "split": split, **scores}))


def _with_kept_memory() -> None:
    """Start this process anew with a glibc that keeps freed memory, unless its environment already decides that.

    PyTorch has no caching allocator on the CPU: each large activation is mapped and unmapped again, which made
    epochs 1.6 to 3 times as long. glibc reads these variables only when a process starts.
    """
    kept = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "536870912"}
    if sys.platform == "linux" and not any(name in os.environ for name in kept):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **kept})  # noqa: S606 - our own command line again


def run() -> None:
    """Entry point: a TrainingError becomes one sentence and exit code 1."""
    if sys.argv[1:2] == ["fit"]:
        _with_kept_memory()
    try:
        main(prog_name="python -m training")
    except (TrainingError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
