"""Segmenting: picture in; mask, soft mask, overlay or cut-out of the full size out."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour import guided
from colorize_run.colour.strips import PARALLEL_FROM, ChromaRows, tiles
from colorize_run.errors import ContractError, ModelFileError, OptionError
from colorize_run.image import reader
from colorize_run.image.encode import Writer, encode
from colorize_run.image.formats import FORMATS
from colorize_run.image.metadata import Metadata
from colorize_run.image.picture import Picture
from colorize_run.image.source import Source
from colorize_run.model.library import DEFAULT_SEGMENT_MODEL
from colorize_run.network import Network, Result
from colorize_run.options import FORMS, Form
from colorize_run.system.files import MAX_PIXELS

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]

# How outlines are refined along the picture's own edges; chosen on flowers: `python -m benchmarks.outlines`.
_GUIDE_SIDE = 512  # short side at which colour is compared with the network's answer
_RADIUS = 1 / 24  # of the window, as a share of that
_EPSILON = 3e-4  # variance of R, G or B below which a window counts as flat
_GAIN = 3.0  # slope of opacity over the refined probability: what is nearly sure becomes opaque, or goes
_OVERLAY = 0.5  # share of the class's colour


class Segmenter(Network):
    """Segments pictures with one model on one device.

    ``model``: a model's name or the path of its file; ``device``: auto, cpu or cuda; ``threads``: all that this
    process may use when None. ``working_size``: short side at which the network sees a picture, instead of the
    contract's. One instance may be used from several threads.
    Errors: ModelFileError, ContractError, DeviceError, OptionError.
    """

    def __init__(
        self, model: str | Path = DEFAULT_SEGMENT_MODEL, device: str = "auto", threads: int | None = None, *,
        working_size: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__("segment", model, device, threads, working_size)
        if not 2 <= len(self.contract.classes) <= 256 or len(self.contract.classes) != len(self.contract.class_colours):
            raise ContractError(f"{self.model.path} breaks its contract: two to 256 classes, and a colour for each.")

    def predict(self, image: Image.Image | FloatArray) -> FloatArray:
        """Probabilities of the classes at the network's working size, (C, h, w).

        ``image``: a Pillow image of mode L or RGB, or float32 (H, W) grey, sRGB-encoded, 0..1. OptionError for other modes.
        """
        if isinstance(image, Image.Image) and image.mode not in ("L", "RGB"):
            raise OptionError(f"A picture of mode {image.mode} must be converted to L or RGB first.")
        return self._run(_planes(_resized(image, self.working_size.fit(*_size(image)))))

    def _run(self, small: FloatArray) -> FloatArray:
        probabilities = self.run_on(small, {}, ["probabilities"])["probabilities"]
        if len(probabilities) != len(self.contract.classes):
            raise ModelFileError(
                f"{self.model.path} gave {len(probabilities)} classes, not the {len(self.contract.classes)} of its contract."
            )
        return probabilities

    def segment(self, image: Image.Image) -> ByteArray:
        """Class numbers of each pixel, (H, W), of a Pillow image of any mode that has one meaning."""
        picture = reader.from_image(image)
        return self._refined(picture, Result()).mask()

    def segment_file(
        self, source: Source, as_: Form = "mask", kind: str | None = None, *,
        max_pixels: int = MAX_PIXELS, keep_metadata: bool = True, cmyk_profile: bytes | None = None,
        accept_damaged: bool = False,
    ) -> tuple[bytes, Result]:  # fmt: skip
        """Segment a picture file, the first frame of several; returns the bytes of a new file of the picture's full size.

        ``as_``: "mask", an indexed PNG of class numbers in the contract's colours; "soft", a grey PNG, white where the
        picture is no background; "overlay", the picture with the classes' colours laid over it, in its own format or
        ``kind``; "cutout", the picture with all background transparent, PNG or ``kind``. Of the picture's metadata the last
        two keep what the format holds, unless ``keep_metadata`` is false. ``cmyk_profile``, ``accept_damaged``: as of
        `Colorizer.colorize_file`.
        Errors: ImageFileError, ModelFileError, DeviceError, OptionError for a mask or soft mask that is no PNG, and for a
        cut-out in a format without transparency.
        """
        if as_ not in FORMS:
            raise OptionError(f"There is no form {as_!r}; choose {', '.join(FORMS)}.")
        if as_ in ("mask", "soft") and kind not in (None, "PNG"):
            raise OptionError(f"A {as_} is written as PNG, not as {kind}.")
        if as_ == "cutout" and kind in FORMATS and not FORMATS[kind].alpha:
            raise OptionError(f"A cut-out has transparency, which {kind} cannot hold: write PNG, WebP or TIFF.")
        result = Result()
        with result.stage("decode"), reader.opened(source, max_pixels, cmyk_profile, accept_damaged=accept_damaged) as file:
            kind = kind or (file.format if as_ == "overlay" else "PNG")
            file.check_room(kind)
            picture = next(file.pictures(1))
            if as_ == "overlay":
                Writer(kind).check_alpha(picture)
            elif as_ == "cutout":
                Writer(kind).depth_of(picture)
        result.size = picture.size
        if not keep_metadata:
            picture.metadata = Metadata()
        refined = self._refined(picture, result)
        with result.stage("encode"):
            data = _WRITERS[as_](picture, refined, kind)
        result.notes = picture.notes
        return data, result

    def _refined(self, picture: Picture, result: Result) -> "Refined":
        pixels = picture.in_bytes()  # encoded as they are: what guides need not be sRGB
        with result.stage("network"):
            view = _resized(pixels, self.working_size.fit(*pixels.size))
            if picture.space is not None:
                view, _ = picture.space.network_view(view.astype(np.float32) / np.float32(255))
            small = self._run(_planes(view))
        with result.stage("refine"):
            width, height = pixels.size
            guide = _planes(_resized(pixels, _guide_size(width, height)))
            enlarged = (
                np.asarray(cv2.resize(plane, guide.shape[:0:-1], interpolation=cv2.INTER_LINEAR), np.float32)
                for plane in small[1:]
            )
            radius = max(1, round(_RADIUS * min(guide.shape[1:])))
            lines = [guided.colour_lines(guide, plane, radius, _EPSILON) for plane in enlarged]
            threads = self.model.threads if width * height >= PARALLEL_FROM else 1
            return Refined(_apply(pixels, lines, threads), self.contract.class_colours)


class Refined:
    """Probabilities of all classes but the first, the background, as bytes: ``planes`` (C - 1, H, W)."""

    def __init__(self, planes: ByteArray, colours: tuple[tuple[int, ...], ...]) -> None:
        self.planes, self.colours = planes, colours

    def mask(self) -> ByteArray:
        """The most probable class of each pixel, (H, W)."""
        if len(self.planes) == 1:
            return np.asarray(self.planes[0] >= 128, np.uint8)
        background = 255 - np.minimum(self.planes.sum(axis=0, dtype=np.uint16), 255)
        mask: ByteArray = np.concatenate([background[None], self.planes]).argmax(axis=0).astype(np.uint8)
        return mask

    def foreground(self) -> ByteArray:
        """How sure it is that a pixel is no background, (H, W), 0..255."""
        total = self.planes[0] if len(self.planes) == 1 else np.minimum(self.planes.sum(axis=0, dtype=np.uint16), 255)
        return np.asarray(total, np.uint8)

    def opacity(self) -> Image.Image:
        """Alpha of a cut-out: `foreground`, steeper around the middle; mode L."""
        steps = (np.arange(256) - 127.5) * _GAIN + 127.5
        return Image.fromarray(np.rint(steps).clip(0, 255).astype(np.uint8)[self.foreground()])


def _write_mask(picture: Picture, refined: Refined, kind: str) -> bytes:
    del kind  # always PNG
    image = Image.fromarray(refined.mask(), "P")
    image.putpalette([value for rgb in refined.colours for value in rgb])
    return encode(Picture(image, "PNG", save_options=_dpi(picture)))


def _write_soft(picture: Picture, refined: Refined, kind: str) -> bytes:
    del kind
    return encode(Picture(Image.fromarray(refined.foreground()), "PNG", save_options=_dpi(picture)))


def _dpi(picture: Picture) -> dict[str, Any]:
    return {name: value for name, value in picture.save_options.items() if name == "dpi"}


def _write_overlay(picture: Picture, refined: Refined, kind: str) -> bytes:
    """Half the colour of the likeliest class over the picture wherever it is no background."""
    colours = np.array(refined.colours[1:], np.uint8)[refined.planes.argmax(axis=0)]
    share = refined.opacity().point(lambda value: value * _OVERLAY)
    if picture.depth == 16:
        picture.notes.append("its 16 bits per channel were rounded to 8")
    picture.pixels = Image.composite(Image.fromarray(colours), picture.in_bytes().convert("RGB"), share)
    picture.alpha, picture.depth = picture.alpha_in_bytes(), 8
    return encode(picture, kind)


def _write_cutout(picture: Picture, refined: Refined, kind: str) -> bytes:
    """The picture's own pixels, its alpha multiplied by the opacity; invisible pixels are erased."""
    opacity: npt.NDArray[Any] = np.asarray(refined.opacity())
    if not isinstance(picture.pixels, Image.Image):  # 16 bits stay 16 bits
        opacity = opacity.astype(np.uint16) * np.uint16(257)
    if picture.alpha is not None:
        before, full = np.asarray(picture.alpha), np.iinfo(opacity.dtype).max
        opacity = np.rint(opacity * (before / np.float32(np.iinfo(before.dtype).max))).clip(0, full).astype(opacity.dtype)
    if isinstance(picture.pixels, Image.Image):
        picture.alpha = Image.fromarray(opacity)
        picture.pixels.paste(0, mask=picture.alpha.point(lambda value: 255 * (value == 0)))
    else:
        picture.alpha = opacity
        visible = opacity > 0
        picture.pixels = picture.pixels * (visible if picture.pixels.ndim == 2 else visible[..., None])
    return encode(picture, kind)


_WRITERS: dict[Form, Callable[[Picture, Refined, str], bytes]] = {
    "mask": _write_mask, "soft": _write_soft, "overlay": _write_overlay, "cutout": _write_cutout,
}  # fmt: skip


def _size(image: Image.Image | FloatArray) -> tuple[int, int]:
    return image.size if isinstance(image, Image.Image) else (image.shape[1], image.shape[0])


def _guide_size(width: int, height: int) -> tuple[int, int]:
    scale = min(1.0, _GUIDE_SIDE / min(width, height), 4 * _GUIDE_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _resized(image: Image.Image | FloatArray, size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.asarray(colour.resize(image if isinstance(image, Image.Image) else Image.fromarray(image), size))


def _planes(pixels: npt.NDArray[Any]) -> FloatArray:
    """R, G, B, (3, h, w), 0..1, of bytes or floats, grey (h, w) or colours (h, w, 3)."""
    scaled = pixels.astype(np.float32) / np.float32(255) if pixels.dtype == np.uint8 else pixels.astype(np.float32)
    return np.repeat(scaled[None], 3, axis=0) if scaled.ndim == 2 else np.ascontiguousarray(scaled[..., :3].transpose(2, 0, 1))


def _apply(image: Image.Image | FloatArray, lines: list[FloatArray], threads: int) -> ByteArray:
    """The planes that ``lines`` (4, h, w) each describe, at the picture's full size: (len(lines), H, W) bytes of 0..1."""
    width, height = _size(image)
    result = np.empty((len(lines), height, width), np.uint8)
    rows = [ChromaRows(planes, width, height) for planes in lines]

    def fill(place: tuple[int, int, int, int]) -> None:
        top, bottom, left, right = place
        part = image.crop((left, top, right, bottom)) if isinstance(image, Image.Image) else image[top:bottom, left:right]
        guide = _planes(np.asarray(part))
        buffer = np.empty((4, bottom - top, right - left), np.float32)
        for plane, enlarged in zip(result, rows, strict=True):
            line = enlarged.between(top, bottom, left, right, out=buffer)
            line[:3] *= guide
            plane[top:bottom, left:right] = (line.sum(axis=0).clip(0, 1) * 255 + 0.5).astype(np.uint8)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fill, tiles(width, height)))
    return result
