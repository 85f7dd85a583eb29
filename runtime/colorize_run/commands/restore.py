"""``colorize-run restore``: the grey JPEG that a picture was before it was coloured, byte for byte."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from colorize_run.commands.common import EXIT_CODES, say
from colorize_run.errors import ColorizeRunError, ImageFileError, InputMissingError, OptionError
from colorize_run.image import undo
from colorize_run.image.formats import FORMATS
from colorize_run.system.files import as_existing, counted, make_folder, printable, write_atomically

_MARK = ".colorized"
_MAX_BYTES = 1 << 30


@click.command(epilog=EXIT_CODES, short_help="Give back the grey JPEG that was coloured, byte for byte.")
@click.argument("images", nargs=-1, required=True, type=click.Path(readable=False), metavar="IMAGE|FOLDER…")
@click.option(
    "-o", "--output", type=click.Path(),
    help="File, folder (ending in / or existing), or - for stdout.  [default: beside each input: NAME.jpg for"
    " NAME.colorized.jpg, else NAME.restored.jpg]",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Include sub-folders, and mirror them in the output.")
@click.option("--overwrite", is_flag=True, help="Replace existing files that are not the same.")
def restore(images: tuple[str, ...], output: str | None, recursive: bool, overwrite: bool) -> None:
    """Give back the grey JPEG that each IMAGE was before colorize-run coloured it, byte for byte.

    That is possible for grey JPEG files that were coloured in their own planes, the default, and saved by no other program
    since. For a FOLDER, every JPEG in it.
    """
    tasks = _tasks(images, output, recursive=recursive)
    failed = 0
    codes = set[int]()
    for source, target in tasks:
        try:
            _restore(source, target, overwrite=overwrite)
        except ColorizeRunError as error:
            failed += 1
            codes.add(error.exit_code)
            named = isinstance(error, ImageFileError)
            say(f"error: {printable(source) + ' ' if named else ''}{error}")
    if len(tasks) > 1:
        say(f"{counted(len(tasks) - failed, 'file')} restored, {failed} failed")
    if failed:
        sys.exit(codes.pop() if failed == len(tasks) and len(codes) == 1 else 1)


def _tasks(names: tuple[str, ...], output: str | None, *, recursive: bool) -> list[tuple[Path, Path | None]]:
    """(source, target) of each file, the target None for stdout. Errors: OptionError, InputMissingError."""
    if output == "":
        raise OptionError("-o is empty: name a file or a folder.")
    folders = [name for name in names if os.path.isdir(name)]
    if recursive and not folders:
        raise OptionError("--recursive is for folders: give a folder.")
    several = bool(folders) or len(names) > 1
    if output == "-" and several:
        raise OptionError("Only one picture can go to stdout: give -o a folder.")
    into_folder = output is not None and output != "-" and (several or os.path.isdir(output) or output.endswith(("/", os.sep)))
    tasks: list[tuple[Path, Path | None]] = []
    for name in names:
        source = Path(name)
        pictures = list(_pictures(source, recursive=recursive)) if name in folders else [source]
        if name in folders and not pictures:
            raise InputMissingError(f"{printable(name)} contains no JPEG files.")
        for picture in pictures:
            relative = picture.relative_to(source) if name in folders else Path(picture.name)
            if output is None:
                tasks.append((picture, picture.with_name(_restored_name(picture))))
            elif output == "-":
                tasks.append((picture, None))
            else:
                tasks.append((picture, Path(output) / relative if into_folder else Path(output)))
    targets = [target for _, target in tasks if target is not None]
    if len(set(targets)) < len(targets):
        raise OptionError("Two pictures would be written to the same name: restore them one by one.")
    return tasks


def _pictures(folder: Path, *, recursive: bool) -> Iterator[Path]:
    """The JPEG files of a folder, in order, but no hidden ones."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in FORMATS["JPEG"].suffixes:
                yield Path(place) / name


def _restored_name(picture: Path) -> str:
    if picture.stem.endswith(_MARK):
        return picture.stem.removesuffix(_MARK) + picture.suffix
    return f"{picture.stem}.restored{picture.suffix}"


def _restore(source: Path, target: Path | None, *, overwrite: bool) -> None:
    data = undo.restored(_content(source))
    if target is None:
        if sys.stdout is None:
            raise OptionError("stdout is closed: give -o a file.")
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(target) and not overwrite:
        if target.is_file() and target.read_bytes() == data:
            say(f"{printable(target)} is there already, the same")
            return
        raise as_existing(target)
    make_folder(target.parent)
    write_atomically(data, target, overwrite=overwrite)
    say(f"{printable(source)} -> {printable(target)}")


def _content(source: Path) -> bytes:
    """Errors: ImageFileError, InputMissingError, without the file's name."""
    try:
        if not source.is_file():
            missing = not os.path.lexists(source)
            raise InputMissingError("does not exist.") if missing else ImageFileError("is not a regular file.")
        if source.stat().st_size > _MAX_BYTES:
            raise ImageFileError("is larger than 1 GiB, more than any file that was coloured in its own planes.")
        return source.read_bytes()
    except OSError as error:
        raise ImageFileError(f"cannot be read: {error.strerror}.") from error
