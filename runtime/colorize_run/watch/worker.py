"""One worker: a process that decodes, runs the network and encodes, and may die without taking anything along.

Started by `processes.command_module`: a fresh interpreter, not a fork. A request is one JSON datagram
with an open file; the file is read once, into memory, and decoded from there. An answer is two lengths, a JSON header
and the output's bytes: no pickle, as this process handles strangers' files and shall not be believed by the one that
writes. The worker never writes a file.
"""

import contextlib
import hashlib
import io
import json
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from colorize_run.system.processes import _send, die_with

_CHUNK = 1 << 20

Answer = tuple[dict[str, Any], bytes]
Process = Callable[[bytes], tuple[bytes, Any]]


def _read(fd: int, limit: int) -> bytes:
    """All of a file, or one byte more than ``limit``."""
    parts, size = [], 0
    while size <= limit and (part := os.read(fd, min(_CHUNK, limit + 1 - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _rss() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class Worker:
    """A loaded model and the limits of a picture. Errors: those of the model."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._max_pixels, self._max_side = options["max_pixels"], options["max_side"]
        self._max_bytes = options["max_bytes"]
        self._process, self.about = self._load(options)

    def _load(self, options: dict[str, Any]) -> tuple[Process, dict[str, Any]]:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None  # ours is checked on the header, and names its reason
        process, model = (_load_colorizer if options["task"] == "colorize" else _load_segmenter)(options)
        sample = io.BytesIO()
        Image.new("L", (64, 48), 120).save(sample, "PNG")
        process(sample.getvalue())  # a device that fails shall fail now, and the first picture shall not wait
        device = model.device
        return process, {
            "model": model.contract.name,
            "model_sha": model.sha256,
            "device": device.name,
            "reason": device.reason,
        }

    def answer(self, request: dict[str, Any], fd: int) -> Answer:
        """What became of one file: ``kind`` is done, same, or a class of error."""
        from colorize_run.errors import DeviceError, ImageFileError

        try:
            data = _read(fd, self._max_bytes)
        except OSError as error:
            return {"kind": "input", "error": error.strerror, "errno": error.errno}, b""
        sha = hashlib.sha256(data).hexdigest()
        base = {"sha": sha, "size": len(data), "model_sha": self.about["model_sha"]}
        if sha == request["known"]:
            return {**base, "kind": "same"}, b""
        try:
            if refused := self._refusal(data):
                return {**base, "kind": refused[0], "error": refused[1]}, b""
            start = time.perf_counter()
            output, result = self._process(data)
        except ImageFileError as error:
            kind = "memory" if isinstance(error.__cause__, MemoryError) else "undecodable"
            return {**base, "kind": kind, "error": str(error)}, b""
        except DeviceError as error:
            return {**base, "kind": "device", "error": str(error)}, b""
        except MemoryError:
            return {**base, "kind": "memory", "error": "needs more memory than a worker may use."}, b""
        except Exception as error:
            return {**base, "kind": "bug", "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}, b""
        seconds = {"all": time.perf_counter() - start, **result.seconds}
        digest = hashlib.sha256(output).hexdigest()
        return {**base, "kind": "done", "out_sha": digest, "seconds": seconds, "notes": result.notes[:20]}, output

    def _refusal(self, data: bytes) -> tuple[str, str] | None:
        """Why a picture is refused for good by its header alone: class and sentence. None for what must be decoded."""
        from PIL import Image

        from colorize_run.image.reader import READABLE

        if len(data) > self._max_bytes:
            return "too_big", f"has more than {self._max_bytes} bytes; --max-bytes raises the limit."
        try:
            with Image.open(io.BytesIO(data), formats=[kind for kind in READABLE if kind != "HEIF"]) as image:
                width, height = image.size
        except Exception:  # decoding it finds the words
            return None
        if width * height > self._max_pixels:
            found = f"has {width} x {height} = {width * height / 1e6:.0f} megapixels"
            return "too_many_pixels", f"{found}; --max-pixels raises the limit of {self._max_pixels / 1e6:.0f}."
        if max(width, height) > self._max_side:
            return "too_long", f"has {width} x {height} pixels; --max-side raises the limit of {self._max_side}."
        return None


def _load_colorizer(options: dict[str, Any]) -> tuple[Process, Any]:
    from colorize_run.colorize import Colorizer
    from colorize_run.control import Control

    door = Colorizer(options["model"], options["device"], options["threads"])
    given: dict[str, Any] = {
        "max_pixels": options["max_pixels"],
        "keep_metadata": not options["strip_metadata"],
        "control": Control(keep_colour=options["keep_colour"]),
    }
    return (lambda data: door.colorize_file(io.BytesIO(data), **given)), door.model


def _load_segmenter(options: dict[str, Any]) -> tuple[Process, Any]:
    from colorize_run.segment import Segmenter

    door = Segmenter(options["model"], options["device"], options["threads"])
    given: dict[str, Any] = {
        "as_": options["view"],
        "kind": "PNG",  # as the output's name says
        "max_pixels": options["max_pixels"],
        "keep_metadata": not options["strip_metadata"],
    }
    return (lambda data: door.segment_file(io.BytesIO(data), **given)), door.model


def _start(options: dict[str, Any], answers: int) -> Worker | None:
    """A loaded worker that has said so; None after having said why not."""
    from colorize_run.errors import ColorizeRunError

    try:
        worker = Worker(options)
    except ColorizeRunError as error:
        _send(answers, {"kind": "refused", "exit": error.exit_code, "error": str(error)})
        return None
    except Exception as error:  # an installation that is broken
        _send(answers, {"kind": "refused", "exit": 70, "error": f"internal error: {type(error).__name__}: {error}"})
        return None
    if options["memory"] and worker.about["device"] == "cpu":  # CUDA reserves address space by the terabyte
        resource.setrlimit(resource.RLIMIT_AS, (options["memory"], options["memory"]))
    _send(answers, {"kind": "ready", "rss": _rss(), **worker.about})
    return worker


def main() -> None:
    """Serve requests until the supervisor closes the line."""
    with contextlib.suppress(BrokenPipeError):
        _serve()


def _serve() -> None:
    options = json.loads(sys.argv[1])
    die_with(options["parent"])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import warnings

    warnings.simplefilter("ignore")  # Pillow's, of oddities in metadata
    requests = socket.socket(fileno=options["requests"])
    worker = _start(options, options["answers"])
    while worker is not None:
        message, fds, _, _ = socket.recv_fds(requests, 1 << 16, 1)
        if not message:
            return
        try:
            header, body = worker.answer(json.loads(message), fds[0])
        finally:
            os.close(fds[0])
        _send(options["answers"], {**header, "rss": _rss()}, body)
        del body
