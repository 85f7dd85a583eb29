"""Which generations of which files are done with, in a few bytes each: a folder may hold hundreds of thousands."""

from array import array
from collections.abc import Iterable

_FIRST = 1 << 10  # slots
_BITS = (1 << 64) - 1


class Settled:
    """A set of (name, generation) that keeps fingerprints of 64 bits alone, and which of them the last scan met.

    Nine bytes a slot, at least half of the slots free. Python's hashes are keyed anew in each process, so that nobody can
    make two files share one; that a new file among a million is taken for one that is done has a chance of 1 in 10^13.
    """

    def __init__(self) -> None:
        self._clear(_FIRST)

    def _clear(self, size: int) -> None:
        self._slots = array("Q", [0]) * size
        self._marks = bytearray(size)
        self._count = self._met = 0

    def __len__(self) -> int:
        return self._count

    @property
    def met_count(self) -> int:
        """How many the last scan met, or came since."""
        return self._met

    def replace(self, entries: Iterable[tuple[bytes, str]]) -> None:
        """Hold these, and no others."""
        self._clear(_FIRST)
        for name, gen in entries:
            self.add(name, gen)

    def begin_scan(self) -> None:
        """None is met yet."""
        self._marks = bytearray(len(self._marks))
        self._met = 0

    def add(self, name: bytes, gen: str) -> None:
        """Enter a generation, as met."""
        self._enter(_fingerprint(name, gen))
        if 2 * self._count > len(self._slots):
            self._rebuild(self._count, unmet=True)

    def meet(self, name: bytes, gen: str) -> bool | None:
        """Mark a generation as met: True the first time in this scan, False again, None when it is none of these."""
        index = self._index(_fingerprint(name, gen))
        if not self._slots[index]:
            return None
        if self._marks[index]:
            return False
        self._marks[index] = 1
        self._met += 1
        return True

    def has_met(self, name: bytes, gen: str) -> bool:
        """Whether a generation is one of these, and was met."""
        return bool(self._marks[self._index(_fingerprint(name, gen))])

    def keep_met(self) -> None:
        """Drop what the last scan did not meet."""
        self._rebuild(self._met, unmet=False)

    def _rebuild(self, count: int, *, unmet: bool) -> None:
        """A table for ``count``, with or without those that are not met."""
        size = _FIRST
        while size < 2 * count + 2:
            size *= 2
        slots, marks = self._slots, self._marks
        self._clear(size)
        for fingerprint, mark in zip(slots, marks, strict=True):
            if fingerprint and (mark or unmet):
                self._enter(fingerprint, mark)

    def _enter(self, fingerprint: int, mark: int = 1) -> None:
        index = self._index(fingerprint)
        self._count += not self._slots[index]
        self._met += mark and not self._marks[index]
        self._slots[index] = fingerprint
        self._marks[index] |= mark

    def _index(self, fingerprint: int) -> int:
        """Where a fingerprint is, or would be."""
        mask = len(self._slots) - 1
        index = fingerprint & mask
        while self._slots[index] not in (0, fingerprint):
            index = (index + 1) & mask
        return index


def _fingerprint(name: bytes, gen: str) -> int:
    return hash((name, gen)) & _BITS or 1
