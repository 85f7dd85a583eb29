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


def _class_names(classes: str) -> tuple[str, ...]:
    from training.datasets.cifar import CLASSES

    return CLASSES if classes == "all" else tuple(name.strip() for name in classes.split(","))


@main.command()
@click.argument("network", type=click.Choice(["unet"]))
@click.option("--recipe", "recipe_name", default="tuned", show_default=True, help="original (as handed out) or tuned (ours).")
@data_dir_option
@palette_option
@classes_option
@device_option
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Train with DDP on that many devices.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help="Instead of the recipe's.")
@click.option("--seed", type=int, help="Instead of the recipe's.")
@click.option(
    "--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Where results go [default: runs/NETWORK-RECIPE]."
)
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch of the run in --run-dir.")
def fit(
    network: str, recipe_name: str, data_dir: Path, palette: Path | None, classes: str, device: str, devices: int,
    run_dir: Path | None, resume: bool, **changes: object,
) -> None:  # fmt: skip
    """Train NETWORK and leave a checkpoint, curves, picture grids and metrics in the run's folder."""
    from training import recipes
    from training.fit import Machine
    from training.fit import fit as run_fit
    from training.palette import load_palette

    recipe = recipes.find(network, recipe_name).with_changes(**changes)
    folder = run_dir or Path("runs") / recipe.name
    colours = load_palette(palette) if palette else None
    if colours is not None and len(colours) != recipe.arguments["num_colours"]:
        recipe = recipe.with_changes(arguments={**recipe.arguments, "num_colours": len(colours)})
    try:
        path = run_fit(
            recipe, data_dir, folder, classes=_class_names(classes), colours=colours,
            machine=Machine(device, devices), resume=resume,
        )  # fmt: skip
    except KeyboardInterrupt:
        click.echo(f"Interrupted; the same command with --resume goes on from the last whole epoch in {folder}.", err=True)
        sys.exit(130)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    click.echo(f"{path}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()), err=True)


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
    """Print loss and pixel accuracy of CHECKPOINT as JSON; reads the assignment's hand-out weights too."""
    import torch

    from training.checkpoint import load
    from training.datasets.cifar import load_split, to_tensor
    from training.evaluate import evaluate as run_evaluate
    from training.fit import GRID_PICTURES, Machine, save_prediction_grid

    Machine(device).check()
    loaded = load(checkpoint, palette)
    images = load_split(data_dir, split, _class_names(classes), loaded.recipe.get("split_seed", 0))[:first]
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    scores = run_evaluate(loaded, images, chosen)
    if grid:
        rgb = to_tensor(images[:GRID_PICTURES])
        truth = rgb.permute(0, 2, 3, 1).numpy()
        save_prediction_grid(loaded.build(), rgb.mean(dim=1, keepdim=True), truth, loaded.colours, grid)
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
