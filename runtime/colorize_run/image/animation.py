"""Moving pictures: frames, durations, loops; and colours that stay the same from frame to frame."""

import contextlib
import io
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating[Any]]

_SAMPLE_PIXELS = 1 << 19
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 15 / 32


def loop_count_of(image: Image.Image) -> int:
    """How often a moving picture plays, 0 for ever. GIF stores repetitions instead, or nothing."""
    loop = image.info.get("loop")
    if image.format == "GIF":
        return 1 if loop is None else int(loop) + 1 if loop else 0
    return int(loop or 0)


def gif_blocks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """The blocks of a GIF file up to its end, as (label, beginning): an extension's label and first sub-block, or "," and the
    place and size of a frame, in pixels, as four 16-bit numbers. Source: GIF89a, section 18 and following.

    Bytes that begin no block are passed over, as Pillow does it. Errors: IndexError for a file that is cut short.
    """
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0, os.SEEK_CUR)
    while (introducer := file.read(1)) not in (b"", b";"):
        if introducer == b",":
            frame = file.read(9)
            flags = frame[8]
            file.seek((3 * 2 ** (flags % 8 + 1) if flags & 0x80 else 0) + 1, os.SEEK_CUR)
            yield b",", frame[:8]
        elif introducer == b"!":
            label, size = file.read(1), file.read(1)[0]
            yield label, file.read(size)
            if label == b"\xfe" and not size:  # a comment without text; of others Pillow reads on
                continue
        else:
            continue
        while size := file.read(1)[0]:
            file.seek(size, os.SEEK_CUR)


def frames_in(file: BinaryIO, image: Image.Image) -> int:
    """How many frames an open file has, as far as they begin: Pillow fails where a GIF is cut short within a frame's header."""
    try:
        return int(getattr(image, "n_frames", 1))
    except IndexError:
        count = 0
        with contextlib.suppress(IndexError):
            for label, _ in gif_blocks(file):
                count += label == b","
        return max(1, count)


def largest_gif(file: BinaryIO) -> tuple[int, int]:
    """The width and height that hold all frames of a GIF file: Pillow enlarges the picture when it comes to a larger one."""
    width = height = 0
    with contextlib.suppress(IndexError, struct.error):  # what is not there has no frames
        for label, start in gif_blocks(file):
            if label == b",":
                left, top, across, down = struct.unpack("<4H", start)
                width, height = max(width, left + across), max(height, top + down)
    return width, height


def encode(
    frames: Sequence[Image.Image], kind: str, durations: Sequence[float], options: dict[str, Any], *,
    loop_count: int = 1, default_image: bool = False,
) -> bytes:  # fmt: skip
    """Frames of mode RGB or RGBA as one file of GIF, PNG, WEBP or AVIF; ``durations`` in ms.

    Errors: OSError, ValueError of Pillow's encoders.
    """
    options = dict(options)
    if kind == "GIF":
        frames, transparent = _with_palette(frames)
        options |= {"optimize": False}
        if transparent is not None:
            options |= {"transparency": transparent, "disposal": 2}
        if loop_count != 1:
            options["loop"] = max(0, loop_count - 1)
    elif kind in ("PNG", "WEBP"):
        options["loop"] = loop_count
        if any(frame.mode == "RGBA" for frame in frames):
            frames = [frame.convert("RGBA") for frame in frames]
    if kind == "PNG" and default_image:
        options["default_image"] = True
        durations = durations[1:]
    if len(frames) > 1:
        whole = [round(duration) for duration in durations]
        options |= {"save_all": True, "append_images": list(frames[1:]), "duration": durations if kind == "PNG" else whole}
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, **options)
    return buffer.getvalue()


def _with_palette(frames: Sequence[Image.Image]) -> tuple[list[Image.Image], int | None]:
    """Frames with one palette of 256 colours for all, and the index that stands for transparent, if any.

    One palette, and a dither whose pattern stands still: what does not change in the picture does not change in the file.
    """
    transparent = any(frame.mode == "RGBA" and frame.getchannel("A").getextrema()[0] < 128 for frame in frames)  # type: ignore[operator]
    every = max(1, round((frames[0].width * frames[0].height * len(frames) / _SAMPLE_PIXELS) ** 0.5))
    sample = np.concatenate([np.asarray(frame.convert("RGB"))[::every, ::every].reshape(-1, 3) for frame in frames])
    palette = Image.fromarray(sample[None]).quantize(255 if transparent else 256, Image.Quantize.MEDIANCUT, kmeans=1)
    spread = _spacing(np.asarray(palette.getpalette(), np.float32).reshape(-1, 3))
    result = []
    for frame in frames:
        pattern = np.tile(_BAYER, (-(-frame.height // 4), -(-frame.width // 4)))[: frame.height, : frame.width, None]
        dithered = np.asarray(frame.convert("RGB")) + np.float32(spread) * pattern.astype(np.float32)
        flat = Image.fromarray(np.rint(dithered).clip(0, 255).astype(np.uint8)).quantize(
            palette=palette, dither=Image.Dither.NONE
        )
        if transparent and frame.mode == "RGBA":
            flat.paste(255, mask=frame.getchannel("A").point(lambda value: 255 * (value < 128)))
        result.append(flat)
    return result, 255 if transparent else None


def _spacing(colours: npt.NDArray[np.float32]) -> float:
    """About how far apart neighbouring colours of a palette are, in levels: the most that a dither may add."""
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    return float(min(24.0, np.median(nearest[np.isfinite(nearest)]))) if len(colours) > 1 else 0.0
