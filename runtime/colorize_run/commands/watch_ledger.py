"""``colorize-run watch status``, ``retry``, ``forget`` and ``verify``: they may be used while the watch runs."""

import contextlib
import fcntl
import json
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colorize_run.commands.common import say
from colorize_run.errors import InboxMissingError, OptionError, OutputError
from colorize_run.system.files import printable

if TYPE_CHECKING:
    from colorize_run.watch.ledger import Ledger


def _ledger_options(command: Callable[..., None]) -> Callable[..., None]:
    """What names the ledger: OUTBOX and --state."""
    option = click.option("--state", type=click.Path(path_type=Path), help="The --state of the watch, if it has one.")
    return click.argument("outbox", type=click.Path(path_type=Path))(option(command))


def _state_folder(outbox: Path, state: Path | None) -> Path:
    """The folder of the ledger. Errors: InboxMissingError."""
    from colorize_run.watch.ledger import FILE_NAME
    from colorize_run.watch.settings import STATE_FOLDER

    folder = state or outbox / STATE_FOLDER
    if not (folder / FILE_NAME).is_file():
        raise InboxMissingError(f"There is no ledger in {folder}: give the OUTBOX of a watch, and --state if it has one.")
    return folder


def _inbox(folder: Path) -> str | None:
    """Path of the INBOX that a state folder belongs to; None if it does not remember one."""
    from colorize_run.system import durable
    from colorize_run.watch.ownership import DamagedError, remembered

    fd = durable.open_folder(str(folder.resolve()))
    try:
        inbox = remembered(fd).get("inbox")
    except DamagedError:  # the next start tells
        return None
    finally:
        os.close(fd)
    return inbox.path if inbox else None


def _of_inbox(folder: Path) -> str:
    """The INBOX as the end of a message; empty if it is not known."""
    inbox = _inbox(folder)
    return f"; INBOX is {printable(inbox)}" if inbox else ""


@contextlib.contextmanager
def _ledger(folder: Path) -> "Iterator[Ledger]":
    """The open ledger. Errors: OutputError."""
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
    """The content of the health file; empty if the file is missing or damaged."""
    kinds: dict[str, Any] = {"state": str, "pid": int, "pending": int, "oldest_pending_s": (int, float), "blocked": dict}
    try:
        health = json.loads((folder / "health.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    is_valid = isinstance(health, dict) and all(isinstance(health.get(key), kind) for key, kind in kinds.items())
    return health if is_valid else {}


def _is_running(folder: Path) -> bool:
    """Whether a watch holds the lock of a state folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@click.command()
@_ledger_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON on stdout.")
def status(outbox: Path, state: Path | None, as_json: bool) -> None:
    """Show the state of the watch that writes to OUTBOX, and the quarantined pictures."""
    folder = _state_folder(outbox, state)
    running, health = _is_running(folder), _health(folder)
    with _ledger(folder) as ledger:
        counts = ledger.counts()
        quarantined = [(os.fsdecode(row.name), row.err_class, row.err) for row in ledger.rows("quarantined")]
    if as_json:
        listed = [{"name": name, "class": kind, "reason": reason} for name, kind, reason in quarantined]
        answer = {"running": running, "inbox": _inbox(folder), "health": health, "ledger": counts, "quarantined": listed}
        click.echo(json.dumps(answer))
        return
    files = ", ".join(f"{count} {name}" for name, count in counts.items())
    say(f"{'running' if running else 'not running'}; {files or 'no files yet'}{_of_inbox(folder)}")
    if running and health:
        say(f"{health['state']}; {health['pending']} pending, the oldest for {health['oldest_pending_s']:.0f} s")
        for kind, reason in health["blocked"].items():
            say(f"blocked by {kind}: {reason}")
    for name, kind, reason in quarantined:
        say(f"{printable(name)}: {kind}: {reason}")


@click.command()
@_ledger_options
@click.argument("names", nargs=-1, metavar="NAME…")
@click.option("--all", "all_names", is_flag=True, help="All quarantined pictures.")
def retry(outbox: Path, state: Path | None, names: tuple[str, ...], all_names: bool) -> None:
    """Try quarantined pictures again, named as in INBOX."""
    if bool(names) == all_names:
        raise click.UsageError("Give the names of pictures, or --all.")
    folder = _state_folder(outbox, state)
    with _ledger(folder) as ledger:
        quarantined = {row.name for row in ledger.rows("quarantined")}
        chosen = quarantined if all_names else {os.fsencode(name) for name in names}
        if unknown := chosen - quarantined:
            listed = ", ".join(sorted(map(os.fsdecode, unknown)))
            raise OptionError(f"Not quarantined: {listed!r}{_of_inbox(folder)}.")
        _forget(folder, ledger, chosen)
    say(f"{len(chosen)} will be tried again{_of_inbox(folder)}")


@click.command()
@_ledger_options
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def forget(outbox: Path, state: Path | None, names: tuple[str, ...]) -> None:
    """Delete the records of pictures, named as in INBOX: those that are still there are converted again."""
    from colorize_run.watch import outbox as outputs

    folder = _state_folder(outbox, state)
    with _ledger(folder) as ledger:
        chosen = {os.fsencode(name) for name in names}
        rows = {name: ledger.get(name) for name in sorted(chosen)}
        if unknown := [name for name, row in rows.items() if row is None]:
            raise OptionError(f"The ledger has no record of {', '.join(map(os.fsdecode, unknown))!r}{_of_inbox(folder)}.")
        outputs.forget_origins(outbox.resolve(), [row.out for row in rows.values() if row and row.out])
        _forget(folder, ledger, chosen)
    say(f"{len(chosen)} forgotten{_of_inbox(folder)}")


def _forget(folder: Path, ledger: "Ledger", names: set[bytes]) -> None:
    """Delete names from the ledger, with their sidecars, and make a running watch read the ledger again."""
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


@click.command()
@_ledger_options
def verify(outbox: Path, state: Path | None) -> None:
    """Compare every output with its digest in the ledger; exit with 1 if an output is missing or differs."""
    from colorize_run.system import durable
    from colorize_run.watch import outbox as outputs

    folder = _state_folder(outbox, state)
    root = durable.open_folder(str(outbox.resolve()))
    good, bad = 0, 0
    with _ledger(folder) as ledger:
        for row in ledger.rows("done"):
            output = row.out or row.name
            digest = outputs.digest(root, output)
            if digest == row.out_sha:
                good += 1
                continue
            bad += 1
            say(f"{printable(os.fsdecode(output))}: {'is missing' if digest is None else 'has changed'}")
    say(f"{good} outputs are unchanged, {bad} are not{_of_inbox(folder)}")
    if bad:
        sys.exit(1)
