"""``colorize-run colorize`` and ``segment``: options, and how they are run."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import click

from colorize_run.batch.naming import COLORIZE_NAMES, Naming, segment_names
from colorize_run.batch.plan import Plan, plan
from colorize_run.commands.common import (
    EXIT_CODES,
    chosen,
    device_option,
    lightness_option,
    model_option,
    number,
    saturation_option,
    say,
    temperature_option,
    working_size_option,
)
from colorize_run.commands.picture_options import FOLDERS, batch_options, images_argument
from colorize_run.errors import OptionError
from colorize_run.image.formats import FORMATS
from colorize_run.model.library import DEFAULT_COLORIZE_MODEL, DEFAULT_SEGMENT_MODEL
from colorize_run.options import FORMS, Lightness

if TYPE_CHECKING:
    from colorize_run.batch.messages import Options
    from colorize_run.batch.run import Executor, Listener


@click.command(epilog=FOLDERS + EXIT_CODES, short_help="Colourize pictures and folders.")
@images_argument
@click.option(
    "-o", "--output", type=click.Path(),
    help="File, folder (ending in / or existing), or - for stdout.  [default: NAME.colorized.EXT beside each input]",
)  # fmt: skip
@model_option
@device_option
@click.option("--raw", is_flag=True, help="Write the network's own picture, at its working size, not joined with yours.")
@working_size_option
@temperature_option
@click.option(
    "--keep-colour/--force",
    "--keep-color",
    "keep_colour",
    default=True,
    help="Leave pictures that already have colours unchanged, with a note; or colour them, too.  [default: keep-colour]",
)
@saturation_option
@click.option(
    "--blend",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=number,
    show_default=True,
    help="Share of the new colours; the rest is the picture's own.",
)
@click.option("--mask", type=click.Path(readable=False), help="A picture file: colour only where it is white.")
@click.option(
    "--hint",
    "hint",
    multiple=True,
    metavar="X,Y[,RADIUS]=#RRGGBB",
    help="The colour of a place, in pixels of the picture; may be repeated.",
)
@click.option(
    "--hints",
    type=click.Path(readable=False),
    help="The same in a file: JSON, or a transparent picture of the same shape, painted where the colour is known.",
)
@click.option("--like", type=click.Path(readable=False), help="A picture file: borrow the colours that it has.")
@lightness_option
@click.option(
    "--upright", is_flag=True, help="Turn the pixels of a JPEG that lies on its side, instead of keeping the tag that says so."
)
@click.option("--confidence", is_flag=True, help="Write how sure the network is instead of colours: white where it is.")
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Omit EXIF, XMP, IPTC, comments, and the note that a model made the colours; profile and resolution stay.",
)
@batch_options
def colorize(
    images: tuple[str, ...], output: str | None, model: str | None, device: str, raw: bool, working_size: int | None,
    temperature: float | None, keep_colour: bool, saturation: float, blend: float, mask: str | None,
    hint: tuple[str, ...], hints: str | None, like: str | None, lightness: Lightness, upright: bool, confidence: bool,
    strip_metadata: bool, **batch: Any,
) -> None:  # fmt: skip
    """Colourize IMAGE…: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000, PNM or HEIC, every frame; - reads one from stdin.

    For a FOLDER, every picture in it is colourized.
    """
    from colorize_run.batch.messages import Options

    if raw and (saturation != 1 or blend != 1 or mask):
        raise click.UsageError("--raw writes the network's own picture: omit --saturation, --blend and --mask.")
    if raw and (hint or hints or like or confidence):
        raise click.UsageError("--raw writes the network's own picture: omit --hint, --hints, --like and --confidence.")
    if confidence and (saturation != 1 or blend != 1 or mask or like):
        raise click.UsageError("--confidence writes no colours: omit --saturation, --blend, --mask and --like.")
    if "" in (hints, like, mask):
        raise click.UsageError("--hints, --like and --mask need the name of a file, but one is empty.")
    if hint:
        from colorize_run.hints import parse_hint

        with _as_usage_errors():
            for text in hint:
                parse_hint(text)
    planned = _plan(images, output, COLORIZE_NAMES, batch)
    if (hint or hints) and (planned.folders or len(planned.tasks) != 1):
        raise click.UsageError("--hint and --hints are places of one picture: give one IMAGE.")
    name, device, threads = chosen(model, DEFAULT_COLORIZE_MODEL, device)
    options = Options(
        "colorize", name, device, working_size, temperature, raw, saturation, blend, mask, keep_colour,
        strip_metadata=strip_metadata,
        max_pixels=batch["max_pixels"],
        accept_damaged=batch["accept_damaged"],
        cmyk_profile=batch["cmyk_profile"],
        hint=" ".join("".join(text.split()) for text in hint),
        hints=hints,
        like=like,
        confidence=confidence,
        lightness=lightness,
        upright=upright,
        overwrite=batch["overwrite"],
        threads=threads,
        keep_times=batch["keep_times"],
    )  # fmt: skip
    _run(planned, options, batch["jobs"], batch["reports"])


@click.command(epilog=EXIT_CODES, short_help="Segment pictures: masks, overlays, cut-outs.")
@images_argument
@click.option(
    "--as", "as_", type=click.Choice(FORMS), default="mask", show_default=True,
    help="mask: an indexed PNG of classes; soft: a grey PNG, white where sure; overlay: classes drawn over the picture;"
    " cutout: the picture on a transparent background.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(),
    help="File, folder (ending in / or existing), or - for stdout.  [default: NAME.mask.png and so on beside each input]",
)  # fmt: skip
@click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: flowers]")
@device_option
@working_size_option
@click.option("--strip-metadata", is_flag=True, help="Omit EXIF, XMP and IPTC from overlays and cut-outs.")
@batch_options
def segment(
    images: tuple[str, ...], as_: str, output: str | None, model: str | None, device: str, working_size: int | None,
    strip_metadata: bool, **batch: Any,
) -> None:  # fmt: skip
    """Find what each IMAGE shows, at full size, with outlines along its own edges. For a FOLDER, every picture in it."""
    from colorize_run.batch.messages import Options

    planned = _plan(images, output, segment_names(as_), batch)
    if as_ in ("mask", "soft") and any(task.kind not in (None, "PNG") for task in planned.tasks):
        raise click.UsageError(f"A {as_} is written as PNG: give -o a name that ends in .png.")
    if as_ == "cutout" and (flat := [task.kind for task in planned.tasks if task.kind and not FORMATS[task.kind].alpha]):
        raise click.UsageError(f"A cut-out has transparency, which {flat[0]} cannot hold: end the name after -o in .png.")
    name, device, threads = chosen(model, DEFAULT_SEGMENT_MODEL, device)
    options = Options(
        "segment",
        name,
        device,
        working_size,
        view=as_,
        strip_metadata=strip_metadata,
        max_pixels=batch["max_pixels"],
        accept_damaged=batch["accept_damaged"],
        cmyk_profile=batch["cmyk_profile"],
        overwrite=batch["overwrite"],
        threads=threads,
        keep_times=batch["keep_times"],
    )
    _run(planned, options, batch["jobs"], batch["reports"])


@contextlib.contextmanager
def _as_usage_errors() -> Iterator[None]:
    """Show an OptionError as click shows wrong options: with the command's usage."""
    try:
        yield
    except OptionError as error:
        raise click.UsageError(str(error)) from error


def _plan(names: tuple[str, ...], output: str | None, naming: Naming, batch: dict[str, Any]) -> Plan:
    with _as_usage_errors():
        planned = plan(names, output, naming, recursive=batch["recursive"], overwrite=batch["overwrite"])
    if batch["keep_times"] and planned.uses_streams:
        raise click.UsageError("--keep-times cannot be combined with stdin or stdout, which have no times.")
    return planned


def _run(planned: Plan, options: "Options", jobs: int | None, reports: tuple[str, ...]) -> None:
    """Do what was planned; exits with a code other than 0 when some failed."""
    from colorize_run.batch.run import Run

    if not planned.tasks:
        _say_nothing_to_do(planned)
    listeners: list[Listener] = []
    if reports:
        from colorize_run.batch.page import side_for
        from colorize_run.batch.report import reports_to

        pages = any(name.lower().endswith(".html") for name in reports)
        options = replace(options, measure=True, thumbnails=side_for(len(planned.tasks)) if pages else 0)
        with _as_usage_errors():
            listeners += reports_to(reports, planned, options)
    start = _executor(planned, options, jobs)
    summary = Run(planned, options, [*listeners, _progress(planned)], say)(start)
    if summary.exit_code:
        sys.exit(summary.exit_code)


def _progress(planned: Plan) -> "Listener":
    """A bar where stderr is a terminal and folders are done, else lines."""
    if planned.folders and sys.stderr is not None and sys.stderr.isatty():
        from colorize_run.batch.bar import Bar

        return Bar(say)
    from colorize_run.batch.progress import Lines

    return Lines(say)


def _say_nothing_to_do(planned: Plan) -> NoReturn:
    """Print why there is no picture to convert, and exit."""
    for failure in planned.failures:
        say(f"error: {failure.reason}")
    codes = {failure.code for failure in planned.failures}
    sys.exit(codes.pop() if len(codes) == 1 else 1)


def _executor(planned: Plan, options: "Options", jobs: int | None) -> "Callable[[], Executor]":
    """A function that starts the conversion: workers for folders or with --jobs, else this process."""
    with_workers = planned.folders or jobs is not None
    if with_workers and planned.uses_streams:
        raise click.UsageError("--jobs cannot be combined with stdin or stdout.")

    def start() -> "Executor":
        executor = _pool(planned, options, jobs) if with_workers else _in_process(options)
        if options.device == "auto":
            say(f"device: {executor.engine.device} ({executor.engine.why})")
        return executor

    return start


def _pool(planned: Plan, options: "Options", jobs: int | None) -> "Executor":
    from colorize_run.batch.pool import Pool

    return Pool(options, jobs, len(planned.tasks))


def _in_process(options: "Options") -> "Executor":
    from colorize_run.batch.in_process import InProcess

    return InProcess(options)
