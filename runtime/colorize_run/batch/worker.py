"""What a worker of a run does: it reads, converts and stages pictures, one request each."""

import contextlib
import ctypes
from dataclasses import asdict
from typing import Any

import cv2

from colorize_run.batch.item import ItemConverter
from colorize_run.batch.messages import Options, Record, Request
from colorize_run.errors import ColorizeRunError
from colorize_run.system.worker_process import Frame, Handler

_M_ARENA_MAX = -8  # malloc.h


def _share_one_heap() -> None:
    """Let all threads allocate from one heap: a picture has its own, and glibc keeps a heap for each that ever was."""
    with contextlib.suppress(AttributeError):  # of another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def start(options: dict[str, Any]) -> tuple[Handler, int, dict[str, Any]]:
    """Open the model; what answers requests, the number of threads, and what is known of the model. Errors: of the model."""
    converter = ItemConverter(Options(**options["options"]), options["threads"])
    cv2.setNumThreads(options["threads"])
    on_cuda = converter.engine.device == "cuda"
    if not on_cuda:
        _share_one_heap()

    def answer(message: dict[str, Any], _fd: int | None) -> Frame:
        request = Request(**{**message, "known": tuple(Record(**record) for record in message["known"])})
        try:
            outcome, _ = converter.do(request)
        except ColorizeRunError as error:  # of the model or the device: no picture's fault
            return {"kind": "refused", "exit": error.exit_code, "error": str(error)}, b""
        return {"kind": "done", "number": request.number, "outcome": asdict(outcome)}, b""

    return answer, options["slots"] if on_cuda else 1, {"engine": asdict(converter.engine)}
