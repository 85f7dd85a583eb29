"""Command line of the training side: ``python -m training``.

Imports inside functions: PyTorch takes seconds to import, and help and wrong options should be answered at once.
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from training import options
from training.errors import TrainingError
from training.malloc import restart_with_cached_memory

if TYPE_CHECKING:
    pass


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Train and evaluate the networks that colorize-run runs."""


def _class_names(classes: str | None) -> tuple[str, ...]:
    from training.datasets.cifar import CLASSES

    return CLASSES if classes == "all" else tuple(name.strip() for name in (classes or "").split(",") if name.strip())


class _FitCommand(click.Command):
    """``fit``, whose help lists the models: the recipes know them, and are imported only for that."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from training.families import family_of
        from training.recipes import RECIPES

        models: dict[str, dict[str, None]] = {}
        for recipe in RECIPES.values():
            models.setdefault(family_of(recipe.kind).name, {})[recipe.model] = None
        with formatter.section("Models"):
            for family, names in models.items():
                lines = textwrap.wrap(f"on {family}: {', '.join(names)}", formatter.width - 6, break_on_hyphens=False)
                formatter.write(textwrap.indent("\n    ".join(lines), "  ") + "\n")


@main.command(cls=_FitCommand)
@click.argument("model")
@click.option(
    "--recipe",
    "recipe_name",
    default="tuned",
    show_default=True,
    help="original (the assignment's or the flower notebook's), original-100, -400, -50 (the Lab project's;"
    " original-400-cpu and so on: a tenth of the pictures in each epoch), or tuned (ours).",
)
@options.data_dir
@options.palette
@options.classes
@click.option("--extra-classes", metavar="CLASSES", help="CIFAR-10 classes that are added to the training pictures only.")
@options.device
@click.option("--devices", type=click.IntRange(1), default=1, show_default=True, help="Number of devices to train on, by DDP.")
@options.recipe_changes
@click.option("--rebalance/--no-rebalance", default=None, help="Give rare palette colours more weight (Zhang et al. 2016).")
@click.option("--colours", type=click.IntRange(2, 256), help="Size of the k-means palette, without --palette.")
@click.option("--encoder", help="For photo and flowers: any encoder of timm with five scales.  [default: efficientnet_lite0]")
@click.option(
    "--weights",
    metavar="FILE|none",
    help="Pretrained weights (of the classifier in fusion, the encoder in photo and flowers, all but the last layer"
    " in deeplab-…) instead of those of their package or library; none: start at random.",
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CHECKPOINT",
    help="Begin with the weights and the palette of a trained network, such as artifacts/checkpoints/photo.pt.",
)
@click.option(
    "--run-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results.  [default: runs/MODEL-RECIPE]"
)
@click.option("--resume", is_flag=True, help="Continue after the last complete epoch of the run in --run-dir.")
def fit(
    model: str,
    recipe_name: str,
    data_dir: Path,
    palette: Path | None,
    classes: str,
    extra_classes: str | None,
    device: str,
    devices: int,
    colours: int | None,
    encoder: str | None,
    weights: str | None,
    start_from: Path | None,
    run_dir: Path | None,
    resume: bool,
    **changes: object,
) -> None:
    """Train MODEL; write a checkpoint, curves, picture grids and metrics into --run-dir."""
    from training import recipes
    from training.checkpoint import load
    from training.families import Data
    from training.fit import Machine
    from training.fit import fit as run_fit
    from training.palette import load_palette

    if palette and colours:
        raise click.UsageError("--palette decides the number of colours: omit --colours.")
    if start_from and (palette or colours or weights):
        raise click.UsageError("--start-from gives weights and palette: omit --weights, --palette and --colours.")
    recipe = recipes.find(model, recipe_name).with_changes(**changes).with_encoder(encoder)
    pretrained = options.weights_file(recipe, weights)
    recipe = recipe.with_changes(from_scratch=weights == "none")
    folder = run_dir or Path("runs") / recipe.name
    given = load(start_from).colours if start_from else load_palette(palette) if palette else None
    recipe = recipe.with_colours(colours if given is None else len(given), asked=colours is not None)
    given = None if start_from else given  # the data take it from the checkpoint
    data = Data(data_dir, _class_names(classes), _class_names(extra_classes), given, pretrained, start_from)
    try:
        path = run_fit(recipe, data, folder, machine=Machine(device, devices), resume=resume)
    except KeyboardInterrupt:
        options.print_interrupted(folder)
        sys.exit(130)
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    click.echo(f"{path}: " + ", ".join(f"{name} {value:.5g}" for name, value in metrics.items()), err=True)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@options.data_dir
@options.palette
@click.option("--classes", help="CIFAR-10 classes, separated by commas, or all.  [default: those of the training]")
@options.weights
@options.device
@click.option(
    "--split",
    type=click.Choice(["train", "validation", "test", "sources", "all"]),
    default="validation",
    show_default=True,
    help="train and validation divide the official training set; all is the whole of it; sources are photographs of whole"
    " sources that are never trained on (held-out.txt beside a manifest).",
)
@click.option("--first", type=click.IntRange(1), help="Use only this many pictures of the split.")
@click.option("--photos", "on_photos", is_flag=True, help="Evaluate a palette network for CIFAR-10 on photographs instead.")
@click.option(
    "--grid",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw input, truth and prediction of a few pictures into this PNG.",
)
def evaluate(
    checkpoint: Path,
    data_dir: Path,
    palette: Path | None,
    classes: str | None,
    weights: Path | None,
    device: str,
    split: str,
    first: int | None,
    on_photos: bool,
    grid: Path | None,
) -> None:
    """Print the figures of CHECKPOINT on pictures as JSON; also reads the weights of the assignment's hand-out."""
    from training import evaluate as evaluation
    from training import plots
    from training.checkpoint import load
    from training.evaluation.photos import report
    from training.families import PHOTOGRAPHS, family_of
    from training.files import check_writable
    from training.fit import Machine

    if grid:
        if grid.suffix.lower() != ".png":
            raise click.UsageError(f"--grid writes PNG: {grid} should end in .png.")
        check_writable(grid)
    Machine(device).check()
    loaded = load(checkpoint, palette, weights)
    asked = classes is not None
    evaluation.refuse_useless_options(loaded, split=split, classes=asked, on_photos=on_photos, grid=grid is not None)
    names = evaluation.classes_to_evaluate(loaded, None if classes is None else _class_names(classes), split)
    family = PHOTOGRAPHS if on_photos else family_of(loaded.kind)
    images = family.load_split(data_dir, split, names, loaded.split_seed)[:first]
    chosen = "cuda" if Machine(device).on_cuda else "cpu"
    predict = evaluation.small_predictor(loaded, chosen) if on_photos else None
    scores = report(predict, images) if predict else evaluation.evaluate(loaded, images, chosen)
    click.echo(json.dumps({"checkpoint": str(checkpoint), "split": split, **scores}))
    if grid:
        evaluator = evaluation.evaluator_of(loaded)
        plots.save_grid(evaluator.rows(loaded.build(), images[: evaluator.grid_pictures]), grid, evaluator.grid_scale)


@main.command()
@click.argument("models", nargs=-1)
@click.option("--recipe", "recipe_name", help="Describe MODELS as this recipe builds them.  [default: tuned]")
@click.option("--size", type=click.IntRange(64, 4096), help="Side of the input for shapes and MACs, a multiple of 64.")
def describe(models: tuple[str, ...], recipe_name: str | None, size: int | None) -> None:
    """Describe MODELS layer by layer; without MODELS, summarise all of them and answer the assignment's questions.

    MACs are multiply-accumulates on one picture of 32 x 32 (palette networks), 128 x 128 (Lab networks) or 256 x 256.
    Filters with inserted zeros are counted twice: with the zeros, as PyTorch computes them, and without, as exported.
    """
    from training.inspection.tables import describe_all, describe_one

    if recipe_name and not models:
        raise click.UsageError("--recipe needs MODELS: name the models to describe.")
    for model in models:
        describe_one(model, recipe_name or "tuned", size)
    if not models:
        describe_all(size)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@options.palette
@options.weights
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the sheets.  [default: activations/MODEL-IMAGE]",
)
@click.option("--short-side", type=click.IntRange(4, 1024), help="Reduce IMAGE to this first.  [default: 32, 128 or 224]")
def activations(
    checkpoint: Path, image: Path, palette: Path | None, weights: Path | None, output: Path | None, short_side: int | None
) -> None:
    """Draw the feature maps of every block of CHECKPOINT on IMAGE as sheets, with input, truth and output."""
    from training.checkpoint import load
    from training.inspection.activations import read_picture, save

    loaded = load(checkpoint, palette, weights)
    folder = output or Path("activations") / f"{loaded.model}-{image.stem}"
    for path, contents in save(loaded, read_picture(image, loaded, short_side), folder).items():
        click.echo(f"{path}: {contents}", err=True)


@main.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
def half(checkpoint: Path, output: Path) -> None:
    """Write CHECKPOINT with its weights in half precision: half as large, to be kept beside the file exported from it."""
    from training.checkpoint import load

    if not output.parent.is_dir():
        raise TrainingError(f"The folder {output.parent} does not exist: create it, or write elsewhere.")
    load(checkpoint).in_half_precision().save(output)
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB", err=True)


@main.command("palette")
@click.option("--colours", type=click.IntRange(2, 256), default=24, show_default=True)
@options.data_dir
@options.classes
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("palette.npy"), show_default=True)
def make_palette(colours: int, data_dir: Path, classes: str, seed: int, output: Path) -> None:
    """Cluster the training pictures into a palette for `fit --palette`, and draw it beside it as PNG."""
    from training.clustering import save_palette

    if output.suffix != ".npy":
        raise click.UsageError(f"{output} should end in .npy; the picture of the palette is written beside it.")
    save_palette(output, data_dir, _class_names(classes), colours, seed)
    click.echo(f"{output}: {colours} colours; {output.with_suffix('.png')}", err=True)


@main.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
def results(runs: tuple[Path, ...]) -> None:
    """Print the figures of the finished ones of RUNS (folders of runs) as a Markdown table."""
    from training.inspection.results import read, table

    reports: dict[Path, dict[str, Any]] = {}
    unfinished = []
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


def run() -> None:
    """Entry point: a TrainingError becomes one sentence and exit code 1."""
    if sys.argv[1:2] == ["fit"]:
        restart_with_cached_memory()
    try:
        main(prog_name="python -m training")
    except (TrainingError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
