"""One worker process of a run: it reads, colours and stages pictures, and may die without taking the run along.

Started by `processes.command_module` with its options. Requests come as lines of JSON on stdin, answers go as lines of
JSON to a pipe of their own, as native libraries write to stdout. It ends with stdin, or with its parent.
"""

import contextlib
import json
import os
import queue
import resource
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from colorize_run.batch.item import ItemConverter as Workshop
from colorize_run.batch.messages import Options as Order
from colorize_run.batch.messages import Record, Request
from colorize_run.errors import ColorizeRunError, DeviceError
from colorize_run.system.processes import die_with

_M_ARENA_MAX = -8  # malloc.h
_CHUNK = 1 << 16  # bytes; what a pipe holds


class Line:
    """The pipe to the parent; several threads may speak."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock = fd, threading.Lock()

    def say(self, **said: Any) -> None:
        """One line of JSON, whole."""
        with self._lock:
            rest = memoryview(json.dumps(said).encode() + b"\n")
            while rest:
                rest = rest[os.write(self._fd, rest) :]


def _requests() -> Iterator[bytes]:
    """Lines of stdin, which a thread takes in as they come: the parent never waits to hand over while this waits to answer."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def take_in() -> None:
        rest = b""
        try:
            while part := os.read(0, _CHUNK):  # not sys.stdin, whose lock a thread would hold while the process ends
                *whole, rest = (rest + part).split(b"\n")
                for text in whole:
                    lines.put(text)
        finally:
            lines.put(None)

    threading.Thread(target=take_in, daemon=True, name="requests").start()
    return iter(lines.get, None)


def _serve(requests: Iterator[bytes], workshop: Workshop, line: Line, slots: int) -> None:
    """Do what is requested, as many at a time as there are slots."""

    def do(text: bytes) -> None:
        said = json.loads(text)
        request = Request(**{**said, "known": tuple(Record(**record) for record in said["known"])})
        try:
            outcome, _, _ = workshop.do(request)
        except ColorizeRunError as error:  # of the model or the device: no picture's fault
            line.say(stop=str(error), code=error.exit_code)
        else:
            line.say(number=request.number, outcome=asdict(outcome))

    if slots == 1:
        for text in requests:
            do(text)
        return
    with ThreadPoolExecutor(slots) as pool:
        for text in requests:
            pool.submit(_or_end, do, text)


def _or_end(do: Any, text: bytes) -> None:
    """A thread whose error nobody sees would leave the parent waiting for ever."""
    try:
        do(text)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)


def _open(options: dict[str, Any], line: Line) -> Workshop | None:
    try:
        workshop = Workshop(Order(**options["order"]), options["threads"])
    except ColorizeRunError as error:
        line.say(stop=str(error), code=error.exit_code)
        return None
    except ImportError as error:
        way_out = "`colorize-run doctor` says which, and the way out"
        line.say(stop=f"a library does not load ({error}); {way_out}.", code=DeviceError.exit_code)
        return None
    line.say(ready=workshop.about, key=workshop.key)
    return workshop


def _share_one_heap() -> None:
    """Let all threads allocate from one heap: a picture has its own, and glibc keeps a heap for each that ever was."""
    import ctypes

    with contextlib.suppress(AttributeError):  # of another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def main() -> None:
    """Serve until stdin ends, or the parent hears no more."""
    with contextlib.suppress(BrokenPipeError):
        _work()


def _work() -> None:
    options = json.loads(sys.argv[1])
    die_with(options["parent"])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    line, requests = Line(options["answers"]), _requests()
    workshop = _open(options, line)
    if workshop is None:
        return
    import cv2

    cv2.setNumThreads(options["threads"])
    on_cuda = workshop.about["device"] == "cuda"
    if not on_cuda:
        _share_one_heap()
    _serve(requests, workshop, line, options["slots"] if on_cuda else 1)
