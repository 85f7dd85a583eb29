"""``colorize-run watch``: options and wiring. stdout carries JSON; all text for people goes to stderr."""

import contextlib
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colorize_run.commands.common import (
    DefaultCommandGroup,
    exit_codes,
    lightness_option,
    saturation_option,
    temperature_option,
    working_size_option,
)
from colorize_run.commands.watch_ledger import forget, retry, status, verify
from colorize_run.errors import InboxMissingError, OptionError, OutputError
from colorize_run.options import FORMS
from colorize_run.system.files import WATCH_MAX_PIXELS
from colorize_run.system.hardware import available_threads

if TYPE_CHECKING:
    from colorize_run.watch.settings import Settings

_MIB = 1 << 20
_INCOMPLETE_TIMEOUT, _INCOMPLETE_TIMEOUT_ONCE = 600.0, 5.0  # seconds
_EXIT_CODES = exit_codes(
    {
        0: "stopped by a signal, or --once and all done",
        1: "--once and some pictures were quarantined, or `verify` found a difference",
        66: "the input folder does not exist",
        73: "the output or state folder cannot be written",
        75: "another watch is using the folders",
        130: "stopped by a second Ctrl-C; finished outputs are complete",
    }
)


@click.group(cls=DefaultCommandGroup, default="run", no_args_is_help=True, epilog=_EXIT_CODES)
def watch() -> None:
    """Convert every picture that is put into a folder.

    \b
    colorize-run watch INBOX OUTBOX              runs until you stop it; options: colorize-run watch run --help
    colorize-run watch INBOX OUTBOX --once       converts the pictures that are there, and ends
    colorize-run watch status OUTBOX             shows the state of a watch
    colorize-run watch retry OUTBOX NAME…        tries quarantined pictures again
    """


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """The options that are limits, in seconds, bytes, MiB and pixels."""
    for name, kind, default, help_text in reversed((
        ("--poll", click.FloatRange(0.01), 0.25, "Seconds between two checks of the folder."),
        ("--settle", click.FloatRange(0.05), 0.5, "Seconds without a change before a file is read."),
        ("--remote-settle", click.FloatRange(0.05), 5.0, "The same on network shares, whose writers the kernel does not know."),
        ("--timeout", click.FloatRange(0.1), 120.0, "Seconds that one picture may take."),
        ("--drain", click.FloatRange(0), 30.0, "Seconds to finish the pictures in progress after a stop signal."),
        ("--max-bytes", click.IntRange(1), 64 * _MIB, "Quarantine larger files."),
        ("--max-pixels", click.IntRange(1), WATCH_MAX_PIXELS, "Quarantine larger pictures before decoding. The limit is lower"
         " than that of `colorize-run IMAGE`, because --memory limits a worker; raise both together."),
        ("--max-side", click.IntRange(1), 16_384, "Quarantine longer or wider pictures before decoding."),
        ("--min-free", click.IntRange(0), 256, "MiB to keep free on the disk of OUTBOX, or 5 % of it if that is less."),
        ("--memory", click.IntRange(0), 4096, "MiB of address space for each worker on the CPU; 0: no limit."),
        ("--workers", click.IntRange(1, 64), 1, "Number of worker processes."),
    )):  # fmt: skip
        command = click.option(name, type=kind, default=default, show_default=True, help=help_text)(command)
    return command


@watch.command("run", epilog=_EXIT_CODES)
@click.argument("inbox", type=click.Path(path_type=Path))
@click.argument("outbox", type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(["colorize", "segment"]), default="colorize", show_default=True)
@click.option(
    "--as", "view", type=click.Choice(FORMS), default="mask", show_default=True, help="Form of the output of --task segment."
)
@click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: photo, or flowers]")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="cuda ends with exit code 69 if CUDA does not work; auto then continues with the CPU and reports it.",
)
@working_size_option
@temperature_option
@saturation_option
@lightness_option
@click.option(
    "--keep-colour/--force",
    "--keep-color",
    "keep_colour",
    default=True,
    show_default=True,
    help="Copy pictures that already have colours unchanged, or colour them, too.",
)
@click.option("--strip-metadata", is_flag=True, help="Leave EXIF, XMP and IPTC out of the outputs.")
@click.option("--recursive", is_flag=True, help="Include sub-folders, up to eight levels deep, and mirror them in OUTBOX.")
@click.option("--once", is_flag=True, help="Convert the pictures that are there, then end.")
@click.option(
    "--input",
    "inputs",
    type=click.Choice(["keep", "move", "delete"]),
    default="keep",
    show_default=True,
    help="What to do with an input after its output is written; move needs --done-dir.",
)
@click.option("--done-dir", type=click.Path(path_type=Path), help="Folder for finished inputs, on the file system of INBOX.")
@click.option(
    "--failed-dir", type=click.Path(path_type=Path), help="Folder for quarantined inputs, on the file system of INBOX."
)
@click.option(
    "--state", type=click.Path(path_type=Path), help="Folder of the ledger, on a local disk.  [default: OUTBOX/.colorize-run]"
)
@click.option(
    "--adopt",
    is_flag=True,
    help="Start although OUTBOX contains files, or belongs to the watch of another INBOX; files with the same names are"
    " replaced.",
)
@click.option(
    "--incomplete-timeout",
    type=click.FloatRange(0),
    help="Seconds without a change before a file that cannot be decoded is quarantined.  [default: 600; 5 with --once]",
)
@click.option("--port", type=click.IntRange(1, 65_535), help="Serve /metrics, /healthz and /readyz on this loopback port.")
@_limits
def run(inbox: Path, outbox: Path, model: str | None, **options: Any) -> None:
    """Convert every picture that is put into INBOX; the output gets the same name in OUTBOX.

    A picture is read once no program writes to it any more. Pictures that cannot be converted are listed, with the reason,
    in OUTBOX/.colorize-run/quarantine. Stop with Ctrl-C or SIGTERM; no picture is lost, however the watch ends.
    """
    from colorize_run.watch.supervisor import Supervisor

    settings = _settings(inbox, outbox, model, options)
    try:
        settings.check()
        supervisor = Supervisor(settings, max(1, available_threads() // settings.workers))
    except (sqlite3.Error, OSError) as error:
        raise OutputError(f"The folders {settings.outbox} and {settings.state} cannot be used: {error}.") from error
    with _restored_signals():
        sys.exit(supervisor.run())


for _command in (status, retry, forget, verify):
    watch.add_command(_command)


def _settings(inbox: Path, outbox: Path, model: str | None, options: dict[str, Any]) -> "Settings":
    """Settings from the options of the command line; makes the folders. Errors: InboxMissingError, OptionError, OutputError."""
    from colorize_run.watch.settings import STATE_FOLDER, Settings

    if not inbox.is_dir():
        raise InboxMissingError(f"The folder {inbox} does not exist.")
    if (options["inputs"] == "move") != (options["done_dir"] is not None):
        raise OptionError("--input move and --done-dir must be used together.")
    if options["task"] == "segment" and (
        options["temperature"] is not None or options["saturation"] != 1 or options["lightness"] != "luma"
    ):
        raise OptionError("--temperature, --saturation and --lightness need --task colorize.")
    state = options.pop("state") or outbox / STATE_FOLDER
    for folder in filter(None, (outbox, state, options["done_dir"], options["failed_dir"])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if options["incomplete_timeout"] is None:
        options["incomplete_timeout"] = _INCOMPLETE_TIMEOUT_ONCE if options["once"] else _INCOMPLETE_TIMEOUT
    for name in ("min_free", "memory"):
        options[name] *= _MIB
    for name in ("done_dir", "failed_dir"):
        options[name] = options[name] and options[name].resolve()
    options["model"] = str(_model_path(options["task"], model).absolute())
    return Settings(inbox.resolve(), outbox.resolve(), state.resolve(), **options)


def _model_path(task: str, model: str | None) -> Path:
    """The model file with this name or path, or the default of the task. Errors: ModelFileError."""
    from colorize_run.model import library

    default = library.DEFAULT_COLORIZE_MODEL if task == "colorize" else library.DEFAULT_SEGMENT_MODEL
    return library.find_model(model or default)


@contextlib.contextmanager
def _restored_signals() -> Iterator[None]:
    """Restore at the end the handlers of the signals that the supervisor uses."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
