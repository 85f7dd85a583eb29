"""One picture of a run, from its file to the bytes of its output and an account of what was done."""

import base64
import hashlib
import io
import os
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from colorize_run.batch.claim import Claim, Foreign, Free, Ours, Whole, check_replaceable, claim
from colorize_run.batch.messages import Engine, Options, Outcome, Request
from colorize_run.batch.preview import Lightness, thumbnail
from colorize_run.convert import Converter
from colorize_run.errors import ColorizeRunError, ImageFileError, OutputError, internal, is_interrupt
from colorize_run.image.own_formats import notes_of_name
from colorize_run.image.source import opened_file
from colorize_run.network import Result
from colorize_run.options import ConversionOptions
from colorize_run.system.files import as_output_errors, make_folder, printable, stage, standard_input
from colorize_run.system.times import NOT_HELD, Times, give_times, times_of


class ItemConverter:
    """Converts picture after picture of a run with one opened model; may be used by several threads.

    ``threads``: of the network and the join; all when None. ``engine``: what is known of the model and its device. Errors:
    those of the model.
    """

    def __init__(self, options: Options, threads: int | None = None) -> None:
        warnings.simplefilter("ignore")  # Pillow warns of oddities in metadata; ours are notes
        Image.MAX_IMAGE_PIXELS = None  # --max-pixels decides instead, and its message names the fix
        self.options = options
        self._convert = Converter(ConversionOptions.among(asdict(options)), threads)
        model = self._convert.model
        self.engine = Engine(
            model=model.contract.name,
            sha256=model.sha256,
            path=str(model.path),
            device=model.device.name,
            why=model.device.reason,
            threads=model.threads,
            key=self._convert.key,
        )

    def do(self, request: Request) -> tuple[Outcome, bytes]:
        """Convert a picture: its outcome, and the bytes of its output unless they were staged.

        Errors: ModelFileError, DeviceError, which are no picture's fault.
        """
        source = Path(request.source)
        name = printable(source) if request.source else "stdin"
        try:
            if not request.source:
                return self._do(request, io.BytesIO(standard_input()))
            with opened_file(source) as file:
                return self._do(request, file)
        except (ImageFileError, OutputError) as error:
            return Outcome.of_error(error, name), b""
        except ColorizeRunError:
            raise
        except Exception as error:  # one picture's accident does not end the run
            if is_interrupt(error) or "COLORIZE_RUN_TRACEBACK" in os.environ:
                raise
            return Outcome("failed", f"{name} met an {internal(error)}", 70), b""

    def _do(self, request: Request, file: BinaryIO) -> tuple[Outcome, bytes]:
        state = _state(file)
        times = times_of(file.fileno()) if self.options.keep_times else None  # reading the file changes them
        sha256, size = _digest_and_size(file)
        there = self._claim(request, sha256)
        if isinstance(there, Whole):
            outcome = Outcome("skipped", input_bytes=size, input_sha256=sha256, output_sha256=there.sha256)
            self._add_thumbnails(outcome, file, Path(request.target))
            _note_times(outcome, held=give_times(Path(request.target), times))
            return outcome, b""
        file.seek(0)
        lightness = Lightness() if self.options.measure else None
        data, result = self._convert(file, request.kind, lightness.add if lightness else None)
        said = notes_of_name(Path(request.target).suffix, data)
        result.notes += [note for note in said if note not in result.notes]
        if _state(file) != state:
            raise ImageFileError("changed while it was read.")
        check_replaceable(Path(request.target), there, overwrite=self.options.overwrite, data=data)
        outcome = _outcome(result, data, lightness)
        outcome.input_bytes, outcome.input_sha256 = size, sha256
        outcome.replaces = not isinstance(there, Free)
        self._add_thumbnails(outcome, file, io.BytesIO(data))
        if request.staged is not None:
            _stage(outcome, data, request.staged, Path(request.target), times)
            return outcome, b""
        outcome.times = times
        return outcome, data

    def _claim(self, request: Request, sha256: str) -> Claim:
        """What has the output's name already. OutputError if that is known to stay before the conversion."""
        if not request.target:
            return Free()
        target = Path(request.target)
        there = claim(target, request.known, sha256, self.engine.key)
        if isinstance(there, Ours | Foreign):
            if request.refusal:
                raise OutputError(request.refusal)
            check_replaceable(target, there, overwrite=self.options.overwrite)
        return there

    def _add_thumbnails(self, outcome: Outcome, before: BinaryIO, after: Path | BinaryIO) -> None:
        if not self.options.thumbnails:
            return
        try:
            before.seek(0)
            pair = [thumbnail(source, self.options.thumbnails) for source in (before, after)]
        except Exception:  # a picture that is done does not fail because it cannot be shown small
            return
        outcome.thumbnails = [base64.b64encode(data).decode() for data, _ in pair]
        outcome.thumbnail_size = pair[1][1]


def _outcome(result: Result, data: bytes, lightness: Lightness | None) -> Outcome:
    return Outcome(
        "copied" if result.unchanged else "done",
        size=result.size,
        output_bytes=len(data),
        output_sha256=hashlib.sha256(data).hexdigest(),
        clipped=result.out_of_gamut,
        gamut=result.gamut,
        notes=result.notes,
        lightness=lightness.figures() if lightness and not result.unchanged else None,
        milliseconds={name: round(1e3 * seconds, 2) for name, seconds in result.seconds.items()},
    )


def _digest_and_size(file: BinaryIO) -> tuple[str, int]:
    """SHA-256 and bytes of an open file. Errors: ImageFileError."""
    try:
        return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()  # type: ignore[arg-type]
    except OSError as error:
        raise ImageFileError(f"cannot be read: {error.strerror}.") from error


def _state(file: BinaryIO) -> tuple[int, int] | None:
    if isinstance(file, io.BytesIO):
        return None
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _stage(outcome: Outcome, data: bytes, staged: str, target: Path, times: Times | None) -> None:
    """Write an output under its temporary name, and record how long that took. Errors: OutputError."""
    start = time.perf_counter()
    make_folder(target.parent)
    with as_output_errors(target):
        _note_times(outcome, held=stage(data, Path(staged), times))
    outcome.milliseconds["write"] = round(1e3 * (time.perf_counter() - start), 2)


def _note_times(outcome: Outcome, *, held: bool) -> None:
    if not held:
        outcome.notes.append(NOT_HELD)
