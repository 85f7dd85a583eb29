"""Options in, one function from picture file to picture file out: for folders, the watch, and measurements."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from colorize_run.colorize import Colorizer
from colorize_run.control import Control, Mask, reference_picture
from colorize_run.hints import Hints, parse_hint
from colorize_run.image import cmyk
from colorize_run.network import Observe, Result
from colorize_run.options import ConversionOptions
from colorize_run.segment import Segmenter

_Convert = Callable[[Path | BinaryIO, str | None, Observe | None, Hints | None], tuple[bytes, Result]]


class Converter:
    """Opens the model that ``options`` name and converts picture files with it; may be used by several threads.

    ``threads``: of the network and the join; all when None. ``key``: `ConversionOptions.key` of the opened files.
    Errors: those of `Colorizer`, `Segmenter`, `Mask` and `Control`.
    """

    def __init__(self, options: ConversionOptions, threads: int | None = None) -> None:
        self.options = options
        self._network: Colorizer | Segmenter
        if options.task == "colorize":
            colorizer = Colorizer(
                options.model,
                options.device,
                threads,
                working_size=options.working_size,
                temperature=options.temperature,
            )
            self._network, self._convert = colorizer, _colorizing(colorizer, options)
        else:
            segmenter = Segmenter(options.model, options.device, threads, working_size=options.working_size)
            self._network, self._convert = segmenter, _segmenting(segmenter, options)
        self.model = self._network.model
        self.key = options.key(self.model.sha256, {name: sha256_of(path) for name, path in options.files.items()})

    def __call__(
        self,
        source: Path | BinaryIO,
        kind: str | None = None,
        observe: Observe | None = None,
        hints: Hints | None = None,
    ) -> tuple[bytes, Result]:
        """Convert one file, a path or an open stream; returns the new file's bytes and what is known of them.

        ``kind``: the format to write, the source's own when None (PNG for masks and cut-outs). ``observe``: see
        `Colorizer.colorize_file`. ``hints``: of this picture alone. Errors: ImageFileError, ModelFileError, DeviceError.
        """
        return self._convert(source, kind, observe, hints)


def _colorizing(colorizer: Colorizer, options: ConversionOptions) -> _Convert:
    files = options.files
    single = [parse_hint(text) for text in options.hint.split()]
    control = Control(
        options.saturation,
        options.blend,
        Mask(files["mask"]) if "mask" in files else None,
        options.keep_colour,
        Hints(single, files.get("hints")) if single or "hints" in files else None,
        reference_picture(files["like"]) if "like" in files else None,
        options.lightness,
        options.upright,
    )
    colorizer.check(control, confidence=options.confidence)
    cmyk_profile = _cmyk_profile(options)

    def convert(
        source: Path | BinaryIO, kind: str | None, observe: Observe | None, hints: Hints | None
    ) -> tuple[bytes, Result]:
        return colorizer.colorize_file(
            source,
            kind,
            raw=options.raw,
            confidence=options.confidence,
            max_pixels=options.max_pixels,
            accept_damaged=options.accept_damaged,
            keep_metadata=not options.strip_metadata,
            cmyk_profile=cmyk_profile,
            control=control if hints is None else replace(control, hints=hints),
            observe=observe,
        )

    return convert


def _cmyk_profile(options: ConversionOptions) -> bytes | None:
    path = options.files.get("cmyk_profile")
    return cmyk.read_profile(path) if path else None


def _segmenting(segmenter: Segmenter, options: ConversionOptions) -> _Convert:
    cmyk_profile = _cmyk_profile(options)

    def convert(
        source: Path | BinaryIO, kind: str | None, _observe: Observe | None, _hints: Hints | None
    ) -> tuple[bytes, Result]:
        return segmenter.segment_file(
            source,
            options.view,  # type: ignore[arg-type]  # a str in JSON; segment_file refuses what it does not know
            kind,
            max_pixels=options.max_pixels,
            accept_damaged=options.accept_damaged,
            keep_metadata=not options.strip_metadata,
            cmyk_profile=cmyk_profile,
        )

    return convert


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, hex. Errors: OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
