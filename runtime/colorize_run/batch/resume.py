"""What was done before, by content: a line in the output folder's index for every output, written before the output appears."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from colorize_run.batch.plan import INDEX_NAME
from colorize_run.errors import LockedError
from colorize_run.files import make_folder, shown, sync_folder, told

STAGED = ".colorize-run.staged"


@dataclass(frozen=True)
class Record:
    """An output: SHA-256 of input and output, and the key of model and options. ``size`` of the output in bytes."""

    input: str
    key: str
    output: str
    size: int


class Index:
    """The index of one folder, held by one run at a time.

    A line is durable before its output gets its name. So an output whose digest stands in a line of its name is whole and
    this program's own, whenever the run was killed; any other file is somebody else's. Torn and foreign lines are passed over.
    Errors: OutputError when it cannot be written, LockedError while another run holds it.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._path = root / INDEX_NAME
        make_folder(root)
        with told(self._path):
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
            try:
                self._lock()
                with open(os.dup(self._fd), "rb") as file:
                    content = file.read()
                if content and not content.endswith(b"\n"):  # torn by a power cut
                    os.write(self._fd, b"\n")
            except BaseException:
                os.close(self._fd)
                raise
            sync_folder(root)
        self._known = _parsed(content)

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
            data = lines.encode()
            before = os.fstat(self._fd).st_size
            if os.write(self._fd, data) != len(data):
                os.ftruncate(self._fd, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._fd)

    def close(self) -> None:
        """Give the folder back."""
        os.close(self._fd)


def sweep(folders: Iterable[Path], token: str = "") -> None:
    """Remove what was left half-written in folders, by the run of that token or, where a lock says that none works, by any."""
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(f".{token}") and entry.name.endswith(STAGED):
                    Path(entry.path).unlink(missing_ok=True)


def _parsed(content: bytes) -> dict[str, list[Record]]:
    known: dict[str, list[Record]] = {}
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            record = Record(str(said["input"]), str(said["key"]), str(said["output"]), int(said["size"]))
            known.setdefault(str(said["name"]), []).append(record)
    return known
