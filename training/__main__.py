"""Command line of the training side: ``python -m training``."""

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training.errors import TrainingError

if TYPE_CHECKING:
    from training.recipes import Recipe


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and evaluate the networks that colorize-run runs."""


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data"),
    show_default=True,
    help="Folder with CIFAR-10 or Oxford 17 Flowers (downloaded there when missing), face_images, or photographs.",
)
palette_option = click.option(
    "--palette",
    type=click.Path(path_type=Path),
    help="Palette file (.npy, also inside a zip: a.zip/colours/x.npy). Default for fit: k-means of the training pictures.",
)
classes_option = click.option(
    "--classes", default="horse", show_default=True, help="CIFAR-10 classes, comma-separated, or all."
)
weights_option = click.option(
    "--weights", type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="File of pretrained weights that CHECKPOINT, a last layer, was trained upon.  [default: the library's download]",
)  # fmt: skip
device_option = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)


def _class_names(classes: str | None) -> tuple[str, ...]:
    from training.datasets.cifar import CLASSES

    return CLASSES if classes == "all" else tuple(name.strip() for name in (classes or "").split(",") if name.strip())


def _number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and math.isnan(value):  # which no range excludes
        raise click.BadParameter("nan is no number.")
    return value


def _augmentations(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    from training.recipes import AUGMENTATIONS

    if value is None:
        return None
    kinds = tuple(kind.strip() for kind in value.split(",") if kind.strip() not in ("", "none"))
    unknown = [kind for kind in kinds if kind not in AUGMENTATIONS]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: known are {', '.join(AUGMENTATIONS)}, and none.")
    return kinds


def _weights_file(recipe: "Recipe", weights: str | None) -> Path | None:
    """The file of ``--weights FILE|none``, or None where there is none to read. Errors: UsageError."""
    if weights and not recipe.begins_with_weights:
        raise click.UsageError(f"{recipe.model} begins with no pretrained weights: leave --weights away.")
    if weights in (None, "none"):
        return None
    if not Path(weights).is_file():
        raise click.UsageError(f"There is no file {weights} for --weights.")
    return Path(weights)


def _say_interrupted(folder: Path) -> None:
    from training.resume import latest_state

    if latest_state(folder):
        click.echo(f"Interrupted; the same command with --resume goes on from the last whole epoch in {folder}.", err=True)
    else:
        click.echo("Interrupted before the first epoch was whole: there is nothing to resume.", err=True)


@main.command()
@click.argument("model")
@click.option("--recipe", "recipe_name", default="tuned", show_default=True,
              help="original (the assignment's or the flower notebook's), original-100, -400, -50 (the Lab project's;"
              " original-400-cpu and so on: a tenth of the pictures in each epoch), or tuned (ours).")  # fmt: skip
@data_dir_option
@palette_option
@classes_option
@click.option("--extra-classes", metavar="CLASSES", help="CIFAR-10 classes that join the training pictures only.")
@device_option
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Train with DDP on that many devices.")
@click.option("--precision", type=click.Choice(["32-true", "bf16-mixed", "16-mixed"]), help="Instead of the recipe's.")
@click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option("--batch-size", type=click.IntRange(1), help="Instead of the recipe's.")
@click.option(
    "--learning-rate", type=click.FloatRange(0, 100, min_open=True), callback=_number, help="Instead of the recipe's."
)
@click.option("--weight-decay", type=click.FloatRange(0, 100), callback=_number, help="Instead of the recipe's.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the recipe's.")
@click.option("--ema-decay", type=click.FloatRange(0, 1, max_open=True), callback=_number,
              help="Instead of the recipe's; 0: no averaging.")  # fmt: skip
@click.option("--augment", callback=_augmentations, metavar="KINDS",
              help="Instead of the recipe's; of flip-left-right, flip-up-down, shift-sideways, shift-up-down,"
              " grain.")  # fmt: skip
@click.option("--shift", type=click.IntRange(0, 16), help="Largest shift in pixels, instead of the recipe's.")
@click.option("--rebalance/--no-rebalance", default=None, help="Weigh rare palette colours more (Zhang et al. 2016).")
@click.option("--colours", type=click.IntRange(2, 256), help="Size of the k-means palette, where no --palette is given.")
@click.option("--encoder", help="Of photo and flowers, any of timm's with five scales.  [default: efficientnet_lite0]")
@click.option("--weights", metavar="FILE|none",
              help="Pretrained weights (of the classifier in fusion, the encoder in photo and flowers, all but the last layer"
              " in deeplab-…) instead of their package's or library's; none: begin at random.")  # fmt: skip
@click.option(
    "--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Where results go [default: runs/MODEL-RECIPE]."
)
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch of the run in --run-dir.")
def fit(
    model: str, recipe_name: str, data_dir: Path, palette: Path | None, classes: str, extra_classes: str | None,
    device: str, devices: int, colours: int | None, encoder: str | None, weights: str | None,
    run_dir: Path | None, resume: bool, **changes: object,
) -> None:  # fmt: skip
    """Train MODEL and leave a checkpoint, curves, picture grids and metrics in the run's folder.

    \b
    On CIFAR-10: cnn, regression-cnn, unet, dilated-unet, unet-large, unet-downsized.
    On faces:    chroma-regressor, chroma-sigmoid, chroma-tanh, chroma-large, chroma-large-sigmoid, fusion.
    On photos:   photo.
    On flowers:  flowers, deeplab-mobilenet-v2, deeplab-mobilenet-v3, deeplab-resnet50, deeplab-resnet101.
    """
    from training import recipes
    from training.fit import Data, Machine
    from training.fit import fit as run_fit
    from training.palette import load_palette

    if palette and colours:
        raise click.UsageError("--palette brings its own number of colours: leave --colours away.")
    recipe = recipes.find(model, recipe_name).with_changes(**changes).with_encoder(encoder)
    pretrained = _weights_file(recipe, weights)
    recipe = recipe.with_changes(from_scratch=weights == "none")
    folder = run_dir or Path("runs") / recipe.name
    given = load_palette(palette) if palette else None
    recipe = recipe.with_colours(colours if given is None else len(given), asked=colours is not None)
    data = Data(data_dir, _class_names(classes), _class_names(extra_classes), given, pretrained)
    try:
        path = run_fit(recipe, data, folder, machine=Machine(device, devices), resume=resume)
    except KeyboardInterrupt:
        _say_interrupted(folder)
        sys.exit(130)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    click.echo(f"{path}: " + ", ".join(f"{name} {value:.5g}" for name, value in metrics.items()), err=True)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@data_dir_option
@palette_option
@click.option("--classes", help="CIFAR-10 classes, comma-separated, or all.  [default: those it was trained on]")
@weights_option
@device_option
@click.option("--split", type=click.Choice(["train", "validation", "test", "all"]), default="validation", show_default=True,
              help="train and validation divide the official training set, all is the whole of it.")  # fmt: skip
@click.option("--first", type=click.IntRange(1), help="Only the first so many pictures of the split.")
@click.option("--photos", "on_photos", is_flag=True, help="Judge a palette network of CIFAR-10 on photographs instead.")
@click.option(
    "--grid", type=click.Path(path_type=Path, dir_okay=False), help="Write grey, truth and prediction of 12 pictures here."
)
def evaluate(
    checkpoint: Path, data_dir: Path, palette: Path | None, classes: str | None, weights: Path | None, device: str, split: str,
    first: int | None, on_photos: bool, grid: Path | None,
) -> None:  # fmt: skip
    """Print the figures of CHECKPOINT on pictures as JSON; reads the assignment's hand-out weights too."""
    import torch

    from training import plots
    from training.checkpoint import load
    from training.evaluation import pixels as judging
    from training.files import check_writable
    from training.fit import Machine
    from training.networks import NETWORKS

    if grid:
        if grid.suffix.lower() != ".png":
            raise click.UsageError(f"--grid writes PNG: {grid} should end in .png.")
        check_writable(grid)
    Machine(device).check()
    loaded = load(checkpoint, palette, weights)
    judging.refuse_what_means_nothing(loaded, classes=classes is not None, on_photos=on_photos, grid=grid is not None)
    names = judging.classes_to_judge(loaded, None if classes is None else _class_names(classes), split)
    kind = NETWORKS["photo-colorizer"] if on_photos else loaded.kind
    images: Any = judging.load_split(kind, data_dir, split, names, loaded.recipe.get("split_seed", 0))[:first]
    chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    if on_photos:
        scores = judging.evaluate_on_photos(judging.small_predictor(loaded, chosen), images)
    else:
        scores = judging.evaluate(loaded, images, chosen)
    click.echo(json.dumps({"checkpoint": str(checkpoint), "split": split, **scores}))
    if grid:
        judge: Any = judging.judge_of(loaded.network, loaded.arguments, loaded.colours)
        plots.save_grid(judge.rows(loaded.build(), images[: judge.grid_pictures]), grid, judge.grid_scale)


@main.command()
@click.argument("models", nargs=-1)
@click.option("--recipe", "recipe_name", help="Describe MODELS as this recipe builds them.  [default: tuned]")
@click.option("--size", type=click.IntRange(64, 4096), help="Side of the input for shapes and MACs, a multiple of 64.")
def describe(models: tuple[str, ...], recipe_name: str | None, size: int | None) -> None:
    """Describe MODELS layer by layer; without any, sum all of them up and answer the assignment's questions.

    MACs are multiply-accumulates on one picture of 32 x 32 (palette networks), 128 x 128 (Lab networks) or 256 x 256.
    Filters that are spread by hand are counted with their zeros, as PyTorch computes them, and without, as the export does.
    """
    from training.inspection.tables import describe_all, describe_one

    if recipe_name and not models:
        raise click.UsageError("--recipe is of a model: name the MODELS to describe.")
    for model in models:
        describe_one(model, recipe_name or "tuned", size)
    if not models:
        describe_all(size)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@palette_option
@weights_option
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for the sheets.  [default: activations/MODEL-IMAGE]")  # fmt: skip
@click.option("--short-side", type=click.IntRange(4, 1024), help="Reduce IMAGE to this first.  [default: 32, 128 or 224]")
def activations(
    checkpoint: Path, image: Path, palette: Path | None, weights: Path | None, output: Path | None, short_side: int | None
) -> None:
    """Write sheets of the feature maps of every block of CHECKPOINT on IMAGE, with input, truth and output."""
    from training.checkpoint import load
    from training.inspection.activations import read_picture, save

    loaded = load(checkpoint, palette, weights)
    folder = output or Path("activations") / f"{loaded.model}-{image.stem}"
    for path, shown in save(loaded, read_picture(image, loaded, short_side), folder).items():
        click.echo(f"{path}: {shown}", err=True)


@main.command("palette")
@click.option("--colours", type=click.IntRange(2, 256), default=24, show_default=True)
@data_dir_option
@classes_option
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("palette.npy"), show_default=True)
def make_palette(colours: int, data_dir: Path, classes: str, seed: int, output: Path) -> None:
    """Cluster the training pictures into a palette for `fit --palette`, and draw it beside it as PNG."""
    import numpy as np

    from training import plots
    from training.clustering import kmeans_palette
    from training.conventions import FROM_256THS
    from training.datasets.cifar import load_split
    from training.files import check_writable, replacing

    if output.suffix != ".npy":
        raise click.UsageError(f"{output} should end in .npy; the picture of the palette goes beside it.")
    for path in (output, output.with_suffix(".png")):
        check_writable(path)
    images = load_split(data_dir, "train", _class_names(classes), 0)
    found = kmeans_palette(images, colours, seed)
    found = found[found.sum(axis=1).argsort()]
    with replacing(output) as partial, partial.open("wb") as file:
        np.save(file, found)
    plots.save_picture(np.repeat(found[None], 2, axis=0) * np.float32(FROM_256THS), output.with_suffix(".png"), scale=24)
    click.echo(f"{output}: {colours} colours; {output.with_suffix('.png')}", err=True)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def results(runs: tuple[Path, ...]) -> None:
    """Print the figures of those of RUNS (their folders) that are finished as a Markdown table."""
    from training.inspection.results import read, table

    reports, unfinished = {}, []
    for run in runs:
        try:
            reports[run] = read(run)
        except TrainingError as error:
            unfinished.append(error)
    if not reports:
        raise unfinished[0]
    for reason in unfinished:
        click.echo(f"Left out: {reason}", err=True)
    click.echo(table(reports))


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
