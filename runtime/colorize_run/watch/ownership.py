"""Which INBOX an OUTBOX and a state folder belong to: names of files mean nothing without the folder that they are in.

The state folder remembers INBOX and OUTBOX in a file, which outlives a damaged ledger; OUTBOX remembers INBOX in an extended
attribute, where the file system has them, so that a second state folder does not take it over.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from colorize_run.errors import OptionError
from colorize_run.system import durable
from colorize_run.system.files import printable
from colorize_run.system.mounts import birth
from colorize_run.watch.settings import Settings

_FILE = b"folders.json"
_ATTRIBUTE = b"user.colorize-run.inbox"
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Folder:
    """A folder as it is remembered: absolute path without links, device and inode, and time of birth in ns, 0 if unknown."""

    path: str
    device: int
    inode: int
    birth: int

    @classmethod
    def at(cls, path: Path) -> "Folder":
        """The folder that is at ``path`` now. Errors: OSError."""
        status = os.stat(path)
        return cls(str(path), status.st_dev, status.st_ino, birth(path))

    @classmethod
    def parsed(cls, fields: object) -> "Folder | None":
        """From parsed JSON; None if it is something else."""
        with contextlib.suppress(TypeError):
            folder = cls(**fields)  # type: ignore[arg-type]  # whatever it is
            if isinstance(folder.path, str) and all(type(value) is int for value in list(vars(folder).values())[1:]):
                return folder
        return None

    def is_same(self, other: "Folder") -> bool:
        """Whether both are one folder: at the same path, whatever is mounted there, or the same one under another path.

        Inode numbers are used again, and device numbers belong to the next disk: together they prove something only with a
        time of birth, or without one below the root of a mount.
        """
        if self.path == other.path:
            return True
        if self.inode != other.inode or self.birth != other.birth:
            return False
        return bool(self.birth) or (self.device == other.device and not os.path.ismount(other.path))


class DamagedError(ValueError):
    """What a state folder remembers of its folders cannot be read."""


def remembered(state: int) -> dict[str, Folder]:
    """``inbox`` and ``outbox`` as the state folder remembers them; empty if it does not, as before a first start.

    Errors: DamagedError.
    """
    try:
        with os.fdopen(durable.open_beneath(state, _FILE), "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError from error
    parsed = {name: Folder.parsed(fields.get(name)) for name in ("inbox", "outbox")} if isinstance(fields, dict) else {}
    if not parsed or None in parsed.values():
        raise DamagedError
    return {name: folder for name, folder in parsed.items() if folder}


def _inbox_of(outbox: int) -> Folder | None:
    """The INBOX that an OUTBOX names in its attribute; None without one."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        return Folder.parsed(json.loads(os.getxattr(outbox, _ATTRIBUTE)))
    return None


class Ownership:
    """The folders of this watch, and what is remembered of them.

    ``now``: INBOX and OUTBOX by these names in small letters; ``state`` and ``outbox``: descriptors.
    """

    def __init__(self, settings: Settings, now: dict[str, Folder], state: int, outbox: int) -> None:
        self._settings, self._now, self._state, self._outbox = settings, now, state, outbox
        self._known, self._is_damaged = dict[str, Folder](), False
        try:
            self._known = remembered(state)
        except DamagedError:
            self._is_damaged = True
        self._named = _inbox_of(outbox)

    def check(self) -> None:
        """Refuse folders of another watch, unless --adopt is given. Errors: OptionError."""
        for fact, remedy in () if self._settings.adopt else self._conflicts():
            raise OptionError(f"{fact}: {remedy}.")

    def _conflicts(self) -> Iterator[tuple[str, str]]:
        """What belongs to another watch, and what can be done about it."""
        settings, known, now = self._settings, self._known, self._now
        is_apart = not settings.state.is_relative_to(settings.outbox)
        inbox, outbox, state = map(printable, (settings.inbox, settings.outbox, settings.state))
        if self._is_damaged and not self._named:
            fact = f"{state}/{_FILE.decode()}, which says whose OUTBOX this is, is damaged"
            yield fact, f"give --adopt if OUTBOX belongs to {inbox}"
        for folder, option, owner in (
            (outbox, "OUTBOX", self._named),
            (f"The state folder {state}" if is_apart else outbox, "--state" if is_apart else "OUTBOX", known.get("inbox")),
        ):
            if owner and not owner.is_same(now["inbox"]):
                fact = f"{folder} belongs to the watch of {printable(owner.path)}"
                yield fact, f"give another {option}, or --adopt if {inbox} takes the place of that folder"
        before = known.get("outbox")
        if is_apart and before and not before.is_same(now["outbox"]):
            fact = f"The state folder {state} belongs to the outputs in {printable(before.path)}"
            yield fact, f"give another --state, or --adopt if they were moved to {outbox}"

    def changes(self) -> Iterator[tuple[str, str]]:
        """Events for the log, with their reason: folders that are adopted, and folders that were moved."""
        if self._settings.adopt:
            for fact in dict.fromkeys(fact for fact, _ in self._conflicts()):
                yield "adopted", f"although {fact[0].lower() + fact[1:]}"
        for name, folder in self._now.items():
            before = self._known.get(name)
            if before and before.path != folder.path and before.is_same(folder):
                yield "moved", f"{name} was {before.path}, and is {folder.path} now"

    def remember(self) -> None:
        """Remember the folders durably; from now on they belong to this watch. Errors: OSError."""
        if self._known != self._now:
            folders = {name: asdict(folder) for name, folder in self._now.items()}
            durable.write(self._state, _FILE, json.dumps(folders).encode() + b"\n")
        if self._named != self._now["inbox"]:
            with contextlib.suppress(OSError):  # a file system without attributes
                os.setxattr(self._outbox, _ATTRIBUTE, json.dumps(asdict(self._now["inbox"])).encode())
                durable.sync_folder(self._outbox)
