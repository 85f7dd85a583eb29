"""What was done before, by content: a line in the output folder's index for every output, written before the output appears."""

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from colorize_run.batch.messages import Record
from colorize_run.batch.plan import INDEX_NAME
from colorize_run.errors import LockedError
from colorize_run.system.files import make_folder, open_regular, shown, sync_folder, told

STAGED = ".colorize-run.staged"
_OWNER = re.compile("[0-9a-f]{16}")


class Index:
    """The index of one folder, held by one run at a time.

    A line is durable before its output gets its name. So an output whose digest stands in a line of its name is whole and
    this program's own, whenever the run was killed; any other file is somebody else's. Torn and foreign lines are passed over.
    ``owner``: how names of its staged files begin. Whoever holds the index may remove these and no others, as a run into a
    folder above or below this one has an index of its own.
    Errors: OutputError when it cannot be written, LockedError while another run holds it.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._path = root / INDEX_NAME
        make_folder(root)
        with told(self._path):
            self._fd = open_regular(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW)
            try:
                self._lock()
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
        self.owner = f"{owner}-{os.fstat(self._fd).st_ino:x}"  # that of a copied index is another

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"Another run is writing to {shown(self._path.parent)}: wait for it to end.") from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # shares without locks
                raise

    def known(self, target: Path) -> list[Record]:
        """Everything that was ever written under a name."""
        return self._known.get(self._name(target), [])

    def _name(self, target: Path) -> str:
        return os.path.relpath(os.path.abspath(target), self._root)

    def add(self, outputs: Iterable[tuple[Path, Record]]) -> None:
        """Make lines durable, before their outputs appear. OutputError when that fails."""
        lines = "".join(json.dumps({"name": self._name(target), **asdict(record)}) + "\n" for target, record in outputs)
        if not lines:
            return
        with told(self._path):
            self._append(lines)
            os.fsync(self._fd)

    def _append(self, lines: str) -> None:
        """Whole or not at all. Errors: OSError."""
        data = lines.encode()
        before = os.fstat(self._fd).st_size
        if os.write(self._fd, data) != len(data):
            os.ftruncate(self._fd, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._fd)


def sweep(folders: Iterable[Path], owner: str) -> None:
    """Remove what an owner left half-written in folders: an index that is held, so that no run uses it, or a run that ends."""
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(f".{owner}-") and entry.name.endswith(STAGED):
                    Path(entry.path).unlink(missing_ok=True)


def _parsed(content: bytes) -> tuple[dict[str, list[Record]], str]:
    """Outputs by name, and the owner; empty where none is told."""
    known: dict[str, list[Record]] = {}
    owner = ""
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
            said = json.loads(line)
            if "owner" in said:
                owner = said["owner"] if _OWNER.fullmatch(said["owner"]) else owner
            elif type(said["size"]) is int:
                record = Record(str(said["input"]), str(said["key"]), str(said["output"]), said["size"])
                known.setdefault(str(said["name"]), []).append(record)
    return known, owner
