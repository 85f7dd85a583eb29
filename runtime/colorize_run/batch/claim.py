"""May this file be replaced? `claim` looks at what has an output's name already, `RunFiles` at the files of the run itself."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from colorize_run.batch.messages import Record
from colorize_run.errors import OutputError
from colorize_run.system.files import as_existing, identity, printable


@dataclass(frozen=True)
class Free:
    """Nothing has this name."""


@dataclass(frozen=True)
class Whole:
    """The requested output exists already and is complete; ``sha256``: its digest."""

    sha256: str


@dataclass(frozen=True)
class Ours:
    """An earlier output of this program has this name: it may be replaced."""


@dataclass(frozen=True)
class Foreign:
    """Another file has this name: it may be replaced only with --overwrite, or if it is a torn output.

    ``shorter``: it is shorter than an output that once had this name. So it may be the beginning of that output, as a power
    cut or a full disk leaves it; `is_torn` decides once the output is known.
    """

    shorter: bool = False


Claim = Free | Ours | Foreign | Whole


def claim(target: Path, known: tuple[Record, ...] = (), source_sha256: str = "", key: str = "") -> Claim:
    """What has the name of an output already.

    ``known``: records of outputs that had this name; ``source_sha256`` and ``key``: of the input and of model and options.
    OutputError for a file that cannot be read.
    """
    if not os.path.lexists(target):
        return Free()
    if not known or not target.is_file():
        return Foreign()
    try:
        with target.open("rb") as file:
            sha256, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    except OSError as error:
        raise OutputError(f"{printable(target)} exists and cannot be read: {error.strerror}.") from error
    if Record(source_sha256, key, sha256, size) in known:
        return Whole(sha256)
    if any(record.output == sha256 for record in known):
        return Ours()
    return Foreign(shorter=any(size < record.size for record in known))


def is_torn(target: Path, data: bytes) -> bool:
    """Whether the file at ``target`` is the beginning of ``data``."""
    return data.startswith(target.read_bytes())


def check_replaceable(target: Path, there: Claim, *, overwrite: bool, data: bytes | None = None) -> None:
    """OutputError if the file must stay. Without ``data``, the new output, a file that may be a torn output passes."""
    if overwrite or not isinstance(there, Foreign):
        return
    if not there.shorter or (data is not None and not is_torn(target, data)):
        raise as_existing(target)


class RunFiles:
    """Files that no output of this run may replace, whatever --overwrite says: its inputs, and outputs of other pictures.

    ``unsigned``: files that were named as inputs, see `Plan`. Two names may stand for one file: by links, or on a file system
    that ignores the case of letters.
    """

    def __init__(self, inputs: Iterable[Path], unsigned: Iterable[Path]) -> None:
        self._inputs = {identity(path) for path in inputs} - {None}
        self._unsigned = {identity(path) for path in unsigned} - {None}
        self._outputs: set[tuple[int, int] | None] = set()

    def refusal(self, target: Path) -> str:
        """Why the file at ``target`` must stay, as a sentence; empty if it may be replaced."""
        if identity(target) in self._inputs:
            return f"{printable(target)} is an input of this run; inputs are never replaced."
        if identity(target) in self._unsigned:
            return f"{printable(target)} was named as an input, too: leave it out of the command, and it is replaced."
        if _entry(target) in self._outputs:
            return f"{printable(target)} is the output of another picture: both names are the same file on this file system."
        return ""

    def add_output(self, target: Path) -> None:
        """Remember that an output was written to ``target``."""
        self._outputs |= {_entry(target)} - {None}


def _entry(path: Path) -> tuple[int, int] | None:
    """Device and inode of a name; for a link those of the link itself, as replacing it does not change its target."""
    try:
        status = path.lstat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino
