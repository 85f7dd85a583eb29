"""Command line of the export side: ``python -m export``."""

import sys
from pathlib import Path

import click

from export.errors import ExportError
from export.specifications import SPECIFICATIONS
from training.errors import TrainingError


class ModelCommands(click.Group):
    """A group with one command for each model, ``python -m export unet CHECKPOINT``, beside its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*SPECIFICATIONS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _model_command(cmd_name) if cmd_name in SPECIFICATIONS else super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"There is no model or command {args[0]}; choose from {known}.", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=ModelCommands, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Export a trained network to one ONNX file, with proof that it computes the same thing."""


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Also prove on real data in this folder, of the kind that CHECKPOINT learnt from: CIFAR-10 horses, face_images,"
    " photographs or flowers.",
)
weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File of the pretrained weights on which CHECKPOINT, a last layer, was trained.  [default: the library's download]",
)
palette_option = click.option("--palette", type=click.Path(path_type=Path), help="Palette of a hand-out checkpoint.")


def _report(report: object) -> None:
    from rich.console import Console
    from rich.table import Table

    from export.parity import FLIPS, TOLERANCE, ParityReport

    assert isinstance(report, ParityReport)
    table = Table(
        title=f"Parity with PyTorch: error as a fraction of the output's range, allowed {TOLERANCE:.0e}, or twice"
        f" float32's own error; flips, allowed {FLIPS:.0e} of all pixels"
    )
    for heading in ("backend", "output", "cases", "largest error", "worst case", "flips"):
        table.add_column(heading)
    groups = dict.fromkeys((f.backend, f.output) for f in report.findings)
    for backend, output in groups:
        findings = [f for f in report.findings if (f.backend, f.output) == (backend, output)]
        worst = max(findings, key=lambda f: max(f.error, f.flips))
        table.add_row(
            backend, output, str(len(findings)), f"{worst.error:.1e}", worst.case, f"{max(f.flips for f in findings):.1e}"
        )
    Console(stderr=True, width=None if sys.stderr.isatty() else 120).print(table)


def _model_command(name: str) -> click.Command:
    @click.command(name, help=f"Export CHECKPOINT, a {SPECIFICATIONS[name].network}, to OUTPUT/{name}.onnx.")
    @click.argument("checkpoint", type=click.Path(path_type=Path))
    @click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("artifacts"), show_default=True
    )
    @data_dir_option
    @palette_option
    @weights_option
    @click.option("--rewrite/--no-rewrite", default=True, show_default=True, help="Give zero-inserted filters native dilation.")
    @click.option(
        "--damage-weight", is_flag=True, help="Change one weight of the graph by 1 % first: the export must then fail."
    )
    def command(
        checkpoint: Path,
        output: Path,
        data_dir: Path | None,
        palette: Path | None,
        weights: Path | None,
        rewrite: bool,
        damage_weight: bool,
    ) -> None:
        from export.to_onnx import export
        from training.checkpoint import load

        path, report = export(
            load(checkpoint, palette, weights), SPECIFICATIONS[name], output, data_dir, damage=damage_weight, rewrite=rewrite
        )
        _report(report)
        click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB", err=True)

    return command


@main.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("checkpoint", type=click.Path(path_type=Path))
@data_dir_option
@palette_option
@weights_option
def check(model: Path, checkpoint: Path, data_dir: Path | None, palette: Path | None, weights: Path | None) -> None:
    """Prove that the ONNX file MODEL still computes what CHECKPOINT computes; exit code 1 when it does not."""
    from export.to_onnx import check as run_check
    from training.checkpoint import load

    _report(run_check(model, load(checkpoint, palette, weights), data_dir))


@main.command()
@click.argument("model", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True),
    required=True,
    help="Photographs, as for `fit photo`, or flowers.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("artifacts"),
    show_default=True,
)
@click.option("--first", type=click.IntRange(1), help="Evaluate on only this many validation pictures.")
def variants(model: Path, data_dir: Path, output: Path, first: int | None) -> None:
    """Make half-precision and 8-bit variants of MODEL, and keep those that are worth it.

    A variant is kept if it is faster here or at most half as large, and loses at most half a point on validation pictures.
    """
    from colorize_run.model.session import Model

    from export.variants import flower_trial, make, photo_trial
    from training.datasets import flowers, photos

    if Model(model.resolve(), "cpu").contract.task == "segment":
        learnt, held_out = flowers.load_splits(data_dir, ("train", "validation"), 0)
        trial = flower_trial(learnt, held_out[:first])
    else:
        train, validation = photos.split(photos.load_photos(data_dir), 0)
        trial = photo_trial(train, validation[:first])
    for outcome in make(model, trial, output):
        figures = ", ".join(
            f"{name} {outcome.figures[name]:.4f} (original {outcome.original[name]:.4f})" for name in trial.counted
        )
        click.echo(
            f"{outcome.name}: size x{outcome.size:.2f}, time x{outcome.time:.2f}, {figures},"
            f" error on golden vectors {outcome.error:.1e}: {'kept' if outcome.kept else 'not kept'}",
            err=True,
        )


@main.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
def card(models: tuple[Path, ...]) -> None:
    """Print the facts of MODELS (ONNX files) as Markdown tables, for their model cards."""
    from export.card import facts

    for path in models:
        click.echo(facts(path))


def run() -> None:
    """Entry point: an error that a user can fix becomes one sentence and exit code 1."""
    from colorize_run.errors import ColorizeRunError

    try:
        main(prog_name="python -m export")
    except (ExportError, TrainingError, ColorizeRunError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    run()
