"""SIGTERM and SIGHUP end a run as Ctrl-C does."""

import signal
import threading
from typing import Any


class Ended(KeyboardInterrupt):
    """What SIGTERM and SIGHUP raise, so that they end a run as Ctrl-C does. ``signal``: its number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = number


class Signals:
    """While entered, the first SIGTERM or SIGHUP raises `Ended`, unless the process ignores it, as under nohup.

    Later ones are ignored, as they would interrupt the writing of reports: a terminal that is closed sends both, twice.
    """

    def __init__(self) -> None:
        self._ignoring = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, self._handle)
        return self

    def ignore(self) -> None:
        """Raise nothing from now on."""
        self._ignoring = True

    def _handle(self, number: int, _frame: Any) -> None:
        if not self._ignoring:
            self._ignoring = True
            raise Ended(number)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
