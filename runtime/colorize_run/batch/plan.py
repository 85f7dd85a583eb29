"""From arguments and folders to tasks: which picture is written where. No two inputs ever share an output."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from colorize_run.batch.earlier import earlier_outputs, is_signed
from colorize_run.batch.ignored import EARLIER_OUTPUTS, SUB_FOLDERS, Ignored
from colorize_run.batch.naming import Naming, is_output
from colorize_run.errors import InputMissingError, OptionError
from colorize_run.image.formats import SUFFIXES, accepted, accepted_folder
from colorize_run.system.files import identity, is_within, printable

STANDARD = Path("-")
INDEX_NAME = ".colorize-run.jsonl"
_TEMPORARY = (b"~", b".part", b".tmp", b".crdownload", b".filepart")


@dataclass(frozen=True)
class Task:
    """One picture to convert.

    ``target``: where its output goes; ``kind``: the format to write, None for the input's own; ``root``: the folder whose
    index remembers the output, if any.
    """

    source: Path
    target: Path
    kind: str | None = None
    root: Path | None = None


@dataclass(frozen=True)
class Failure:
    """Something that is known to fail before the work begins: its name, the whole sentence, and its exit code."""

    name: str
    reason: str
    code: int


@dataclass
class FolderContents:
    """What the search of a folder gave: pictures by relative name, failures, and what was ignored."""

    pictures: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    ignored: Ignored = field(default_factory=Ignored)


@dataclass
class Plan:
    """Tasks, what failed already, and what the search ignored; ``folders``: whether any was given.

    ``folder``: absolute path of the deepest folder that holds all inputs; empty if there is none, as for stdin. ``unsigned``:
    with --overwrite, files that were left out as earlier outputs, though nothing in them says that this program made them.
    """

    tasks: list[Task]
    failures: list[Failure]
    ignored: Ignored
    folders: bool
    folder: str
    unsigned: list[Path]

    @property
    def uses_streams(self) -> bool:
        """Whether a picture comes from stdin or goes to stdout."""
        return any(STANDARD in (task.source, task.target) for task in self.tasks)


def plan(names: Sequence[str], output: str | None, naming: Naming, *, recursive: bool = False, overwrite: bool = False) -> Plan:
    """Which input is written where. No picture is decoded and nothing is written.

    Errors: OptionError if two outputs would have one name, or outputs would become inputs; InputMissingError for an input
    that does not exist where only a folder makes sense, as its name may be misspelt.
    """
    folders = [name for name in names if name != "-" and os.path.isdir(name)]
    _check_arguments(names, folders, output, recursive=recursive)
    failures: list[Failure] = []
    ignored = Ignored()
    avoid = None if output in (None, "-") else identity(Path(output or ""))
    tasks: list[Task] = []
    files = [Path(name) for name in names if name != "-" and name not in folders]
    earlier = earlier_outputs(files, output, overwrite=overwrite)
    for name in names:
        if name != "-" and Path(name) in earlier:
            ignored.add(EARLIER_OUTPUTS)
        elif name in folders:
            contents = search(Path(name), recursive=recursive, avoid=avoid)
            failures += contents.failures
            ignored.update(contents.ignored)
            if not contents.pictures and not contents.failures:
                failures.append(_empty(name, contents.ignored))
            tasks += _of_folder(Path(name), contents.pictures, output, naming, alone=len(folders) == 1)
        else:
            tasks.append(_of_file(name, output, naming, alone=len(names) == 1, indexed=bool(folders)))
    _check_unique(tasks)
    unsigned = [file for file in earlier if overwrite and not is_signed(file)]
    inputs = (Path(name) if name in folders else Path(name).parent for name in names if name != "-")
    return Plan(tasks, failures, ignored, bool(folders), common_folder(inputs), unsigned)


def common_folder(folders: Iterable[Path]) -> str:
    """The deepest folder that holds all of ``folders``, as an absolute path; empty for none."""
    paths = {os.path.abspath(folder) for folder in folders}
    return os.path.commonpath(paths) if paths else ""


def _check_arguments(names: Sequence[str], folders: list[str], output: str | None, *, recursive: bool) -> None:
    if output == "":
        raise OptionError("-o is empty: name a file or a folder.")
    if recursive and not folders:
        _check_exists(names)
        raise OptionError("--recursive is for folders: give a folder.")
    if not folders and len(names) == 1:
        return
    what = f"{printable(folders[0])} is a folder" if folders else f"there are {len(names)} pictures"
    if folders and ("-" in names or output == "-"):
        raise OptionError(f"{what}: stdin and stdout cannot be combined with folders.")
    if output and _names_a_picture(output):
        raise OptionError(f"{printable(output)} is one file, but {what}: give -o a folder.")
    _check_different(folders)
    for folder in folders if output else ():
        _check_apart(Path(folder), Path(output or ""), recursive=recursive)


def _check_exists(names: Sequence[str]) -> None:
    """Before any other complaint: the real mistake may be a misspelt folder."""
    for name in names:
        if name != "-" and not os.path.lexists(name):
            raise InputMissingError(f"{printable(name)} does not exist.")


def _check_different(folders: list[str]) -> None:
    known: dict[tuple[int, int] | None, str] = {}
    for folder in folders:
        first = known.setdefault(identity(Path(folder)), folder)
        if first is not folder:
            raise OptionError(f"{printable(first)} and {printable(folder)} are the same folder: give it once.")


def _names_a_picture(output: str) -> bool:
    suffix = Path(output).suffix.lower()
    return suffix in SUFFIXES and not os.path.isdir(output) and not output.endswith(("/", os.sep))


def _check_apart(folder: Path, output: Path, *, recursive: bool) -> None:
    """Outputs of a folder must not go into the folder itself, nor into one that contains it."""
    if output.exists() and not output.is_dir():
        raise OptionError(f"{printable(output)} is a file, but {printable(folder)} is a folder: give -o a folder.")
    if identity(folder) == identity(output):
        raise OptionError(
            f"{printable(output)} is the input folder itself: omit -o to write beside the inputs, or choose another folder."
        )
    if recursive and output.exists() and is_within(folder, output):
        raise OptionError(f"With --recursive, {printable(folder)} must not be inside the output folder {printable(output)}.")


def _of_file(name: str, output: str | None, naming: Naming, *, alone: bool, indexed: bool) -> Task:
    """Where a single picture goes, and in which format if that is not its own."""
    source = STANDARD if name == "-" else Path(name)
    if output is None:
        return Task(source, source if source is STANDARD else source.parent / naming.beside(source))
    if output == "-":
        return Task(source, STANDARD)
    target = Path(output)
    if os.path.isdir(target) or not alone or output.endswith(("/", os.sep)):
        if source is STANDARD:
            raise OptionError("A picture from stdin has no name: give -o a file, not a folder.")
        return Task(source, target / naming.in_folder(source), root=target if indexed else None)
    kind = SUFFIXES.get(target.suffix.lower())
    if kind is None:
        _check_exists([name])
        raise OptionError(f"{printable(target)}: the suffix decides the format; known suffixes: {', '.join(SUFFIXES)}.")
    return Task(source, target, kind)


def _empty(name: str, ignored: Ignored) -> Failure:
    what = f"; ignored: {ignored.describe()}" if ignored else ""
    return Failure(printable(name), f"{printable(name)} contains no pictures{what}.", 66)


def _of_folder(folder: Path, names: list[str], output: str | None, naming: Naming, *, alone: bool) -> Iterator[Task]:
    """Tasks for the pictures of a folder. They go straight into -o, or below the folder's own name if several are given."""
    root = folder if output is None else Path(output)
    into = root if alone or output is None else root / Path(os.path.abspath(folder)).name
    for relative in map(Path, names):
        yield Task(folder / relative, into / relative.parent / naming.mirrored(relative, output is None), root=root)


def search(folder: Path, *, recursive: bool, avoid: tuple[int, int] | None = None) -> FolderContents:
    """The pictures in a folder, in order; ``avoid``: identity of a sub-folder not to be looked into.

    Links to pictures count as pictures; links to folders are not followed, so there is no loop and no picture twice.
    """
    contents = FolderContents()
    stack = [""]
    while stack:
        relative = stack.pop()
        try:
            with os.scandir(os.path.join(folder, relative)) as entries:
                listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            name = printable(os.path.join(folder, relative))
            contents.failures.append(Failure(name, f"The folder {name} cannot be read: {error.strerror}.", 1))
            continue
        deeper = []
        for entry in listed:
            path = os.path.join(relative, entry.name)
            if not _is_folder(entry):
                _add_file(entry.name, path, contents)
            elif _is_entered(entry, contents, avoid, recursive=recursive):
                deeper.append(path)
        stack += reversed(deeper)
    return contents


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _add_file(name: str, path: str, contents: FolderContents) -> None:
    base = os.fsencode(name)
    if is_output(base):
        contents.ignored.add(EARLIER_OUTPUTS)
    elif accepted(base):
        contents.pictures.append(path)
    elif base == os.fsencode(INDEX_NAME):
        pass
    elif base.startswith((b".", b"~")) or base.endswith(_TEMPORARY):
        contents.ignored.add("hidden or temporary")
    else:
        contents.ignored.add_file(name)


def _is_entered(entry: os.DirEntry[str], contents: FolderContents, avoid: tuple[int, int] | None, *, recursive: bool) -> bool:
    """Whether a sub-folder is searched; if not, it is counted."""
    if avoid is not None and identity(Path(entry.path)) == avoid:
        contents.ignored.add("the output folder")
    elif entry.is_symlink():
        contents.ignored.add("linked folders")
    elif not accepted_folder(os.fsencode(entry.name)):
        contents.ignored.add("hidden folders")
    elif not recursive:
        contents.ignored.add(SUB_FOLDERS)
    else:
        return True
    return False


def _check_unique(tasks: list[Task]) -> None:
    taken: dict[str, Path] = {}
    for task in tasks:
        key = os.path.abspath(task.target)
        if key in taken:
            raise OptionError(
                f"{printable(taken[key])} and {printable(task.source)} would both be written to {printable(task.target)}."
            )
        taken[key] = task.source
