"""One picture of a run, from its file to the bytes of its output and what is to be said of it."""

import base64
import hashlib
import io
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from colorize_run.batch.messages import Order, Outcome, Record, Request
from colorize_run.convert import Converter, sha256_of
from colorize_run.errors import ColorizeRunError, ImageFileError, OutputError
from colorize_run.options import ConversionOptions
from colorize_run.system.files import make_folder, shown, stage, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from colorize_run.batch.preview import Lightness
    from colorize_run.network import Result

    Convert = Callable[["Path | BinaryIO", str | None, "Lightness | None"], tuple[bytes, Result]]

_MAX_STANDARD_INPUT = 1 << 30


class Workshop:
    """A model, opened, and what is wanted of pictures. ``about``: name and digest of the model, its device, and why that.

    ``threads``: of the network and the join; all when None. May be used by several threads. Errors: those of the model.
    """

    def __init__(self, order: Order, threads: int | None = None) -> None:
        import warnings

        from PIL import Image

        warnings.simplefilter("ignore")  # Pillow warns of oddities in metadata; ours are notes
        Image.MAX_IMAGE_PIXELS = None  # --max-pixels decides instead, and its message names the way out
        self.order = order
        self._convert = Converter(ConversionOptions.among(asdict(order)), threads)
        model = self._convert.model
        self.says_confidence = "confidence" in model.outputs
        self.about = {
            "model": model.contract.name, "sha256": model.sha256, "path": str(model.path),
            "device": model.device.name, "why": model.device.reason, "threads": model.threads,
        }  # fmt: skip
        self.key = self._convert.key

    def do(self, request: Request) -> "tuple[Outcome, bytes, Image.Image | None]":
        """Do a picture: what became of it, its output's bytes unless they were staged, and the model's confidence.

        Errors: ModelFileError, DeviceError, which are no picture's fault.
        """
        source = Path(request.source)
        name = shown(source) if request.source else "stdin"
        try:
            if not request.source:
                return self._done(request, _standard_input())
            from colorize_run.image.reader import opened_file

            with opened_file(source) as file:
                return self._done(request, file)
        except (ImageFileError, OutputError) as error:
            return Outcome.of_error(error, name), b"", None
        except ColorizeRunError:
            raise
        except Exception as error:  # one picture's accident is not the others'
            from colorize_run.errors import internal, is_interrupt

            if is_interrupt(error) or "COLORIZE_RUN_TRACEBACK" in os.environ:
                raise
            return Outcome("failed", f"{name} met an {internal(error)}", 70), b"", None

    def _done(self, request: Request, file: BinaryIO) -> "tuple[Outcome, bytes, Image.Image | None]":
        target = Path(request.target)
        before = _state(file)
        try:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()  # type: ignore[arg-type]
        except OSError as error:
            raise ImageFileError(f"cannot be read: {error.strerror}.") from error
        found = None if not request.target else self._found(request, target, digest)
        if found and found.whole:
            outcome = Outcome("skipped", input_bytes=size, input_sha256=digest, output_sha256=found.digest)
            outcome.thumbnails = self._thumbnails(file, target)
            return outcome, b"", None
        file.seek(0)
        measured = _lightness() if self.order.measure else None
        data, result = self._convert(file, request.kind, measured.add if measured else None)
        if _state(file) != before:
            raise ImageFileError("changed while it was read.")
        if found and not found.ours and not self.order.overwrite and not _is_torn(target, data, request.known):
            raise OutputError(f"{shown(target)} exists; --overwrite replaces it.")
        outcome = Outcome(
            "copied" if result.left else "done", size=result.size, input_bytes=size, output_bytes=len(data),
            input_sha256=digest, output_sha256=hashlib.sha256(data).hexdigest(),
            clipped=result.moved_share, gamut=result.gamut, notes=result.notes,
            replaces=found is not None, lightness=measured.figures() if measured and not result.left else None,
            milliseconds={name: round(1e3 * seconds, 2) for name, seconds in result.seconds.items()},
        )  # fmt: skip
        outcome.thumbnails = self._thumbnails(file, io.BytesIO(data))
        if request.staged is not None:
            outcome.milliseconds["write"] = _staged(data, Path(request.staged), target)
            data = b""
        return outcome, data, result.confidence

    def _found(self, request: Request, target: Path, digest: str) -> "Found | None":
        """What lies where the output is to go. OutputError at once for what can only be somebody else's."""
        if not os.path.lexists(target):
            return None
        if request.known and target.is_file():
            try:
                there = sha256_of(target)
            except OSError as error:
                raise OutputError(f"{shown(target)} exists and cannot be read: {error.strerror}.") from error
            ours = any(record.output == there for record in request.known)
            if Record(digest, self.key, there, target.stat().st_size) in request.known:
                return Found(ours, whole=True, digest=there)
            if request.kept:
                raise OutputError(request.kept)
            if ours or self.order.overwrite or _may_be_torn(target, request.known):
                return Found(ours, whole=False, digest=there)
        elif request.kept:
            raise OutputError(request.kept)
        elif self.order.overwrite:
            return Found(ours=False, whole=False)
        raise OutputError(f"{shown(target)} exists; --overwrite replaces it.")

    def _thumbnails(self, before: BinaryIO, after: Path | BinaryIO) -> list[str]:
        if not self.order.thumbnails:
            return []
        from colorize_run.batch.preview import thumbnail

        try:
            before.seek(0)
            return [base64.b64encode(thumbnail(each, self.order.thumbnails)).decode() for each in (before, after)]
        except Exception:  # a picture that is done does not fail because it cannot be shown small
            return []


@dataclass(frozen=True)
class Found:
    """A file that has an output's name already: whether this program wrote it, whether nothing is left to do, its digest."""

    ours: bool
    whole: bool
    digest: str = ""


def _lightness() -> "Lightness":
    from colorize_run.batch.preview import Lightness

    return Lightness()


def _state(file: BinaryIO) -> tuple[int, int] | None:
    if isinstance(file, io.BytesIO):
        return None
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _may_be_torn(target: Path, known: tuple[Record, ...]) -> bool:
    return any(target.stat().st_size < record.size for record in known)


def _is_torn(target: Path, data: bytes, known: tuple[Record, ...]) -> bool:
    """Whether a file is the beginning of its own output: half of it, as a power cut or a full disk may leave it."""
    return _may_be_torn(target, known) and data.startswith(target.read_bytes())


def _staged(data: bytes, staged: Path, target: Path) -> float:
    """Write an output under its temporary name; milliseconds that took. Errors: OutputError."""
    start = time.perf_counter()
    make_folder(target.parent)
    with told(target):
        stage(data, staged)
    return round(1e3 * (time.perf_counter() - start), 2)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ImageFileError("is closed.")
    data = sys.stdin.buffer.read(_MAX_STANDARD_INPUT + 1)
    if not data:
        raise ImageFileError("is empty (0 bytes).")
    if len(data) > _MAX_STANDARD_INPUT:
        raise ImageFileError("is larger than 1 GiB; write it to a file first.")
    return io.BytesIO(data)
