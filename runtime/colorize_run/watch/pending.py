"""Pending files, their order, and the set of settled files."""

import collections
import heapq
import itertools
from array import array
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_FIRST = 1 << 10  # slots
_BITS = (1 << 64) - 1

_SUSPECT_AFTER = 3  # interruptions, after which a file is processed alone
_PATIENCE = 60.0  # most seconds that a suspect waits for other files


@dataclass(slots=True, eq=False)
class Item:
    """One generation of one file. ``since``, ``due``: monotonic times; ``first_seen``: Unix time; ``scan``: the last one.

    ``state``: settling, incomplete or retry while it waits until ``due``, then ready, then claimed.
    """

    name: bytes
    gen: str
    since: float
    due: float
    first_seen: float
    strikes: int = 0
    interrupted: int = 0
    retries: int = 0
    state: str = "settling"
    scan: int = 0

    @property
    def suspect(self) -> bool:
        """Whether a worker crashed because of it, or the whole watch was killed too often while it was processed."""
        return self.strikes > 0 or self.interrupted >= _SUSPECT_AFTER


class Pending:
    """All items that are neither done nor quarantined, by name."""

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._ready: collections.deque[Item] = collections.deque()
        self._suspects: collections.deque[Item] = collections.deque()
        self._order = itertools.count()

    def wait(self, item: Item, state: str, due: float) -> None:
        """Let a new or known item wait until ``due``."""
        self.items[item.name] = item
        item.state, item.due = state, due
        heapq.heappush(self._heap, (due, next(self._order), item))

    def drop(self, item: Item) -> None:
        """Remove an item."""
        if self.items.get(item.name) is item:
            del self.items[item.name]
        item.state = "dropped"

    def strays(self, in_flight: Collection[Item]) -> list[Item]:
        """Items that no queue holds, and that would wait for ever; normally none."""
        queued = {id(item) for item in (*self._ready, *self._suspects, *in_flight)}
        queued |= {id(item) for due, _, item in self._heap if item.due == due}
        return [item for item in self.items.values() if id(item) not in queued]

    def next_due(self) -> float | None:
        """Monotonic time at which the next item is due; None if none waits."""
        return self._heap[0][0] if self._heap else None

    def pick(self, now: float, *, busy: bool) -> Item | None:
        """The next ready item. Suspects come last, and only while no worker is ``busy``."""
        self._wake(now)
        starving = self._suspects and now - self._suspects[0].due > _PATIENCE
        if not starving and (item := _first_ready(self._ready)):
            return item
        return None if busy else _first_ready(self._suspects)

    def _wake(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            due, _, item = heapq.heappop(self._heap)
            if item.due == due and item.state in ("settling", "incomplete", "retry"):
                item.state = "ready"
                (self._suspects if item.suspect else self._ready).append(item)


def _first_ready(queue: collections.deque[Item]) -> Item | None:
    """The first item of a queue that is still ready: items may have changed since they were added."""
    while queue:
        item = queue.popleft()
        if item.state == "ready":
            return item
    return None


class Settled:
    """A set of (name, generation) that stores only 64-bit fingerprints, and which of them the last scan met.

    A slot takes nine bytes; at least half of the slots are free. Python's hashes have a new key in each process, so nobody
    can construct a collision; the chance that a new file among a million is mistaken for a settled one is 1 in 10^13.
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
        """Number of entries that the last scan met, or that were added since."""
        return self._met

    def replace(self, entries: Iterable[tuple[bytes, str]]) -> None:
        """Replace all entries."""
        self._clear(_FIRST)
        for name, gen in entries:
            self.add(name, gen)

    def begin_scan(self) -> None:
        """Begin a scan: no entry is met yet."""
        self._marks = bytearray(len(self._marks))
        self._met = 0

    def add(self, name: bytes, gen: str) -> None:
        """Add a generation, as met."""
        self._enter(_fingerprint(name, gen))
        if 2 * self._count > len(self._slots):
            self._rebuild(self._count, unmet=True)

    def meet(self, name: bytes, gen: str) -> bool | None:
        """Mark a generation as met: True the first time in this scan, then False; None if it is not in the set."""
        index = self._index(_fingerprint(name, gen))
        if not self._slots[index]:
            return None
        if self._marks[index]:
            return False
        self._marks[index] = 1
        self._met += 1
        return True

    def has_met(self, name: bytes, gen: str) -> bool:
        """Whether a generation is in the set and was met."""
        return bool(self._marks[self._index(_fingerprint(name, gen))])

    def keep_met(self) -> None:
        """Remove entries that the last scan did not meet."""
        self._rebuild(self._met, unmet=False)

    def _rebuild(self, count: int, *, unmet: bool) -> None:
        """Rebuild the table for ``count`` entries, with or without those that were not met."""
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
        """Index of a fingerprint, or of the slot where it belongs."""
        mask = len(self._slots) - 1
        index = fingerprint & mask
        while self._slots[index] not in (0, fingerprint):
            index = (index + 1) & mask
        return index


def _fingerprint(name: bytes, gen: str) -> int:
    return hash((name, gen)) & _BITS or 1
