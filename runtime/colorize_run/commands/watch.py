"""``colorize-run watch``: wiring only. stdout carries JSON or names, everything else that a person reads goes to stderr."""

import contextlib
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colorize_run.commands.common import saturation_option, temperature_option, working_size_option
from colorize_run.errors import InboxMissingError, OptionError, OutputError
from colorize_run.system.files import WATCH_MAX_PIXELS
from colorize_run.system.hardware import available_threads

if TYPE_CHECKING:
    from colorize_run.watch.ledger import Ledger
    from colorize_run.watch.settings import Settings

_MIB = 1 << 20
_ONCE_INCOMPLETE = 5.0

EXIT_CODES = """\b
Exit codes:
  0   told to stop, or --once and all done
  1   --once and some pictures were quarantined, or `verify` found a difference
  2   wrong usage
  65  bad model file
  66  the input folder does not exist
  69  device not available
  70  internal error
  73  the output or state folder cannot be written
  75  another watch is using the folders
"""


class DefaultRun(click.Group):
    """A group whose command ``run`` need not be named: ``colorize-run watch INBOX OUTBOX``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``run`` in front unless the first word is a command or asks for help."""
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DefaultRun, no_args_is_help=True, epilog=EXIT_CODES)
def watch() -> None:
    """Do every picture that is put into a folder.

    \b
    colorize-run watch INBOX OUTBOX              until told to stop; options: colorize-run watch run --help
    colorize-run watch INBOX OUTBOX --once       do what is there, and end
    colorize-run watch status OUTBOX             how it is doing
    colorize-run watch retry OUTBOX NAME…        try quarantined pictures again
    """


def _limits(command: Callable[..., None]) -> Callable[..., None]:
    """The options that are limits, in seconds, bytes, MiB and pixels."""
    for name, kind, default, help_text in (
        ("--poll", click.FloatRange(0.01), 0.25, "Seconds between two looks at the folder."),
        ("--settle", click.FloatRange(0.05), 0.5, "Seconds that a file must be quiet."),
        ("--remote-settle", click.FloatRange(0.05), 5.0, "The same on network shares, where the kernel knows no writers."),
        ("--timeout", click.FloatRange(0.1), 120.0, "Seconds that one picture may take."),
        ("--drain", click.FloatRange(0), 30.0, "Seconds that pictures in hand get when told to stop."),
        ("--max-bytes", click.IntRange(1), 64 * _MIB, "Quarantine larger files."),
        ("--max-pixels", click.IntRange(1), WATCH_MAX_PIXELS, "Quarantine larger pictures before decoding. The limit is lower"
         " than that of `colorize-run IMAGE`, because --memory limits a worker; raise both together."),
        ("--max-side", click.IntRange(1), 16_384, "Quarantine longer or wider pictures before decoding."),
        ("--min-free", click.IntRange(0), 256, "MiB to leave free on the output's disk, or 5 % if that is less."),
        ("--memory", click.IntRange(0), 4096, "MiB of address space for a worker on the CPU; 0: no limit."),
        ("--workers", click.IntRange(1, 64), 1, "Worker processes."),
    ):  # fmt: skip
        command = click.option(name, type=kind, default=default, show_default=True, help=help_text)(command)
    return command


@watch.command("run", epilog=EXIT_CODES)
@click.argument("inbox", type=click.Path(path_type=Path))
@click.argument("outbox", type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(["colorize", "segment"]), default="colorize", show_default=True)
@click.option("--as", "view", type=click.Choice(["mask", "soft", "overlay", "cutout"]), default="mask", show_default=True,
              help="What --task segment writes.")  # fmt: skip
@click.option("-m", "--model", help="A model's name, or the path of an .onnx file.  [default: photo, or flowers]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="cuda ends with exit code 69 where it does not work; auto goes on with the CPU, and says so.")  # fmt: skip
@working_size_option
@temperature_option
@saturation_option
@click.option("--keep-colour/--force", default=True, show_default=True, help="Leave pictures that have colours as they are.")
@click.option("--strip-metadata", is_flag=True, help="Leave EXIF, XMP and IPTC out of the outputs.")
@click.option("--recursive", is_flag=True, help="Sub-folders too, mirrored in OUTBOX; eight deep.")
@click.option("--once", is_flag=True, help="Do what is there, then end.")
@click.option("--input", "inputs", type=click.Choice(["keep", "move", "delete"]), default="keep", show_default=True,
              help="What becomes of a picture that is done; move needs --done-dir.")  # fmt: skip
@click.option("--done-dir", type=click.Path(path_type=Path), help="Folder for inputs that are done, on INBOX's file system.")
@click.option("--failed-dir", type=click.Path(path_type=Path), help="Folder for inputs that are quarantined, likewise.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="The ledger's folder, on a local disk.  [default: OUTBOX/.colorize-run]"
)
@click.option("--adopt", is_flag=True, help="Begin although OUTBOX holds files; those of the same names are replaced.")
@click.option("--incomplete-timeout", type=click.FloatRange(0), help="Seconds of quiet after which a file that"
              " cannot be decoded is quarantined.  [default: 600; 5 with --once]")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65_535), help="Answer /metrics, /healthz and /readyz on this loopback port.")
@_limits
def run(inbox: Path, outbox: Path, model: str | None, **options: Any) -> None:
    """Do every picture that is put into INBOX; it appears under its name in OUTBOX.

    A picture is taken once nobody writes to it any more. What cannot be done is listed, with its reason, in
    OUTBOX/.colorize-run/quarantine. Stop with Ctrl-C or SIGTERM; nothing is lost however it ends.
    """
    from colorize_run.watch.supervisor import Supervisor

    settings = _settings(inbox, outbox, model, options)
    try:
        settings.check()
        supervisor = Supervisor(settings, max(1, available_threads() // settings.workers))
    except (sqlite3.Error, OSError) as error:
        raise OutputError(f"The folders {settings.outbox} and {settings.state} cannot be used: {error}.") from error
    with _no_click_signals():
        sys.exit(supervisor.run())


def _settings(inbox: Path, outbox: Path, model: str | None, options: dict[str, Any]) -> "Settings":
    from colorize_run.watch.settings import STATE_FOLDER, Settings

    if not inbox.is_dir():
        raise InboxMissingError(f"There is no folder {inbox}.")
    if (options["inputs"] == "move") != (options["done_dir"] is not None):
        raise OptionError("--input move and --done-dir go together.")
    if options["task"] == "segment" and (options["temperature"] is not None or options["saturation"] != 1):
        raise OptionError("--temperature and --saturation need --task colorize.")
    state = options.pop("state") or outbox / STATE_FOLDER
    for folder in filter(None, (outbox, state, options["done_dir"], options["failed_dir"])):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {folder} cannot be made: {error.strerror}.") from error
    if options["incomplete_timeout"] is None:
        options["incomplete_timeout"] = _ONCE_INCOMPLETE if options["once"] else 600.0
    for name in ("min_free", "memory"):
        options[name] *= _MIB
    for name in ("done_dir", "failed_dir"):
        options[name] = options[name] and options[name].resolve()
    options["model"] = str(_model(options["task"], model).absolute())
    return Settings(inbox.resolve(), outbox.resolve(), state.resolve(), **options)


def _model(task: str, model: str | None) -> Path:
    from colorize_run.model import library

    return library.find_model(
        model or {"colorize": library.DEFAULT_COLORIZE_MODEL, "segment": library.DEFAULT_SEGMENT_MODEL}[task]
    )


@contextlib.contextmanager
def _no_click_signals() -> Iterator[None]:
    """Signals are the supervisor's while it runs; as they were afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _state_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--state", type=click.Path(path_type=Path), help="As given to the watch, if it was.")(command)
    return click.argument("outbox", type=click.Path(path_type=Path))(command)


def _state(outbox: Path, state: Path | None) -> Path:
    from colorize_run.watch.settings import STATE_FOLDER

    folder = state or outbox / STATE_FOLDER
    if not (folder / "ledger.db").is_file():
        raise InboxMissingError(f"There is no ledger in {folder}: name the OUTBOX of a watch, and its --state if it had one.")
    return folder


@contextlib.contextmanager
def _ledger(folder: Path) -> "Iterator[Ledger]":
    from colorize_run.watch.ledger import Ledger

    try:
        ledger = Ledger(folder)
        try:
            yield ledger
        finally:
            ledger.close()
    except sqlite3.Error as error:
        raise OutputError(f"The ledger in {folder} cannot be used: {error}.") from error


def _health(folder: Path) -> dict[str, Any]:
    """The health file; empty when there is none, or it is none."""
    kinds: dict[str, Any] = {"state": str, "pid": int, "pending": int, "oldest_pending_s": (int, float), "blocked": dict}
    try:
        found = json.loads((folder / "health.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(found.get(key), kind) for key, kind in kinds.items())
    return found if whole else {}


def _is_running(folder: Path) -> bool:
    """Whether a watch holds the lock of a state folder."""
    import fcntl

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@watch.command()
@_state_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
def status(outbox: Path, state: Path | None, as_json: bool) -> None:
    """How the watch that writes to OUTBOX is doing, and what it gave up."""
    from colorize_run.watch.log import shown

    folder = _state(outbox, state)
    running, health = _is_running(folder), _health(folder)
    with _ledger(folder) as ledger:
        counts = ledger.counts()
        given_up = [(row.name, row.err_class, row.err) for row in ledger.rows("quarantined")]
    if as_json:
        listed = [{"name": os.fsdecode(name), "class": kind, "reason": why} for name, kind, why in given_up]
        click.echo(json.dumps({"running": running, "health": health, "ledger": counts, "quarantined": listed}))
        return
    _say(
        f"{'running' if running else 'not running'}; {', '.join(f'{n} {name}' for name, n in counts.items()) or 'nothing yet'}"
    )
    if running and health:
        _say(f"{health['state']}; {health['pending']} pending, the oldest for {health['oldest_pending_s']:.0f} s")
        for kind, why in health["blocked"].items():
            _say(f"blocked by {kind}: {why}")
    for name, kind, why in given_up:
        _say(f"{shown(name)}: {kind}: {why}")


@watch.command()
@_state_options
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "all_names", is_flag=True, help="Every quarantined picture.")
def retry(outbox: Path, state: Path | None, names: tuple[str, ...], all_names: bool) -> None:
    """Try quarantined pictures again, by their names in INBOX."""
    if bool(names) == all_names:
        raise click.UsageError("Name some pictures, or give --all.")
    folder = _state(outbox, state)
    with _ledger(folder) as ledger:
        given_up = {row.name for row in ledger.rows("quarantined")}
        wanted = given_up if all_names else {os.fsencode(name) for name in names}
        if unknown := wanted - given_up:
            raise OptionError(f"Not quarantined: {', '.join(sorted(os.fsdecode(name) for name in unknown))!r}.")
        _drop(folder, ledger, wanted)
    _say(f"{len(wanted)} to be tried again")


@watch.command()
@_state_options
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def forget(outbox: Path, state: Path | None, names: tuple[str, ...]) -> None:
    """Forget pictures, by their names in INBOX: what is still there is done anew."""
    from colorize_run.watch import outbox as outputs

    folder = _state(outbox, state)
    with _ledger(folder) as ledger:
        wanted = {os.fsencode(name) for name in names}
        rows = {name: ledger.get(name) for name in sorted(wanted)}
        if unknown := [name for name, row in rows.items() if row is None]:
            raise OptionError(f"The ledger does not know {', '.join(map(os.fsdecode, unknown))!r}.")
        outputs.forget_origins(outbox.resolve(), [row.out for row in rows.values() if row and row.out])
        _drop(folder, ledger, wanted)
    _say(f"{len(wanted)} forgotten")


def _drop(folder: Path, ledger: "Ledger", names: set[bytes]) -> None:
    """Forget names in the ledger, with their sidecars, and tell a running watch."""
    from colorize_run.watch.lifecycle import remove_reason

    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in names:
            ledger.forget(name)
            remove_reason(fd, name)
    finally:
        os.close(fd)
    pid = _health(folder).get("pid")
    if pid and _is_running(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)


@watch.command()
@_state_options
def verify(outbox: Path, state: Path | None) -> None:
    """Compare every output with the ledger's digest of it; exit 1 when one is missing or differs."""
    from colorize_run.system import durable
    from colorize_run.watch import outbox as outputs
    from colorize_run.watch.log import shown

    folder = _state(outbox, state)
    root = durable.open_folder(str(outbox.resolve()))
    good, bad = 0, 0
    with _ledger(folder) as ledger:
        for row in ledger.rows("done"):
            found = outputs.digest(root, row.out or row.name)
            if found == row.out_sha:
                good += 1
                continue
            bad += 1
            _say(f"{shown(row.out or row.name)}: {'is missing' if found is None else 'is not what was written'}")
    _say(f"{good} outputs are as they were written, {bad} are not")
    if bad:
        sys.exit(1)


def _say(text: str) -> None:
    click.echo(text, err=True)
