"""Peak memory of whole processes on very large pictures: ``python -m benchmarks.memory [--megapixels N] [--kind KIND]…``.

The measure is the decoded picture: R, G, B of 8 or 16 bits for every pixel. What is stated is the highest memory of the
process (VmHWM), interpreter, libraries and model included, as a multiple of it; the bound is 4.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import tifffile
from PIL import Image, ImageCms

from benchmarks.__main__ import SAMPLES, process

BOUND = 4.0


def picture(megapixels: float) -> Image.Image:
    """A grey photograph of that many megapixels, as R, G, B."""
    with Image.open(SAMPLES / "coffee.jpg") as photograph:
        scale = (megapixels * 1e6 / (photograph.width * photograph.height)) ** 0.5
        size = round(photograph.width * scale), round(photograph.height * scale)
        return photograph.convert("L").resize(size, Image.Resampling.BICUBIC).convert("RGB")


def wide_profile() -> bytes:
    """A profile that is no sRGB: its primaries, linear light."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = profile.index(b"para")
    profile[at + 12 : at + 16] = (2 << 16).to_bytes(4, "big")  # exponent 2.0 instead of 2.4
    return bytes(profile)


def deep(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    """The same with 16 bits."""
    return np.asarray(image).astype(np.uint16) * 257


def as_png16(image: Image.Image, path: Path) -> None:
    """A 16-bit PNG; by way of OpenCV, which writes other channels first."""
    import cv2

    cv2.imwrite(str(path), deep(image)[..., ::-1])


KINDS: dict[str, tuple[int, Callable[[Image.Image, Path], object]]] = {
    "8-bit.jpg": (8, lambda image, path: image.save(path, quality=90)),
    "turned.jpg": (8, lambda image, path: image.save(path, quality=90, exif=_turned())),
    "other-space.jpg": (8, lambda image, path: image.save(path, quality=90, icc_profile=wide_profile())),
    "8-bit.png": (8, lambda image, path: image.save(path, compress_level=1)),
    "8-bit.tif": (8, lambda image, path: image.save(path, compression="tiff_adobe_deflate")),
    "16-bit.tif": (16, lambda image, path: tifffile.imwrite(path, deep(image), photometric="rgb")),
    "16-bit.png": (16, as_png16),
}


def _turned() -> bytes:
    exif = Image.Exif()
    exif[274] = 6
    return exif.tobytes()


@click.command(help=__doc__)
@click.option("--model", default="photo", show_default=True)
@click.option("--megapixels", type=click.FloatRange(1, 120), default=100, show_default=True)
@click.option("--kind", "kinds", type=click.Choice(list(KINDS)), multiple=True, help="[default: all]")
def main(model: str, megapixels: float, kinds: tuple[str, ...]) -> None:
    """Measure, and print; exit code 1 when the bound is broken."""
    image = picture(megapixels)
    pixels = image.width * image.height
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds or KINDS:
            bits, write = KINDS[kind]
            source, target = Path(folder) / kind, Path(folder) / f"out.{kind}"
            write(image, source)
            took, peak = process(str(source), "-o", str(target), "-m", model, "--device", "cpu", "--overwrite")
            decoded = pixels * 3 * bits / 8 / 1e6
            share = peak * 1.048576 / decoded
            worst = max(worst, share)
            click.echo(
                f"{kind}: {pixels / 1e6:.0f} Mpx, {decoded:.0f} MB decoded, peak {peak} MiB = {share:.2f} times, {took:.0f} s"
            )
            source.unlink()
            target.unlink()
    sys.exit(worst > BOUND)


if __name__ == "__main__":
    main()
