"""A picture strip by strip over threads: its luminance joined with chroma, and planes enlarged to its size."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour.space import SRGB, Space, SpaceJoiner

FloatArray = npt.NDArray[np.float32]

_STRIP_PIXELS = 160_000  # fits the cache; smaller strips make threads wait for one another more than they work
_COPY_PIXELS = 1 << 16
PARALLEL_FROM = 1 << 20  # pixels; below, starting threads costs more than it saves
JoinTile = Callable[[npt.NDArray[Any], FloatArray, npt.NDArray[Any], tuple[slice, slice]], int]


def join_picture(
    source: npt.NDArray[Any],
    space: Space | None,
    planes: FloatArray,
    depth: int,
    weights: FloatArray | float | None,
    pool: ThreadPoolExecutor,
    threads: int,
) -> tuple[Image.Image | npt.NDArray[np.uint16], int]:
    """Join the luminance of a picture with new chroma.

    ``source``: (H, W) or (H, W, 3), encoded in ``space``, None for sRGB; ``planes``: chroma as `guided.slopes_and_offsets`
    gives it; ``depth``: 8 or 16 bits per channel of the result; ``weights``: share of the new colours, 0..1, one number or
    (H, W), None for all. Returns an image of mode RGBX, or 16 bits (H, W, 3), and the number of pixels whose chroma had to
    be reduced.
    """
    height, width = source.shape[:2]
    target = np.empty((height, width, 4), np.uint8) if depth == 8 else np.empty((height, width, 3), np.uint16)
    if space is None and weights is None:
        reduced = _join_tiles(source, planes, target, _of_bytes, pool, threads)
    else:
        joiner, share = SpaceJoiner(space or SRGB, depth), 1.0 if weights is None else weights

        def join(pixels: npt.NDArray[Any], tile: FloatArray, out: npt.NDArray[Any], place: tuple[slice, slice]) -> int:
            return joiner.join(pixels, tile, out, share if isinstance(share, float) else share[place])

        reduced = _join_tiles(source, planes, target, lambda _: join, pool, threads)
    if depth == 16:
        return target.view(np.uint16), reduced
    # Without a copy: four bytes a pixel is how Pillow keeps RGB, too.
    return Image.frombuffer("RGBX", (width, height), target, "raw", "RGBX", 0, 1), reduced


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
        join, reduced = make((bottom - top) * (right - left)), 0
        buffer = np.empty(len(planes) * (bottom - top) * (right - left), np.float32)
        for top, bottom, left, right in places[first::threads]:
            shape = len(planes), bottom - top, right - left
            tile = chroma.between(top, bottom, left, right, out=buffer[: np.prod(shape)].reshape(shape))
            place = slice(top, bottom), slice(left, right)
            reduced += join(source[place], tile, target[place], place)
        return reduced

    return sum(pool.map(share, range(threads)))


def channels(values: npt.NDArray[Any]) -> Iterator[FloatArray]:
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


def to_array(image: Image.Image | npt.NDArray[Any]) -> npt.NDArray[Any]:
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
