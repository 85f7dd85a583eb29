"""Colourizing: picture in, picture out, with the picture's own luminance."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import __version__, colour, guided, image_file, moving
from colorize_run.control import Control, has_colours
from colorize_run.errors import ContractError, ModelFileError, OptionError
from colorize_run.metadata import Metadata, Provenance
from colorize_run.models import DEFAULT_COLORIZE_MODEL
from colorize_run.picture import FORMATS, Picture
from colorize_run.session import Model
from colorize_run.space import SRGB, SpaceJoiner

FloatArray = npt.NDArray[np.float32]
Observe = Callable[[Image.Image | npt.NDArray[Any], Picture], None]
T = TypeVar("T")

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.01, 10.0
_STRIP_PIXELS = 160_000  # fits the cache; smaller strips make threads wait for one another more than they work
_COPY_PIXELS = 1 << 16
PARALLEL_FROM = 1 << 20  # pixels; below, starting threads costs more than it saves


@dataclass(frozen=True)
class Prediction:
    """What the network says at its working size h x w: ``ab`` (2, h, w) CIELAB.

    Of what not every model says, or None: ``rgb`` (3, h, w) 0..1; ``confidence`` (h, w) 0..1.
    """

    ab: FloatArray
    rgb: FloatArray | None
    confidence: FloatArray | None = None


@dataclass
class Result:
    """One colourized file: seconds by stage, the share of pixels whose chroma had to give way, and notes.

    ``gamut``: what they had to give way to; ``confidence``: a mode L image of the picture's size, white where the model is
    sure, of the first frame; None where the model says nothing of it. ``size``: width and height of the first frame;
    ``left``: whether the picture was left as it is, as it has colours.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    moved_share: float = 0.0
    gamut: str = "sRGB"
    confidence: Image.Image | None = None
    notes: list[str] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    left: bool = False

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to stage ``name``."""
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time that each takes to come is added to stage ``name``."""
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item


class Colorizer:
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
        self.model = Model(str(model), device, threads)
        self.contract = self.model.contract
        if self.contract.task != "colorize":
            raise ContractError(f"{self.model.path} is a model for {self.contract.task}, not for colourizing.")
        self.working_size = self.contract.working_size.with_short_side(working_size)
        if temperature is not None and not self.model.has_temperature:
            raise OptionError(f"{self.model.path} has no temperature that could be set: leave --temperature away.")
        if temperature is not None and not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
            raise OptionError(f"A temperature of {temperature} is not possible: {MIN_TEMPERATURE} to {MAX_TEMPERATURE}.")
        self._settings = {} if temperature is None else {"temperature": np.array(temperature, np.float32)}

    @property
    def says_confidence(self) -> bool:
        """Whether the model says how sure it is."""
        return "confidence" in self.model.outputs

    def predict(self, image: Image.Image | FloatArray) -> Prediction:
        """Run the network on a picture: a Pillow image of mode L or RGB, or float32 (H, W) grey, sRGB-encoded, 0..1."""
        return self._run(self._planes(self._reduced(image)))

    def colorize(self, image: Image.Image) -> Image.Image:
        """Colourize a Pillow image of any mode that has one meaning; returns RGB (RGBA where it has alpha), 8 bits.

        CIELAB lightness is that of ``image``; its colours, if any, are looked at only by a model whose input is
        ``image``. A colour profile in ``image.info`` holds for the result, too. Errors: ImageFileError for modes I and F.
        """
        picture = image_file.from_image(image)
        self._colorize(picture, Result(), 8, Control())
        coloured = picture.in_bytes().convert("RGB")
        if (alpha := picture.alpha_in_bytes()) is not None:
            coloured = coloured.convert("RGBA")
            coloured.putalpha(alpha)
        if picture.profile is not None and not picture.convert_back:
            coloured.info["icc_profile"] = picture.profile
        return coloured

    def colorize_file(
        self, source: Path | BinaryIO, kind: str | None = None, *, raw: bool = False,
        max_pixels: int = image_file.MAX_PIXELS, keep_metadata: bool = True, control: Control | None = None,
        observe: Observe | None = None,
    ) -> tuple[bytes, Result]:  # fmt: skip
        """Colourize a picture file, each of its frames; returns the new file's bytes, in format ``kind`` or the source's own.

        ``raw`` gives the network's own picture at its working size instead. Unless ``keep_metadata``, the file says nothing
        of the picture's origin, nor that its colours came from a model; colour profile and resolution stay. ``control``:
        strength and place of the colours; what it leaves as it is comes back byte for byte where the format stays.
        ``observe`` is given the pixels of each frame before, and the coloured frame before it is encoded.
        Errors: ImageFileError, ModelFileError, DeviceError.
        """
        control = control or Control()
        result, said, left = Result(), list[list[str]](), list[bool]()
        with image_file.opened(source, max_pixels) as file:
            kind = kind or file.format
            writer = file.writer(kind)
            moves = FORMATS[file.format].moving
            steady = moving.Steady() if moves else None
            for picture in result.timed("decode", file.pictures(None if file.several_in(kind) else 1)):
                # a film is judged by its first frame
                left.append(left[0] if moves and left else not raw and self._leaves(picture, control))
                before = picture.pixels if observe and not raw else None
                result.size = picture.size if len(left) == 1 else result.size
                if raw:
                    self._raw(picture, result)
                elif not left[-1]:
                    self._colorize(picture, result, picture.depth if FORMATS[kind].deep else 8, control, steady)
                    if observe and before is not None:
                        observe(before, picture)
                        before = None
                picture.metadata = self._metadata(picture, keep=keep_metadata, sign=not left[-1])
                with result.stage("encode"):
                    writer.add(picture)
                said.append(picture.notes)
            with result.stage("encode"):
                data = file.content() if all(left) and kind == file.format and keep_metadata else writer.finish()
        result.left = all(left)
        result.notes = list(dict.fromkeys(itertools.chain.from_iterable(said)))  # some are said while encoding
        return data, result

    def _leaves(self, picture: Picture, control: Control) -> bool:
        """Whether a picture stays as it is, which its notes then say; a model that mends colours never leaves any."""
        leaves = control.keep_colour and self.model.input == "grey" and has_colours(picture)
        if leaves:
            picture.notes.append("it has colours already and was left as it is; --force colours it anew")
        return leaves

    def _metadata(self, picture: Picture, *, keep: bool, sign: bool) -> Metadata:
        if not keep:
            return Metadata()
        made_by = Provenance(self.contract.name, self.model.sha256, __version__)
        return picture.metadata.signed(made_by) if sign else picture.metadata

    def _seen(self, picture: Picture) -> tuple[npt.NDArray[Any], FloatArray]:
        """The picture as the network shall see it, (h, w) or (h, w, 3), and (h, w) its `colour.perceived` luminance."""
        if picture.space is None:
            assert isinstance(picture.pixels, Image.Image)
            small = self._reduced(picture.pixels)
            return small, colour.perceived(small)
        return picture.space.seen(self._reduced_deep(picture))

    def _reduced_deep(self, picture: Picture) -> FloatArray:
        """The same size of a picture that is no 8-bit sRGB: floats 0..1, encoded in its own space."""
        if isinstance(picture.pixels, Image.Image):
            return self._reduced(picture.pixels).astype(np.float32) / np.float32(255)
        width, height = self.working_size.fit(*picture.size)
        values: npt.NDArray[Any] = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
        if values.shape[1] >= 12 * width and values.shape[0] >= 12 * height:  # as `colour.resize` does with bytes
            quarter = values.shape[1] // 4, values.shape[0] // 4
            values = cv2.resize(values[: 4 * quarter[1], : 4 * quarter[0]], quarter, interpolation=cv2.INTER_AREA)
            values = values.reshape(quarter[1], quarter[0], -1)
        planes = [np.asarray(colour.resize(Image.fromarray(plane), (width, height))) for plane in _floats(values)]
        return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)

    def _reduced(self, image: Image.Image | FloatArray) -> npt.NDArray[Any]:
        """The picture at the size at which the network shall see it: (h, w) or (h, w, 3), bytes or floats."""
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)  # mode F
        return np.asarray(colour.resize(image, self.working_size.fit(*image.size)))

    def _planes(self, small: npt.NDArray[Any]) -> FloatArray:
        """The reduced picture as the network's input: (1, h, w) grey or (3, h, w) R, G, B, 0..1."""
        if self.model.input == "grey":
            return colour.to_grey(small, self.contract.grey_weights)[None]
        if small.ndim == 2:
            return np.repeat(colour.to_grey(small, ())[None], 3, axis=0)
        planes = small.transpose(2, 0, 1).astype(np.float32)
        return planes / np.float32(255) if small.dtype == np.uint8 else planes

    def _run(self, planes: FloatArray) -> Prediction:
        h, w = planes.shape[1:]
        size = self.working_size
        padded = np.pad(planes, ((0, 0), (0, size.pad(h) - h), (0, size.pad(w) - w)), mode="edge")
        outputs = self.model.run({self.model.input: padded[None], **self._settings})
        if outputs["ab"].shape != (1, 2, *padded.shape[1:]) or not np.isfinite(outputs["ab"]).all():
            raise ModelFileError(f"{self.model.path} gave chroma that is no number, or of another size than its input.")
        ab, rgb, confidence = (outputs.get(name) for name in ("ab", "rgb", "confidence"))
        assert ab is not None
        return Prediction(
            ab[0, :, :h, :w],
            None if rgb is None else rgb[0, :, :h, :w],
            None if confidence is None else confidence[0, 0, :h, :w],
        )

    def _raw(self, picture: Picture, result: Result) -> None:
        with result.stage("network"):
            rgb = self._run(self._planes(self._seen(picture)[0])).rgb
        if rgb is None:
            raise ContractError(f"{self.model.path} makes no picture of its own, so --raw has nothing to show.")
        picture.pixels = Image.fromarray(np.rint(rgb.transpose(1, 2, 0) * 255).clip(0, 255).astype(np.uint8))
        picture.convert_back, picture.profile, picture.space, picture.depth = False, None, None, 8
        if (alpha := picture.alpha_in_bytes()) is not None:
            picture.alpha = colour.resize(alpha, picture.pixels.size)

    def _colorize(
        self, picture: Picture, result: Result, depth: int, control: Control, steady: moving.Steady | None = None
    ) -> None:
        """Replace the picture's pixels by coloured ones: of mode RGBX, or 16 bits where ``depth`` says so."""
        width, height = picture.size
        threads = self.model.threads if width * height >= PARALLEL_FROM else 1
        with ThreadPoolExecutor(threads) as pool:
            copying = pool.submit(_to_array, picture.pixels)  # meanwhile, the network looks at the picture
            with result.stage("resize"):
                small, luminance = self._seen(picture)
            with result.stage("network"):
                prediction = self._run(self._planes(small))
                ab = prediction.ab
            if prediction.confidence is not None and result.confidence is None:
                sure = np.rint(np.clip(prediction.confidence, 0, 1) * 255).astype(np.uint8)
                result.confidence = colour.resize(Image.fromarray(sure), (width, height))
            if steady is not None:
                ab = steady.settle(luminance, ab)
            if control.saturation != 1:
                ab = ab * np.float32(control.saturation)
            with result.stage("join"):
                radius = max(1, round(guided.RADIUS * min(small.shape[:2])))
                chroma = guided.slopes_and_offsets(luminance, ab, radius)
                picture.pixels = copying.result()  # a large picture's Pillow image goes before its result comes
                picture.pixels, moved = _join(picture, chroma, depth, control, pool, threads)
        result.gamut = "sRGB" if picture.space in (None, SRGB) else "its colour space"
        result.moved_share = max(result.moved_share, moved / (width * height))


JoinTile = Callable[[npt.NDArray[Any], FloatArray, npt.NDArray[Any], tuple[slice, slice]], int]


def _join(
    picture: Picture, planes: FloatArray, depth: int, control: Control, pool: ThreadPoolExecutor, threads: int
) -> tuple[Image.Image | npt.NDArray[np.uint16], int]:
    """Join the luminance of ``picture.pixels``, an array, with chroma, whose ``planes`` `guided.slopes_and_offsets` made.

    Returns an image of mode RGBX, or of 16 bits (H, W, 3), and the number of pixels whose chroma had to give way.
    """
    source = picture.pixels
    assert not isinstance(source, Image.Image)
    height, width = source.shape[:2]
    target = np.empty((height, width, 4), np.uint8) if depth == 8 else np.empty((height, width, 3), np.uint16)
    if picture.space is None and not control.mixes:
        moved = _join_tiles(source, planes, target, _of_bytes, pool, threads)
    else:
        joiner, weights = SpaceJoiner(picture.space or SRGB, depth), control.weights((width, height))

        def join(pixels: npt.NDArray[Any], tile: FloatArray, out: npt.NDArray[Any], place: tuple[slice, slice]) -> int:
            return joiner.join(pixels, tile, out, weights if isinstance(weights, float) else weights[place])

        moved = _join_tiles(source, planes, target, lambda _: join, pool, threads)
    if depth == 16:
        return target.view(np.uint16), moved
    # Without a copy: four bytes a pixel is how Pillow keeps RGB, too.
    return Image.frombuffer("RGBX", (width, height), target, "raw", "RGBX", 0, 1), moved


def _of_bytes(pixels: int) -> JoinTile:
    """The fast join of 8-bit sRGB, with buffers for tiles of so many pixels."""
    joiner = colour.Joiner(pixels)
    return lambda source, tile, out, _: joiner.join(source, tile, out)


def _join_tiles(
    source: npt.NDArray[Any], planes: FloatArray, target: npt.NDArray[Any], make: Callable[[int], JoinTile],
    pool: ThreadPoolExecutor, threads: int,
) -> int:  # fmt: skip
    """Join tile by tile into ``target``, so that no full-size float array ever exists; ``make`` is called by each thread."""
    height, width = source.shape[:2]
    chroma = ChromaRows(planes, width, height)
    places = tiles(width, height)

    def share(first: int) -> int:
        """Every ``threads``-th tile, beginning with the ``first``."""
        top, bottom, left, right = places[0]  # none is larger
        join, moved = make((bottom - top) * (right - left)), 0
        buffer = np.empty(len(planes) * (bottom - top) * (right - left), np.float32)
        for top, bottom, left, right in places[first::threads]:
            shape = len(planes), bottom - top, right - left
            tile = chroma.between(top, bottom, left, right, out=buffer[: np.prod(shape)].reshape(shape))
            place = slice(top, bottom), slice(left, right)
            moved += join(source[place], tile, target[place], place)
        return moved

    return sum(pool.map(share, range(threads)))


def _floats(values: npt.NDArray[Any]) -> Iterator[FloatArray]:
    """Each channel of (H, W, channels) as (H, W) floats 0..1."""
    for channel in range(values.shape[2]):
        yield values[..., channel].astype(np.float32) / np.float32(65535)


def tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """(top, bottom, left, right) of strips of at most _STRIP_PIXELS pixels; very wide rows are cut, too."""
    columns = min(width, _STRIP_PIXELS)
    rows = max(1, _STRIP_PIXELS // columns)
    return [
        (top, min(top + rows, height), left, min(left + columns, width))
        for top in range(0, height, rows)
        for left in range(0, width, columns)
    ]


def _to_array(image: Image.Image | npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The pixels of a mode L or RGB image, (H, W) or (H, W, 3); by strips three times as fast as ``np.asarray``."""
    if not isinstance(image, Image.Image):
        return image
    width, height = image.size
    pixels = np.empty((height, width, 3) if image.mode == "RGB" else (height, width), np.uint8)
    rows = max(1, _COPY_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return pixels


class ChromaRows:
    """Planes (n, h, w) enlarged to a picture's width and height, bilinear, a few rows at a time."""

    def __init__(self, planes: FloatArray, width: int, height: int) -> None:
        self._wide = np.empty((*planes.shape[:2], width), np.float32)  # (n, h, width)
        for wide, plane in zip(self._wide, np.ascontiguousarray(planes), strict=True):
            wide[...] = colour.resize(Image.fromarray(plane), (width, plane.shape[0]))
        self._height = height

    def between(self, top: int, bottom: int, left: int, right: int, out: FloatArray) -> FloatArray:
        """Rows top..bottom-1 of columns left..right-1, written into ``out`` (n, bottom - top, right - left)."""
        h = self._wide.shape[1]
        centre = ((np.arange(top, bottom) + 0.5) * (h / self._height) - 0.5).clip(0, h - 1)
        upper = centre.astype(np.intp)
        lower = np.minimum(upper + 1, h - 1)
        first, last = upper[0], lower[-1] + 1
        # As a product with a matrix of weights: a row is a mix of at most two of the few source rows that are near.
        weights = np.zeros((bottom - top, last - first), np.float32)
        row = np.arange(bottom - top)
        weights[row, upper - first] = 1 - (centre - upper)
        weights[row, lower - first] += centre - upper
        rows: FloatArray = np.matmul(weights, self._wide[:, first:last, left:right], out=out)
        return rows
