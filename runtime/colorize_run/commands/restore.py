"""``colorize-run restore``: the grey JPEG that a picture was before it was coloured, byte for byte."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from colorize_run.commands.common import EXIT_CODES, keep_times_option, say
from colorize_run.errors import ColorizeRunError, ImageFileError, InputMissingError, OptionError, OutputError
from colorize_run.image import undo
from colorize_run.image.formats import FORMATS
from colorize_run.system.files import as_existing, counted, identity, make_folder, printable, standard_input, write_atomically
from colorize_run.system.times import NOT_HELD, times_of

_MARK = ".colorized"


@dataclass(frozen=True)
class _Task:
    """``source``: a file, None for stdin; ``target``: its output, None for stdout; ``found`` in a folder, not named."""

    source: Path | None
    target: Path | None
    found: bool = False


@click.command(epilog=EXIT_CODES, short_help="Give back the grey JPEG that was coloured, byte for byte.")
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False), metavar="IMAGE|FOLDER…")
@click.option(
    "-o", "--output", type=click.Path(readable=False),
    help="File, folder (ending in / or existing), or - for stdout.  [default: beside each input: NAME.jpg for"
    " NAME.colorized.jpg, else NAME.restored.jpg]",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Include sub-folders, and mirror them in the output.")
@keep_times_option
@click.option("--overwrite", is_flag=True, help="Replace existing files that are not the same.")
def restore(images: tuple[str, ...], output: str | None, recursive: bool, keep_times: bool, overwrite: bool) -> None:
    """Give back the grey JPEG that each IMAGE was before colorize-run coloured it, byte for byte; - reads one from stdin.

    That is possible for grey JPEG files that were coloured in their own planes, the default, and saved by no other program
    since. For a FOLDER, every JPEG in it that holds a record of its original.
    """
    tasks = _tasks(images, output, recursive=recursive)
    if keep_times and any(None in (task.source, task.target) for task in tasks):
        raise click.UsageError("--keep-times cannot be combined with stdin or stdout, which have no times.")
    _check_targets(tasks, overwrite=overwrite)
    done, failures, without = 0, list[int](), 0
    for task in tasks:
        try:
            _restore(task, keep_times=keep_times, overwrite=overwrite)
            done += 1
        except undo.NoRecordError as error:
            if task.found:
                without += 1
                continue
            say(f"error: {_name(task)} {error}")
            failures.append(error.exit_code)
        except ColorizeRunError as error:
            say(f"error: {_name(task) + ' ' if isinstance(error, ImageFileError) else ''}{error}")
            failures.append(error.exit_code)
    if len(tasks) > 1 or without:
        left = f", {without} without a record left out" if without else ""
        say(f"{counted(done, 'file')} restored, {len(failures)} failed{left}")
    if failures:
        sys.exit(failures[0] if len(tasks) == len(failures) and len(set(failures)) == 1 else 1)


def _name(task: _Task) -> str:
    return "stdin" if task.source is None else printable(task.source)


def _tasks(names: tuple[str, ...], output: str | None, *, recursive: bool) -> list[_Task]:
    """What is restored, and where to. Errors: OptionError, InputMissingError, ImageFileError."""
    if output == "":
        raise OptionError("-o is empty: name a file or a folder.")
    folders = [name for name in names if name != "-" and os.path.isdir(name)]
    if recursive and not folders:
        raise OptionError("--recursive is for folders: give a folder.")
    several = bool(folders) or len(names) > 1
    if several and (output == "-" or "-" in names):
        raise OptionError("Only one picture can come from stdin or go to stdout: give files and a folder.")
    if names == ("-",):
        if output is None:
            raise OptionError("A picture from stdin has no name: give -o a file, or - for stdout.")
        return [_Task(None, None if output == "-" else Path(output))]
    into_folder = several or (output is not None and (os.path.isdir(output) or output.endswith(("/", os.sep))))
    tasks: list[_Task] = []
    for name in names:
        source = Path(name)
        found = list(_pictures(source, recursive=recursive)) if name in folders else []
        if name in folders and not found:
            raise InputMissingError(f"{printable(name)} contains no JPEG files.")
        for picture in found or [source]:
            inside = picture.relative_to(source) if found else Path(picture.name)
            tasks.append(_Task(picture, _target(picture, inside, output, into_folder=into_folder), bool(found)))
    return tasks


def _target(picture: Path, inside: Path, output: str | None, *, into_folder: bool) -> Path | None:
    """Where a file's original goes. ``inside``: its name within the folder that was given."""
    if output == "-":
        return None
    plain = picture.stem.removesuffix(_MARK) or picture.stem
    if output is None:
        return picture.with_name(f"{plain}{'' if plain != picture.stem else '.restored'}{picture.suffix}")
    return Path(output) / inside.with_name(plain + picture.suffix) if into_folder else Path(output)


def _check_targets(tasks: list[_Task], *, overwrite: bool) -> None:
    """OptionError where two originals would have one name, or one could replace a file that is still to be restored."""
    targets = [task.target for task in tasks if task.target is not None]
    if len({os.path.abspath(target) for target in targets}) < len(targets):
        raise OptionError("Two pictures would be written to the same name: restore them one by one.")
    sources = {identity(task.source) for task in tasks if task.source is not None} - {None}
    for target in targets if overwrite else ():
        if identity(target) in sources:
            raise OptionError(f"{printable(target)} is itself among the pictures: give -o another folder.")


def _pictures(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """The JPEG files of a folder, in order, but no hidden ones. Errors: OutputError for a folder that cannot be read."""

    def stop(error: OSError) -> NoReturn:
        raise OutputError(f"The folder {printable(str(error.filename))} cannot be read: {error.strerror}.") from error

    for place, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in FORMATS["JPEG"].suffixes:
                yield Path(place) / name


def _restore(task: _Task, *, keep_times: bool, overwrite: bool) -> None:
    from colorize_run.image.source import opened_file

    times = None
    if task.source is None:
        content = standard_input()
    else:
        with opened_file(task.source) as file:
            times = times_of(file.fileno()) if keep_times else None
            content = file.read()
    data = undo.restored(content)
    if task.target is None:
        if sys.stdout is None:
            raise OptionError("stdout is closed: give -o a file.")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(task.target) and not overwrite:
        if task.target.is_file() and task.target.read_bytes() == data:
            say(f"{printable(task.target)} is there already, the same")
            return
        raise as_existing(task.target)
    make_folder(task.target.parent)
    has_times = write_atomically(data, task.target, overwrite=overwrite, times=times)
    say(f"{_name(task)} -> {printable(task.target)}")
    if not has_times:
        say(f"note: {_name(task)}: {NOT_HELD}")
