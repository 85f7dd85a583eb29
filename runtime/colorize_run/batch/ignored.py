"""What a run leaves out, counted by its kind, so that a person notices pictures that were meant to be converted."""

from collections import Counter
from pathlib import Path

from colorize_run.system.files import printable

EARLIER_OUTPUTS = "earlier outputs"
SUB_FOLDERS = "sub-folders"
_HINTS = {SUB_FOLDERS: " (use --recursive to include them)"}
_NONE = "without a suffix"
_MOST = 6  # kinds of files that are named
_LONGEST = 16  # characters of a suffix


class Ignored:
    """Counts of what was left out. Files that are no pictures are counted by suffix; the case of letters does not count."""

    def __init__(self) -> None:
        self._kinds: Counter[str] = Counter()
        self._suffixes: Counter[str] = Counter()
        self._spelling: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self._kinds or self._suffixes)

    def add(self, kind: str) -> None:
        """Count something by its ``kind``, in the plural."""
        self._kinds[kind] += 1

    def add_file(self, name: str) -> None:
        """Count a file that is no picture, by its suffix."""
        suffix = Path(name).suffix
        key = suffix.lower() or _NONE
        self._suffixes[key] += 1
        self._spelling.setdefault(key, suffix)

    def update(self, other: "Ignored") -> None:
        """Add the counts of another folder."""
        self._kinds += other._kinds
        self._suffixes += other._suffixes
        self._spelling = other._spelling | self._spelling

    def describe(self) -> str:
        """In words, the most frequent suffixes first: ``.CR3: 5, .txt: 2, linked folders: 1``; empty for nothing."""
        named = sorted(self._suffixes.items(), key=lambda entry: (-entry[1], entry[0]))
        counts = [(self._show(key), count) for key, count in named[:_MOST]]
        if others := sum(count for _, count in named[_MOST:]):
            counts.append(("others", others))
        counts += [(kind, count) for kind, count in self._kinds.items()]
        return ", ".join(f"{kind}: {count}{_HINTS.get(kind, '')}" for kind, count in counts)

    def _show(self, key: str) -> str:
        if key == _NONE:
            return key
        suffix = self._spelling[key]
        return printable(suffix if len(suffix) <= _LONGEST else f"{suffix[: _LONGEST - 1]}…")
