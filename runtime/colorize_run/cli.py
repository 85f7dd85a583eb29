"""Command line: wiring only. stdout carries pictures or JSON, everything that a person reads goes to stderr."""

import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

# The matrices here are small: OpenBLAS's own threads only get in the way of ours. Read when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Pillow's memory in pieces that the C library gives back to the system at once: of a picture that is turned, the one
# before would else stay until the end. Read when Pillow is imported.
os.environ.setdefault("PILLOW_BLOCK_SIZE", "64m")

from colorize_run import __version__
from colorize_run.errors import ColorizeRunError, ContractError, ImageFileError, ModelFileError, OptionError, OutputError
from colorize_run.watch.cli import watch

if TYPE_CHECKING:
    from colorize_run.colorize import Colorizer, Result
    from colorize_run.control import Control
    from colorize_run.segment import Form
    from colorize_run.session import Model

_STANDARD = Path("-")
_MAX_STANDARD_INPUT = 1 << 30

EXIT_CODES = """\b
Exit codes:
  0   all done
  1   some pictures failed, each named with its reason; the others are done
  2   wrong usage
  65  bad model file
  66  no input exists
  69  device not available
  70  internal error
  73  no output can be written
"""


class DefaultCommandGroup(click.Group):
    """A group whose command ``colorize`` need not be named: ``colorize-run photo.jpg``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``colorize`` in front unless the first word is a command or an option of the group."""
        own = {*self.commands, "--help", "-h", "--version"}
        if args and args[0] not in own:
            args = ["colorize", *args]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; nothing that goes wrong ends in a traceback."""
        try:
            return super().invoke(ctx)
        except ColorizeRunError as error:
            _say(f"Error: {error}")
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click knows what to do
            _say(f"Error: stdout cannot be written: {error.strerror}.")
            ctx.exit(73)
        except (KeyboardInterrupt, Exception) as error:
            if _is_interrupt(error):
                _say("Interrupted; what is done is whole, nothing half-written is left.")
                ctx.exit(130)
            if "COLORIZE_RUN_TRACEBACK" in os.environ:
                raise
            _say(_internal(error))
            ctx.exit(70)


def run() -> None:
    """Entry point of the installed command: closed or full streams while help is shown are no tracebacks either."""
    try:
        main(prog_name="colorize-run")
    except OSError as error:
        with contextlib.suppress(OSError, AttributeError, ValueError):
            _say(f"Error: stdout or stderr cannot be written: {error.strerror}.")
        os._exit(73)  # a normal exit would flush the same stream, and fail again
    except KeyboardInterrupt:
        os._exit(130)


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is at the bottom of it: NumPy and others turn one that hits their import into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@click.group(
    cls=DefaultCommandGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True, epilog=EXIT_CODES
)
@click.version_option(__version__, prog_name="colorize-run")
def main() -> None:
    """Colourize and segment photographs.

    \b
    colorize-run photo.jpg                 writes photo.colorized.jpg beside it
    colorize-run --force photo.jpg         even if it has colours already
    colorize-run segment rose.jpg --as cutout
    colorize-run *.jpg -o out/             writes out/NAME for each
    colorize-run - -o - < in.png > out.png
    colorize-run watch INBOX OUTBOX        does every picture that is put into a folder
    colorize-run models                    lists the models that -m knows
    colorize-run verify --all              proves them on this machine

    `colorize-run IMAGE…` is short for `colorize-run colorize IMAGE…`; its options: `colorize-run colorize --help`.
    """


main.add_command(watch)


def _number(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and value != value:  # nan, which no range excludes
        raise click.BadParameter("nan is no number.")
    return value


model_option = click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: photo]")
device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="cuda fails before any file is touched if it does not work; auto says what it took, and why.",
)


@main.command(epilog=EXIT_CODES)
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
    callback=_number,
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
    callback=_number,
    show_default=True,
    help="Strength of the new colours: 0 is grey, 1 the model's own.",
)
@click.option(
    "--blend",
    type=click.FloatRange(0, 1),
    default=1.0,
    callback=_number,
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
            _say(f"{len(failed)} of {len(codes)} pictures failed.")
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

    colorizer = Colorizer(model or DEFAULT_COLORIZE_MODEL, device, working_size=working_size, temperature=temperature)
    _announce(device, colorizer.model)
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
        _say(f"error: {name} {error}")
        return error.exit_code
    except OutputError as error:
        _say(f"error: {error}")
        return error.exit_code
    except ColorizeRunError:
        raise
    except Exception as error:  # one picture's accident is not the others'
        if _is_interrupt(error) or "COLORIZE_RUN_TRACEBACK" in os.environ:
            raise
        _say(f"error: {name} met an {_internal(error)}")
        return 70
    for note in result.notes:
        _say(f"note: {name}: {note}")
    if target is not _STANDARD:
        gave_way = (
            f" (colour reduced to fit {result.gamut} in {result.moved_share:.1%} of the pixels)" if result.moved_share else ""
        )
        _say(f"{name} -> {shown(target)}{gave_way}")
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


@main.command(epilog=EXIT_CODES)
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

    segmenter = Segmenter(model or DEFAULT_SEGMENT_MODEL, device, working_size=working_size)
    _announce(device, segmenter.model)

    def convert(source: Source, kind: str | None) -> "tuple[bytes, Result]":
        return segmenter.segment_file(source, as_, kind, max_pixels=options.max_pixels, keep_metadata=not strip_metadata)

    _process_all(convert, jobs, options)


def _prepare_pillow() -> None:
    import warnings

    from PIL import Image

    warnings.simplefilter("ignore")  # Pillow warns of oddities in metadata; ours are notes
    Image.MAX_IMAGE_PIXELS = None  # --max-pixels decides instead, and its message names the way out


def _announce(device: str, model: "Model") -> None:
    """Say what ``auto`` took."""
    if device == "auto":
        _say(f"device: {model.device.name} ({model.device.reason})")


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


@main.command()
@model_option
@click.option("--all", "all_models", is_flag=True, help="Every model that `colorize-run models` lists.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on stdout.")
def verify(model: str | None, all_models: bool, device: str, as_json: bool) -> None:
    """Replay the model's golden vectors on this machine; exit 65 when they differ."""
    from colorize_run.models import DEFAULT_COLORIZE_MODEL, available_models

    if model and all_models:
        raise click.UsageError("-m names one model, --all takes every one: choose.")
    if not all_models:
        found, ok = _verify_one(model or DEFAULT_COLORIZE_MODEL, device)
        if as_json:
            click.echo(json.dumps(found))
        if not ok:
            sys.exit(65)
        return
    paths = available_models().values()
    outcomes = [_verify_or_say(str(path), device, announce=i == 0) for i, path in enumerate(paths)]
    if as_json:
        click.echo(json.dumps([found for found, _ in outcomes]))
    failed = sum(not ok for _, ok in outcomes)
    if failed or not outcomes:
        _say(f"{failed} of {len(outcomes)} models failed." if outcomes else "There are no models.")
        sys.exit(65)


def _verify_one(model: str, device: str, *, announce: bool = True) -> tuple[dict[str, Any], bool]:
    """Replay one model's golden vectors and say how it went; figures, and whether all is well."""
    from colorize_run.session import Model
    from colorize_run.verify import verify as replay

    opened = Model(model, device)
    if announce:
        _announce(device, opened)
    outcome = replay(opened)
    _say(
        f"{outcome.name} on {outcome.device}: {'ok' if outcome.ok else 'DIFFERS'}, {outcome.cases} golden cases, largest error"
        f" {outcome.error:.1e} of the range (allowed {outcome.tolerance:.0e}), {outcome.flips:.2%} of pixels flipped"
        f" (allowed {outcome.flips_allowed:.2%})"
    )
    return {**asdict(outcome), "ok": outcome.ok, "sha256": opened.sha256}, outcome.ok


def _verify_or_say(model: str, device: str, *, announce: bool) -> tuple[dict[str, Any], bool]:
    """The same for one of many: a broken file is said, and does not keep the others from their turn."""
    try:
        return _verify_one(model, device, announce=announce)
    except (ContractError, ModelFileError) as error:
        _say(f"error: {error}")
        return {"name": Path(model).stem, "ok": False, "error": str(error)}, False


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print contracts, sizes and paths as JSON on stdout.")
def models(as_json: bool) -> None:
    """List the models that -m knows by name: task, size, score, and what they learnt from."""
    from colorize_run.models import available_models, describe

    found, broken = [], 0
    for path in available_models().values():
        try:
            found.append(describe(path))
        except (ContractError, ModelFileError) as error:
            broken += 1
            _say(f"error: {error}")
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in found]))
    else:
        for line in _columns([entry.row() for entry in found]):
            _say(line)
    if broken:
        sys.exit(65)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines, each column but the last as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _internal(error: BaseException) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"internal error: {type(error).__name__}: {reason} (COLORIZE_RUN_TRACEBACK=1 shows where)"


def _say(text: str) -> None:
    click.echo(text, err=True)
