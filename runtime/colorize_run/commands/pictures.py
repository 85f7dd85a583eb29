"""``colorize-run colorize`` and ``segment``: which picture goes where, and what is said of it."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from colorize_run.commands.common import (
    EXIT_CODES,
    announce,
    chosen,
    device_option,
    internal,
    is_interrupt,
    model_option,
    number,
    say,
)
from colorize_run.errors import ColorizeRunError, ImageFileError, OptionError, OutputError

if TYPE_CHECKING:
    from colorize_run.colorize import Colorizer, Result
    from colorize_run.control import Control
    from colorize_run.segment import Form

_STANDARD = Path("-")
_MAX_STANDARD_INPUT = 1 << 30


@click.command(epilog=EXIT_CODES)
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False), metavar="IMAGE…")
@click.option(
    "-o", "--output", type=click.Path(),
    help="File, folder (ending in / or existing), or - for stdout.  [default: NAME.colorized.EXT beside each input]",
)  # fmt: skip
@model_option
@device_option
@click.option("--raw", is_flag=True, help="The network's own picture at its working size, not joined with the photograph.")
@click.option(
    "--working-size",
    type=click.IntRange(1),
    metavar="PIXELS",
    help="Short side at which the network sees the picture, while its long side allows it.  [default: the model's]",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0.01, 10),
    callback=number,
    help="Of a palette model: lower is more colourful, and blotchier.  [default: the model's]",
)
@click.option(
    "--keep-colour/--force",
    default=True,
    help="Leave pictures that have colours already as they are, with a note, or colour these, too.  [default: keep-colour]",
)
@click.option(
    "--saturation",
    type=click.FloatRange(0, 4),
    default=1.0,
    callback=number,
    show_default=True,
    help="Strength of the new colours: 0 is grey, 1 the model's own.",
)
@click.option(
    "--blend",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=number,
    show_default=True,
    help="Share of the new colours; the rest are the picture's own.",
)
@click.option("--mask", type=click.Path(readable=False), help="A picture: colour only where it is white.")
@click.option("--confidence", type=click.Path(), help="Write how sure the model is as a grey PNG; white is sure.")
@click.option(
    "--strip-metadata",
    is_flag=True,
    help="Leave out EXIF, XMP, IPTC, comments, and that a model made the colours; profile and resolution stay.",
)
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures before decoding.  [default: 125000000]")
def colorize(
    images: tuple[str, ...], output: str | None, model: str | None, device: str, raw: bool, working_size: int | None,
    temperature: float | None, keep_colour: bool, saturation: float, blend: float, mask: str | None, confidence: str | None,
    strip_metadata: bool, overwrite: bool, max_pixels: int | None,
) -> None:  # fmt: skip
    """Colourize IMAGE…: JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC, every frame; - reads one from stdin."""
    from colorize_run.image_file import MAX_PIXELS

    _prepare_pillow()
    if raw and (saturation != 1 or blend != 1 or mask or confidence):
        raise click.UsageError(
            "--raw shows the network's own picture: --saturation, --blend, --mask and --confidence mean nothing."
        )
    if confidence and len(images) > 1:
        raise click.UsageError("--confidence names one file: give one picture.")
    jobs = _plan(images, output, _beside_colorized)
    control = _control(saturation, blend, mask, keep_colour)
    inputs = _identities((*(source for source, _, _ in jobs), Path(mask or os.devnull)))
    options = Options(overwrite, max_pixels or MAX_PIXELS, inputs, Path(confidence) if confidence else None)
    colorizer = _open_colorizer(model, device, working_size, temperature)
    if confidence and not colorizer.says_confidence:
        raise OptionError(f"{colorizer.model.path} does not say how sure it is: leave --confidence away.")

    def convert(source: Source, kind: str | None) -> "tuple[bytes, Result]":
        return colorizer.colorize_file(
            source, kind, raw=raw, max_pixels=options.max_pixels, keep_metadata=not strip_metadata, control=control
        )

    _process_all(convert, jobs, options)


def _process_all(convert: "Convert", jobs: "list[Job]", options: "Options") -> None:
    """Convert every picture; exits with a code other than 0 when some failed."""
    codes = [_process(convert, job, options) for job in jobs]
    failed = [code for code in codes if code]
    if failed:
        if len(codes) > 1:
            say(f"{len(failed)} of {len(codes)} pictures failed.")
        sys.exit(failed[0] if len(failed) == len(codes) and len(set(failed)) == 1 else 1)


@dataclass(frozen=True)
class Options:
    """What holds for every picture of a run; ``inputs`` are the identities of files that must not be replaced."""

    overwrite: bool
    max_pixels: int
    inputs: frozenset[tuple[int, int] | None]
    confidence: Path | None = None


def _control(saturation: float, blend: float, mask: str | None, keep_colour: bool) -> "Control":
    from colorize_run.control import Control, Mask

    return Control(saturation, blend, Mask(Path(mask)) if mask else None, keep_colour)


def _identities(paths: Iterable[Path]) -> frozenset[tuple[int, int] | None]:
    return frozenset(_identity(path) for path in paths) - {None}


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file, whatever its names; None when there is none."""
    if path is _STANDARD:
        return None
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _open_colorizer(model: str | None, device: str, working_size: int | None, temperature: float | None) -> "Colorizer":
    from colorize_run.colorize import Colorizer
    from colorize_run.models import DEFAULT_COLORIZE_MODEL

    name, device, threads = chosen(model, DEFAULT_COLORIZE_MODEL, device)
    colorizer = Colorizer(name, device, threads, working_size=working_size, temperature=temperature)
    announce(device, colorizer.model)
    return colorizer


Job = tuple[Path, Path, str | None]  # source, target, and the target's format where -o names a file
Source = Path | BinaryIO
Convert = Callable[[Source, str | None], "tuple[bytes, Result]"]  # a picture file, and the format to write


def _beside_colorized(source: Path) -> str:
    return f"{source.stem}.colorized{source.suffix}"


def _plan(
    names: Sequence[str], output: str | None, beside: Callable[[Path], str], in_folder: Callable[[Path], str] = lambda s: s.name
) -> list[Job]:
    """What goes where: ``beside`` and ``in_folder`` name the output of an input; UsageError if two would be one.

    Nothing has been read then.
    """
    from colorize_run.image_file import SUFFIXES, shown

    images = [_STANDARD if name == "-" else Path(name) for name in names]
    if (
        output
        and len(images) > 1
        and Path(output).suffix.lower() in SUFFIXES
        and not os.path.isdir(output)
        and output[-1] != "/"
    ):
        raise click.UsageError(f"{shown(output)} is one file, but there are {len(images)} pictures: give -o a folder.")
    taken: dict[str, Path] = {}
    jobs = []
    for source in images:
        target, kind = _target(source, output, beside, in_folder, alone=len(images) == 1)
        key = os.path.abspath(target)
        if key in taken:
            raise click.UsageError(f"{shown(taken[key])} and {shown(source)} would both be written to {shown(target)}.")
        taken[key] = source
        jobs.append((source, target, kind))
    return jobs


def _target(
    source: Path, output: str | None, beside: Callable[[Path], str], in_folder: Callable[[Path], str], *, alone: bool
) -> tuple[Path, str | None]:
    """Where a picture goes, and in which format if that is not the source's own."""
    from colorize_run.image_file import SUFFIXES, shown

    if output is None:
        return (source if source is _STANDARD else source.parent / beside(source)), None
    if output == "-":
        return _STANDARD, None
    target = Path(output)
    if os.path.isdir(target) or not alone or output.endswith(("/", os.sep)):
        if source is _STANDARD:
            raise click.UsageError("A picture from stdin has no name: give -o a file, not a folder.")
        return target / in_folder(source), None
    kind = SUFFIXES.get(target.suffix.lower())
    if kind is None:
        raise click.UsageError(f"{shown(target)}: the format is taken from the suffix; known: {', '.join(SUFFIXES)}.")
    return target, kind


def _process(convert: "Convert", job: Job, options: Options) -> int:
    """Convert one picture; returns its exit code, 0 when done. Device and model errors end the whole run."""
    from colorize_run.image_file import shown

    source, target, _ = job
    name = "stdin" if source is _STANDARD else shown(source) or "''"
    try:
        result = _convert_one(convert, job, options)
    except ImageFileError as error:
        say(f"error: {name} {error}")
        return error.exit_code
    except OutputError as error:
        say(f"error: {error}")
        return error.exit_code
    except ColorizeRunError:
        raise
    except Exception as error:  # one picture's accident is not the others'
        if is_interrupt(error) or "COLORIZE_RUN_TRACEBACK" in os.environ:
            raise
        say(f"error: {name} met an {internal(error)}")
        return 70
    for note in result.notes:
        say(f"note: {name}: {note}")
    if target is not _STANDARD:
        gave_way = (
            f" (colour reduced to fit {result.gamut} in {result.moved_share:.1%} of the pixels)" if result.moved_share else ""
        )
        say(f"{name} -> {shown(target)}{gave_way}")
    return 0


def _convert_one(convert: "Convert", job: Job, options: Options) -> "Result":
    from colorize_run.image_file import shown, write_atomically

    source, target, kind = job
    if target is not _STANDARD and not os.path.isdir(source):
        _check_output(target, options)
    if options.confidence is not None:
        if os.path.abspath(options.confidence) == os.path.abspath(target):
            raise OutputError(f"{shown(target)} cannot be both the picture and its confidence.")
        _check_output(options.confidence, options)
    data, result = convert(_standard_input() if source is _STANDARD else source, kind)
    if options.confidence is not None:
        _write_confidence(result, options.confidence, overwrite=options.overwrite)
    if target is _STANDARD:
        _write_standard_output(data)
        return result
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder {shown(target.parent)} cannot be made: {error.strerror}.") from error
    with result.stage("write"):
        write_atomically(data, target, overwrite=options.overwrite)
    return result


def _check_output(target: Path, options: Options) -> None:
    """Before the work; `write_atomically` checks again. OutputError for inputs of the run, and for what exists."""
    from colorize_run.image_file import shown

    identity = _identity(target)
    if identity is not None and identity in options.inputs:
        raise OutputError(f"{shown(target)} is an input of this run; inputs are never replaced.")
    if not options.overwrite and os.path.lexists(target):
        raise OutputError(f"{shown(target)} exists; --overwrite replaces it.")


def _write_confidence(result: "Result", target: Path, *, overwrite: bool) -> None:
    from colorize_run.image_file import write_atomically

    if result.confidence is None:  # a picture that was left as it is
        return
    buffer = io.BytesIO()
    result.confidence.save(buffer, "PNG")
    write_atomically(buffer.getvalue(), target, overwrite=overwrite)


@click.command(epilog=EXIT_CODES)
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False), metavar="IMAGE…")
@click.option(
    "--as", "as_", type=click.Choice(["mask", "soft", "overlay", "cutout"]), default="mask", show_default=True,
    help="mask: an indexed PNG of classes; soft: a grey PNG, white where sure; overlay: classes laid over the picture;"
    " cutout: the picture on a transparent background.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(),
    help="File, folder (ending in / or existing), or - for stdout.  [default: NAME.mask.png and so on beside each input]",
)  # fmt: skip
@click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: flowers]")
@device_option
@click.option(
    "--working-size", type=click.IntRange(1), metavar="PIXELS",
    help="Short side at which the network sees the picture, while its long side allows it.  [default: the model's]",
)  # fmt: skip
@click.option("--strip-metadata", is_flag=True, help="Leave EXIF, XMP and IPTC out of overlays and cut-outs.")
@click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures before decoding.  [default: 125000000]")
def segment(
    images: tuple[str, ...], as_: "Form", output: str | None, model: str | None, device: str, working_size: int | None,
    strip_metadata: bool, overwrite: bool, max_pixels: int | None,
) -> None:  # fmt: skip
    """Find what IMAGE… show: outlines of the full size, drawn on the picture's own edges."""
    from colorize_run.image_file import MAX_PIXELS
    from colorize_run.models import DEFAULT_SEGMENT_MODEL

    def named(source: Path) -> str:
        return f"{source.stem}.{as_}{source.suffix if as_ == 'overlay' else '.png'}"

    _prepare_pillow()
    jobs = _plan(images, output, named, named)
    wrong = [kind for _, _, kind in jobs if as_ in ("mask", "soft") and kind not in (None, "PNG")]
    if wrong:
        raise click.UsageError(f"A {as_} is written as PNG: give -o a name that ends in .png.")
    options = Options(overwrite, max_pixels or MAX_PIXELS, _identities(source for source, _, _ in jobs))
    from colorize_run.segment import Segmenter

    name, device, threads = chosen(model, DEFAULT_SEGMENT_MODEL, device)
    segmenter = Segmenter(name, device, threads, working_size=working_size)
    announce(device, segmenter.model)

    def convert(source: Source, kind: str | None) -> "tuple[bytes, Result]":
        return segmenter.segment_file(source, as_, kind, max_pixels=options.max_pixels, keep_metadata=not strip_metadata)

    _process_all(convert, jobs, options)


def _prepare_pillow() -> None:
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore")  # Pillow warns of oddities in metadata; ours are notes
    Image.MAX_IMAGE_PIXELS = None  # --max-pixels decides instead, and its message names the way out


def _standard_input() -> io.BytesIO:
    if sys.stdin is None:
        raise ImageFileError("is closed.")
    data = sys.stdin.buffer.read(_MAX_STANDARD_INPUT + 1)
    if not data:
        raise ImageFileError("is empty (0 bytes).")
    if len(data) > _MAX_STANDARD_INPUT:
        raise ImageFileError("is larger than 1 GiB; write it to a file first.")
    return io.BytesIO(data)


def _write_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise OutputError("stdout is closed: name a file with -o.")
    if sys.stdout.isatty():
        raise OutputError("A terminal cannot show a picture: redirect stdout, or name a file with -o.")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"stdout cannot be written: {error.strerror}.") from error
