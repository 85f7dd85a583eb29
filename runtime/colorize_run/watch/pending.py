"""Files on their way: who waits for what, and whose turn it is."""

import collections
import heapq
import itertools
from collections.abc import Collection
from dataclasses import dataclass

_SUSPECT_AFTER = 3  # interruptions, after which a file is not put beside others
_PATIENCE = 60.0  # seconds that a suspect waits for the others


@dataclass(slots=True, eq=False)
class Item:
    """One generation of one file. ``since`` and ``due`` are monotonic, ``first_seen`` is Unix time; ``scan`` met it last.

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
    why: str = ""
    scan: int = 0

    @property
    def suspect(self) -> bool:
        """Whether it took a worker down, or was there too often when all went down."""
        return self.strikes > 0 or self.interrupted >= _SUSPECT_AFTER


class Pending:
    """All items that are neither done nor given up, by name."""

    def __init__(self) -> None:
        self.items: dict[bytes, Item] = {}
        self._heap: list[tuple[float, int, Item]] = []
        self._ready: collections.deque[Item] = collections.deque()
        self._suspects: collections.deque[Item] = collections.deque()
        self._order = itertools.count()

    def wait(self, item: Item, state: str, due: float, why: str = "") -> None:
        """Let an item, new or known, wait until ``due``."""
        self.items[item.name] = item
        item.state, item.due, item.why = state, due, why
        heapq.heappush(self._heap, (due, next(self._order), item))

    def drop(self, item: Item) -> None:
        """An item that is no longer on its way."""
        if self.items.get(item.name) is item:
            del self.items[item.name]
        item.state = "dropped"

    def strays(self, flying: Collection[Item]) -> list[Item]:
        """Items whose turn would never come: there must be none, whatever went wrong."""
        queued = {id(item) for item in (*self._ready, *self._suspects, *flying)}
        queued |= {id(item) for due, _, item in self._heap if item.due == due}
        return [item for item in self.items.values() if id(item) not in queued]

    def next_due(self) -> float | None:
        """When the next item's wait ends."""
        return self._heap[0][0] if self._heap else None

    def pick(self, now: float, *, busy: bool) -> Item | None:
        """The next item whose turn it is. Suspects come last, and only when no worker is ``busy``."""
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
    """Of a queue in which items may have changed since, the first that still waits for its turn."""
    while queue:
        item = queue.popleft()
        if item.state == "ready":
            return item
    return None
