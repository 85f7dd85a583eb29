"""Colourizing: picture in, picture out, with the picture's own luminance."""

import io
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour, jpeg_planes
from colorize_run.colour import distribution, guided
from colorize_run.colour.distribution import Suggestion
from colorize_run.colour.space import SRGB
from colorize_run.colour.steady import TemporalSmoother
from colorize_run.colour.strips import PARALLEL_FROM, join_picture, to_array
from colorize_run.control import HAS_COLOURS, Control
from colorize_run.errors import ContractError, ModelFileError, OptionError
from colorize_run.hints import Hints
from colorize_run.image import reader
from colorize_run.image.metadata import Metadata
from colorize_run.image.picture import Picture
from colorize_run.image.source import Source
from colorize_run.image.xmp import Provenance
from colorize_run.model.contract import CELL, LOGITS
from colorize_run.model.library import DEFAULT_COLORIZE_MODEL
from colorize_run.network import Network, Observe, Prediction, Result
from colorize_run.system.files import MAX_PIXELS
from colorize_run.version import __version__
from colorize_run.view import network_view, reduced

FloatArray = npt.NDArray[np.float32]

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 10.0


class Colorizer(Network):
    """Colourizes pictures with one model on one device.

    ``model``: a model's name or the path of its file; ``device``: auto, cpu or cuda; ``threads``: all that this
    process may use when None. ``working_size``: short side at which the network sees a picture, instead of the
    contract's; ``temperature`` of a palette's annealed mean, instead of the model's: lower is more colourful.
    One instance may be used from several threads.
    Errors: ModelFileError, ContractError, DeviceError, OptionError for what the model cannot do.
    """

    def __init__(
        self, model: str | Path = DEFAULT_COLORIZE_MODEL, device: str = "auto", threads: int | None = None, *,
        working_size: int | None = None, temperature: float | None = None,
    ) -> None:  # fmt: skip
        super().__init__("colorize", model, device, threads, working_size)
        self._temperature, self._settings = self.contract.temperature, dict[str, npt.NDArray[np.float32]]()
        if temperature is not None:
            if not self.model.has_temperature:
                raise OptionError(f"{self.model.path} has no temperature setting: omit --temperature.")
            if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
                raise OptionError(f"A temperature of {temperature} is not possible: {MIN_TEMPERATURE} to {MAX_TEMPERATURE}.")
            self._temperature, self._settings = temperature, {"temperature": np.array(temperature, np.float32)}
        self._palette = np.array(self.contract.chroma_palette, np.float32)
        self._made_by = Provenance(self.contract.name, self.model.sha256, __version__)
        self._borrowed: tuple[Image.Image, distribution.Reference] | None = None  # the last reference

    def check(self, control: Control, *, confidence: bool = False) -> None:
        """OptionError for what this model cannot do: hints, borrowed colours, or the ``confidence`` of a palette."""
        if control.hints is not None and not self.model.has_hints:
            raise OptionError(f"{self.model.path} takes no colour hints: choose another model, or omit them.")
        for wanted, what in ((control.like is not None, "--like"), (confidence, "--confidence")):
            if wanted and not len(self._palette):
                raise OptionError(f"{self.model.path} has no palette of chroma, which {what} needs: choose another model.")

    def predict(self, image: Image.Image | FloatArray, hints: Hints | None = None) -> Prediction:
        """Run the network on a picture: a Pillow image of mode L or RGB, or float32 (H, W) grey, sRGB-encoded, 0..1.

        Errors: OptionError for ``hints`` to a model that takes none, and other modes; ImageFileError for hints outside it.
        """
        self.check(control := Control(hints=hints))
        if isinstance(image, Image.Image) and image.mode not in ("L", "RGB"):
            raise OptionError(f"The network takes images of mode L and RGB, not {image.mode}: convert it first.")
        size = image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])
        small = reduced(image, self.working_size)
        return self._run(self._planes(small), None, self._hint_planes(control, size, small))

    def suggestions(
        self, image: Image.Image | FloatArray, x: float, y: float, count: int = 5, *, hints: Hints | None = None
    ) -> list[Suggestion]:
        """The ``count`` likeliest distinct colours of the place ``x``, ``y`` of ``image``, in its pixels, best first.

        ``hints`` of other places change them. Errors: OptionError for a place outside the picture, and for a model without
        a palette of chroma.
        """
        if not len(self._palette):
            raise OptionError(f"{self.model.path} has no palette of chroma to suggest from: choose another model.")
        width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
        if not (0 <= x < width and 0 <= y < height):
            raise OptionError(f"There is no place {x:g},{y:g} in a picture of {width} x {height}.")
        logits = self.predict(image, hints).logits
        assert logits is not None
        light = reduced(image, self.working_size)
        row, column = int(y / height * light.shape[0]), int(x / width * light.shape[1])
        lightness = float(colour.lightness(colour.to_grey(light, self.contract.grey_weights))[row, column])
        p = distribution.probabilities(logits)[:, row // CELL, column // CELL]
        return distribution.likeliest(p, self._palette, lightness, count)

    def colorize(self, image: Image.Image, control: Control | None = None) -> Image.Image:
        """Colourize a Pillow image of any mode that has one meaning; returns RGB (RGBA where it has alpha), 8 bits.

        CIELAB lightness is that of ``image``; its colours, if any, are looked at only by a model whose input is
        ``image``. A colour profile in ``image.info`` holds for the result, too. ``control``: strength, place and hints of
        the colours; ``keep_colour`` counts only for files. Errors: ImageFileError for modes I and F; OptionError.
        """
        control = control or Control()
        self.check(control)
        picture = reader.from_image(image)
        self._colorize(picture, Result(), 8, self._control_for(picture, replace(control, keep_colour=False)) or control)
        coloured = picture.in_bytes().convert("RGB")
        if (alpha := picture.alpha_in_bytes()) is not None:
            coloured = coloured.convert("RGBA")
            coloured.putalpha(alpha)
        if picture.profile is not None and not picture.convert_back:
            coloured.info["icc_profile"] = picture.profile
        return coloured

    def colorize_file(
        self, source: Source, kind: str | None = None, *, raw: bool = False, confidence: bool = False,
        max_pixels: int = MAX_PIXELS, keep_metadata: bool = True, control: Control | None = None,
        observe: Observe | None = None, cmyk_profile: bytes | None = None, accept_damaged: bool = False,
    ) -> tuple[bytes, Result]:  # fmt: skip
        """Colourize a picture file, each of its frames; returns the new file's bytes, in format ``kind`` or the source's own.

        ``raw`` gives the network's own picture at its working size instead, ``confidence`` a grey picture of how sure the
        network is: white where one colour is certain, black where all are as likely. Unless ``keep_metadata``, the file says
        nothing of the picture's origin, nor that its colours came from a model; colour profile and resolution stay.
        ``control``: what the user decides; what it leaves as it is comes back byte for byte where the format stays.
        ``cmyk_profile``: ICC, for CMYK that has none of its own, instead of offset print on coated paper. ``accept_damaged``:
        pictures some of whose pixels are missing are done with what is there, and a note. ``observe`` is given the pixels
        of each frame before, and the coloured frame before it is encoded. Errors: ImageFileError, ModelFileError, DeviceError,
        OptionError.
        """
        control = control or Control()
        self.check(control, confidence=confidence)
        plain = raw or confidence  # nothing is joined with the picture
        result, notes, unchanged = Result(), list[list[str]](), list[bool]()
        with reader.opened(source, max_pixels, cmyk_profile, accept_damaged=accept_damaged) as file:
            kind = kind or file.format
            if kind == "JPEG" and not plain and (done := self._in_planes(file, control, result, observe, keep_metadata)):
                return done, result
            writer = file.writer(kind, reduced=raw)
            moves = file.moves
            smoother = TemporalSmoother() if moves else None
            here: Control | None = control
            for picture in result.timed("decode", file.pictures(None if file.several_in(kind) else 1)):
                writer.check_alpha(picture)
                if not plain and not (moves and unchanged):  # a film is judged by its first frame
                    here = self._control_for(picture, control)
                unchanged.append(here is None)
                before = picture.pixels if observe and not plain else None
                result.size = picture.size if len(unchanged) == 1 else result.size
                if confidence:
                    self._show_confidence(picture, control, result)
                elif raw:
                    self._raw(picture, result)
                elif here is not None:
                    self._colorize(picture, result, writer.depth_of(picture), here, smoother)
                    if observe and before is not None:
                        observe(before, picture)
                        before = None
                picture.metadata = self._metadata(picture, keep=keep_metadata, sign=not unchanged[-1])
                with result.stage("encode"):
                    writer.add(picture)
                notes.append(picture.notes)
            with result.stage("encode"):
                whole = all(unchanged) and kind == file.format and keep_metadata
                data = file.content() if whole else writer.finish(default_image=file.default_image)
        result.unchanged = all(unchanged)
        every = list(dict.fromkeys(itertools.chain(*notes, file.left_out)))  # some are added while encoding
        result.notes = [HAS_COLOURS, *file.damage] if whole else every  # a file that stays as it is loses nothing
        return data, result

    def _in_planes(
        self, file: reader.PictureFile, control: Control, result: Result, observe: Observe | None, keep_metadata: bool
    ) -> bytes | None:
        """A JPEG coloured in its own planes; None for a file that must be joined, or is not to be coloured."""
        if control.lightness != "luma" or file.format != "JPEG":
            return None
        luma_jpeg = jpeg_planes.opened(file.content())
        if luma_jpeg is None or (luma_jpeg.coded and self.model.input != "grey") or (control.upright and luma_jpeg.turned):
            return None
        with result.stage("decode"):
            small = luma_jpeg.small(self.working_size.short_side)
        if small is None:
            return None
        picture = luma_jpeg.upright(small)
        here = self._control_for(picture, control)
        result.notes += picture.notes
        if here is None:
            return None

        def predict(grey: FloatArray, luminance: FloatArray) -> FloatArray:
            return self._chroma(grey, luminance, luma_jpeg.size, control)

        made_by = self._made_by if keep_metadata else None
        data = jpeg_planes.colorize(luma_jpeg, small, self.working_size, predict, here, made_by, result)
        if data and observe:
            observe(next(file.pictures(1)).pixels, reader.read(io.BytesIO(data)))
        return data

    def _control_for(self, picture: Picture, control: Control) -> Control | None:
        """`Control.for_picture`. A model that repairs colours changes every picture, everywhere."""
        return control.for_picture(picture) if self.model.input == "grey" else control

    def _metadata(self, picture: Picture, *, keep: bool, sign: bool) -> Metadata:
        signed = picture.metadata.signed(self._made_by) if sign else picture.metadata
        return signed if keep else Metadata()

    def _planes(self, small: npt.NDArray[Any]) -> FloatArray:
        """The reduced picture as the network's input: (1, h, w) grey or (3, h, w) R, G, B, 0..1."""
        if self.model.input == "grey":
            return colour.to_grey(small, self.contract.grey_weights)[None]
        if small.ndim == 2:
            return np.repeat(colour.to_grey(small, ())[None], 3, axis=0)
        planes = small.transpose(2, 0, 1).astype(np.float32)
        return planes / np.float32(255) if small.dtype == np.uint8 else planes

    def _run(self, planes: FloatArray, wanted: tuple[str, ...] | None = None, hints: FloatArray | None = None) -> Prediction:
        """Run the network at its working size; ``wanted`` outputs, all when None, as far as the model has them."""
        names = [name for name in self.model.outputs if wanted is None or name in wanted]
        outputs = self.run_on(planes, self._settings, names, hints)
        if len(outputs["ab"]) != 2:
            raise ModelFileError(f"{self.model.path} gave {len(outputs['ab'])} planes of chroma, not the two planes a* and b*.")
        return Prediction(outputs["ab"], outputs.get("rgb"), outputs.get(LOGITS))

    def _hint_planes(self, control: Control, size: tuple[int, int], small: npt.NDArray[Any]) -> FloatArray | None:
        """The hints for a picture of ``size`` (width, height) that the network sees as ``small``."""
        return None if control.hints is None else control.hints.planes(size, (small.shape[1], small.shape[0]))

    def _chroma(
        self, small: npt.NDArray[Any], luminance: FloatArray, size: tuple[int, int], control: Control,
        smoother: TemporalSmoother | None = None,
    ) -> FloatArray:  # fmt: skip
        """a*, b* (2, h, w) for a picture of ``size`` (width, height), seen as ``small``, all that ``control`` says done."""
        hints = self._hint_planes(control, size, small)
        predicted = self._run(self._planes(small), ("ab",) if control.like is None else ("ab", LOGITS), hints)
        ab = predicted.ab
        if control.like is not None:
            assert predicted.logits is not None
            change = self._reference(control.like).change(predicted.logits, luminance, self._temperature)
            ab = ab + (change if hints is None else change * (1 - hints[2]))
        if smoother is not None:
            ab = smoother.apply(luminance, ab)
        if control.saturation != 1:
            stronger = ab * np.float32(control.saturation)
            ab = stronger if hints is None else np.where(hints[2] > 0, ab, stronger)  # hints are as they are
        return ab

    def _reference(self, like: Image.Image) -> distribution.Reference:
        if self._borrowed is None or self._borrowed[0] is not like:
            rgb = np.float32(1 / 255) * reduced(like, self.working_size).astype(np.float32)
            self._borrowed = like, distribution.Reference(rgb, self._palette)
        return self._borrowed[1]

    def _show_confidence(self, picture: Picture, control: Control, result: Result) -> None:
        with result.stage("network"):
            small = network_view(picture, self.working_size)[0]
            logits = self._run(self._planes(small), (LOGITS, "ab"), self._hint_planes(control, picture.size, small)).logits
        assert logits is not None
        grey = distribution.confidence_picture(logits, (small.shape[1], small.shape[0]))
        picture.become(grey.resize(picture.size, Image.Resampling.BILINEAR).convert("RGB"))

    def _raw(self, picture: Picture, result: Result) -> None:
        with result.stage("network"):
            rgb = self._run(self._planes(network_view(picture, self.working_size)[0]), ("ab", "rgb")).rgb
        if rgb is None:
            raise ContractError(f"{self.model.path} has no picture output: omit --raw.")
        picture.become(Image.fromarray(np.rint(rgb.transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8)))
        if (alpha := picture.alpha_in_bytes()) is not None:
            picture.alpha = colour.resize(alpha, picture.size)

    def _colorize(
        self, picture: Picture, result: Result, depth: int, control: Control, smoother: TemporalSmoother | None = None
    ) -> None:
        """Replace the picture's pixels by coloured ones: of mode RGBX, or 16 bits where ``depth`` says so."""
        width, height = picture.size
        threads = self.model.threads if width * height >= PARALLEL_FROM else 1
        with ThreadPoolExecutor(threads) as pool:
            copying = pool.submit(to_array, picture.pixels)  # meanwhile, the network looks at the picture
            with result.stage("resize"):
                small, luminance = network_view(picture, self.working_size)
            with result.stage("network"):
                ab = self._chroma(small, luminance, picture.size, control, smoother)
            with result.stage("join"):
                radius = max(1, round(guided.RADIUS * min(small.shape[:2])))
                chroma = guided.slopes_and_offsets(luminance, ab, radius)
                picture.pixels = copying.result()  # a large picture's Pillow image goes before its result comes
                weights = control.weights(picture.size) if control.mixes else None
                picture.pixels, moved = join_picture(picture.pixels, picture.space, chroma, depth, weights, pool, threads)
        result.gamut = "sRGB" if picture.space in (None, SRGB) else "its colour space"
        result.out_of_gamut = max(result.out_of_gamut, moved / (width * height))
