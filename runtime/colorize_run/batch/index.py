"""What an output folder remembers: a line of its index for every output, written before the output appears."""

import contextlib
import errno
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from colorize_run.batch.messages import Record
from colorize_run.batch.plan import INDEX_NAME
from colorize_run.system.files import as_output_errors, lock, make_folder, open_regular, printable, sync_folder

STAGED = ".colorize-run.staged"
_OWNER = re.compile("[0-9a-f]{16}")


class Index:
    """The index of one folder, held by one run at a time.

    A line is durable before its output gets its name. So a file whose digest is in a line of its name is complete and was
    written by this program, whenever a run was killed; any other file is foreign. Torn and unknown lines are ignored.
    ``owner``: how the names of this index's staged files begin. The run that holds the index may remove these and no others,
    as a run into a folder above or below this one has its own index.
    Errors: OutputError when it cannot be written, LockedError while another run holds it.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._path = root / INDEX_NAME
        make_folder(root)
        with as_output_errors(self._path):
            self._fd = open_regular(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
            try:
                lock(self._fd, f"Another run is writing to {printable(root)}: wait for it to end.")
                with open(os.dup(self._fd), "rb") as file:
                    content = file.read()
                if content and not content.endswith(b"\n"):  # torn by a power cut
                    os.write(self._fd, b"\n")
                self._known, owner = _parsed(content)
                if not owner:
                    owner = secrets.token_hex(8)
                    self._append(json.dumps({"owner": owner}) + "\n")
            except BaseException:
                os.close(self._fd)
                raise
            sync_folder(root)
        self.owner = f"{owner}-{os.fstat(self._fd).st_ino:x}"  # a copied index has another inode, so another owner

    def known(self, target: Path) -> list[Record]:
        """All records of outputs that had this name."""
        return self._known.get(self._name(target), [])

    def _name(self, target: Path) -> str:
        return os.path.relpath(os.path.abspath(target), self._root)

    def add(self, outputs: Iterable[tuple[Path, Record]]) -> None:
        """Make lines durable, before their outputs appear. OutputError when that fails."""
        lines = "".join(json.dumps({"name": self._name(target), **asdict(record)}) + "\n" for target, record in outputs)
        if not lines:
            return
        with as_output_errors(self._path):
            self._append(lines)
            os.fsync(self._fd)

    def _append(self, lines: str) -> None:
        """Append lines, all or none. Errors: OSError."""
        data = lines.encode()
        before = os.fstat(self._fd).st_size
        if os.write(self._fd, data) != len(data):
            os.ftruncate(self._fd, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Release the folder for other runs."""
        os.close(self._fd)


def sweep(folders: Iterable[Path], owner: str) -> None:
    """Remove the staged files of ``owner`` in folders: of an index that this run holds, or of this run itself."""
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(f".{owner}-") and entry.name.endswith(STAGED):
                    Path(entry.path).unlink(missing_ok=True)


def _parsed(content: bytes) -> tuple[dict[str, list[Record]], str]:
    """Outputs by name, and the owner; empty if no line has one."""
    known: dict[str, list[Record]] = {}
    owner = ""
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            fields = json.loads(line)
            if "owner" in fields:
                owner = fields["owner"] if _OWNER.fullmatch(fields["owner"]) else owner
            elif type(fields["size"]) is int:
                record = Record(str(fields["input"]), str(fields["key"]), str(fields["output"]), fields["size"])
                known.setdefault(str(fields["name"]), []).append(record)
    return known, owner
