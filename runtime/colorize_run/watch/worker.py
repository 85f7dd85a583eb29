"""The worker process of a watch: converts the bytes of a file into the bytes of its output. It never writes a file.

A request comes with an open file, which is read once into memory and decoded from there.
"""

import hashlib
import io
import os
import resource
import time
import traceback
from typing import Any

from PIL import Image

from colorize_run.convert import Converter
from colorize_run.errors import DeviceError, ImageFileError
from colorize_run.hints import Hints, hints_from_json
from colorize_run.image.identify import undecoded
from colorize_run.options import ConversionOptions
from colorize_run.system.worker_process import Frame, Handler

_CHUNK = 1 << 20


def _read(fd: int, limit: int) -> bytes:
    """All of a file, or one byte more than ``limit``."""
    parts, size = [], 0
    while size <= limit and (part := os.read(fd, min(_CHUNK, limit + 1 - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _resident_bytes() -> int:
    """Resident bytes of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


class FileConverter:
    """An opened model and the limits of a picture. ``description``: model and device, for the log.

    Errors: those of the model.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._max_side, self._max_bytes = options["max_side"], options["max_bytes"]
        self._options = ConversionOptions.among(options)
        Image.MAX_IMAGE_PIXELS = None  # `_refusal` checks our own limit on the header, and gives a reason
        self._convert = Converter(self._options, options["threads"])
        self._kind = None if self._options.task == "colorize" else "PNG"  # as the output's name says
        sample = io.BytesIO()
        Image.new("L", (64, 48), 120).save(sample, "PNG")
        self._convert(sample, self._kind)  # shows a failing device now, and makes the first picture as fast as the others
        model = self._convert.model
        self.description = {
            "model": model.contract.name,
            "model_sha": model.sha256,
            "device": model.device.name,
            "reason": model.device.reason,
        }

    def answer(self, request: dict[str, Any], fd: int | None) -> Frame:
        """The answer for one file; its ``kind`` is done, same, or a class of error."""
        header, body = self._answer(request, fd)
        return {**header, "rss": _resident_bytes()}, body

    def _answer(self, request: dict[str, Any], fd: int | None) -> Frame:
        assert fd is not None  # every request of a watch comes with a file
        try:
            data = _read(fd, self._max_bytes)
        except OSError as error:
            return {"kind": "input", "error": error.strerror, "errno": error.errno}, b""
        sha, hints = hashlib.sha256(data).hexdigest(), request.get("hints")
        if hints is not None:  # they are as much of the input as the picture
            sha = hashlib.sha256(f"{sha} {hints['text']}".encode()).hexdigest()
        base = {"sha": sha, "size": len(data), "model_sha": self.description["model_sha"]}
        if sha == request["known"]:
            return {**base, "kind": "same"}, b""
        start = time.perf_counter()
        try:
            if refusal := self._refusal(data):
                return {**base, "kind": refusal[0], "error": refusal[1]}, b""
            given = None if hints is None else self._hints(hints)
            output, result = self._convert(io.BytesIO(data), self._kind, hints=given)
        except Exception as error:
            return {**base, **_describe_error(error)}, b""
        seconds = {"all": time.perf_counter() - start, **result.seconds}
        digest = hashlib.sha256(output).hexdigest()
        return {**base, "kind": "done", "out_sha": digest, "seconds": seconds, "notes": result.notes[:20]}, output

    def _hints(self, file: dict[str, str]) -> Hints:
        """The hints of a file: its text, or its fault. Errors: ImageFileError."""
        if file["fault"]:
            raise ImageFileError(f"has a file of colour hints beside it that {file['fault']}.")
        if not self._convert.model.has_hints:
            raise ImageFileError(f"has a file of colour hints, but the model {self.description['model']} takes none.")
        return Hints(hints_from_json(file["text"], "has a file of colour hints beside it: it"))

    def _refusal(self, data: bytes) -> tuple[str, str] | None:
        """Class and sentence if the picture's header alone is a reason for quarantine; None if it must be decoded."""
        if len(data) > self._max_bytes:
            return "too_big", f"has more than {self._max_bytes} bytes; --max-bytes raises the limit."
        try:
            with undecoded(io.BytesIO(data)) as image:
                width, height = image.size
        except Exception:  # decoding reports the error
            return None
        limit = self._options.max_pixels
        if width * height > limit:
            size = f"has {width} x {height} = {width * height / 1e6:.0f} megapixels"
            return "too_many_pixels", f"{size}; --max-pixels raises the limit of {limit / 1e6:.0f}."
        if max(width, height) > self._max_side:
            return "too_long", f"has {width} x {height} pixels; --max-side raises the limit of {self._max_side}."
        return None


def _describe_error(error: Exception) -> dict[str, Any]:
    """The part of an answer's header that describes an error."""
    if isinstance(error, ImageFileError):
        return {"kind": "memory" if isinstance(error.__cause__, MemoryError) else "undecodable", "error": str(error)}
    if isinstance(error, DeviceError):
        return {"kind": "device", "error": str(error)}
    if isinstance(error, MemoryError):
        return {"kind": "memory", "error": "needs more memory than a worker may use."}
    return {"kind": "bug", "error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}


def start(options: dict[str, Any]) -> tuple[Handler, int, dict[str, Any]]:
    """Open the model; returns the function for requests, its one thread, and a description. Errors: those of the model."""
    converter = FileConverter(options)
    if options["memory"] and converter.description["device"] == "cpu":  # CUDA reserves address space by the terabyte
        resource.setrlimit(resource.RLIMIT_AS, (options["memory"], options["memory"]))
    return converter.answer, 1, {"rss": _resident_bytes(), **converter.description}
