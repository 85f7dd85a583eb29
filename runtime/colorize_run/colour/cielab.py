"""Grey, CIELAB and resizing: the one implementation, used by the runtime and by training.

Pictures are sRGB-encoded (IEC 61966-2-1) with a D65 white; CIELAB is CIE 15. The join of a photograph's own
luminance with predicted chroma works in linear light, where luminance is a weighted sum of R, G and B.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

FloatArray = npt.NDArray[np.floating[Any]]  # float32 throughout; wider only within an expression
ByteArray = npt.NDArray[np.uint8]
Pixels = npt.NDArray[Any]  # bytes, or floats 0..1

_LINEAR_RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
# Rows divided by the white, so that X/Xn = Y/Yn = Z/Zn = 1 for white and every grey has a* = b* = 0 exactly.
TO_XYZ = _LINEAR_RGB_TO_XYZ / _LINEAR_RGB_TO_XYZ.sum(axis=1, keepdims=True)
FROM_XYZ = np.linalg.inv(TO_XYZ)
CIELAB_KNEE = 6 / 29  # where f(t) of CIELAB turns from a cube root into a line


def srgb_to_linear(encoded: FloatArray) -> FloatArray:
    """sRGB-encoded values, 0..1 -> linear light, 0..1; any shape."""
    curve = np.power((np.maximum(encoded, 0.04045) + 0.055) / 1.055, 2.4)
    return np.where(encoded <= 0.04045, encoded / 12.92, curve).astype(np.float32)


def linear_to_srgb(linear: FloatArray) -> FloatArray:
    """Linear light, 0..1 -> sRGB-encoded values, 0..1; any shape."""
    curve = 1.055 * np.power(np.maximum(linear, 0.0031308), 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, linear * 12.92, curve).astype(np.float32)


SRGB_BYTES_TO_LINEAR = srgb_to_linear(np.arange(256, dtype=np.float32) / 255)  # by byte
Y_WEIGHTS = TO_XYZ[1:2].astype(np.float32)


def _f(t: FloatArray) -> FloatArray:
    """CIELAB's f: cube root above (6/29)³, its tangent below."""
    return np.where(t > CIELAB_KNEE**3, np.cbrt(t), t / (3 * CIELAB_KNEE * CIELAB_KNEE) + 4 / 29).astype(np.float32)


def _f_inverse(u: FloatArray) -> FloatArray:
    """Inverse of f: cube above 6/29, its tangent below."""
    return np.where(u > CIELAB_KNEE, u * u * u, 3 * CIELAB_KNEE * CIELAB_KNEE * (u - 4 / 29)).astype(np.float32)


def srgb_to_lab(encoded: FloatArray) -> FloatArray:
    """sRGB-encoded (..., 3), 0..1 -> CIELAB (..., 3): L* 0..100, a* and b* about -110..110."""
    xyz = srgb_to_linear(encoded) @ TO_XYZ.T.astype(np.float32)
    x, y, z = (_f(np.ascontiguousarray(xyz[..., i])) for i in range(3))
    lab: FloatArray = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab


def lab_to_srgb(lab: FloatArray) -> FloatArray:
    """CIELAB (..., 3) -> sRGB-encoded (..., 3), clipped to 0..1."""
    y = (lab[..., 0] + 16) / 116
    x, z = y + lab[..., 1] / 500, y - lab[..., 2] / 200
    linear = np.stack([_f_inverse(x), _f_inverse(y), _f_inverse(z)], axis=-1) @ FROM_XYZ.T.astype(np.float32)
    return linear_to_srgb(np.clip(linear, 0, 1))


def luminance(pixels: Pixels) -> FloatArray:
    """Relative luminance Y, 0..1, as (H, W): from grey (H, W) or RGB (H, W, 3), bytes or floats 0..1, sRGB-encoded."""
    linear: Any = srgb_to_linear(pixels) if pixels.dtype != np.uint8 else cv2.LUT(pixels, SRGB_BYTES_TO_LINEAR)
    y: FloatArray = linear if linear.ndim == 2 else cv2.transform(linear, Y_WEIGHTS)
    return y


def lightness(pixels: Pixels) -> FloatArray:
    """CIELAB L*, 0..100, as (H, W): from grey or RGB, bytes or floats, as `luminance` takes them."""
    return 116 * _f(luminance(pixels)) - 16


def perceived(pixels: Pixels) -> FloatArray:
    """CIELAB's f(Y), (L* + 16) / 116, 0.138..1, as (H, W): from grey or RGB, bytes or floats, as `luminance` takes them."""
    return _f(luminance(pixels))


def perceived_of_linear(y: FloatArray) -> FloatArray:
    """CIELAB's f(Y), 0.138..1, of relative luminance, 0..1; any shape."""
    return _f(y)


def linear_of_perceived(u: FloatArray) -> FloatArray:
    """Inverse of `perceived_of_linear`, also for X and Z; any shape."""
    return _f_inverse(u)


def to_grey(rgb: Pixels, weights: Sequence[float]) -> FloatArray:
    """Weighted mean of sRGB-encoded R, G, B: (H, W, 3) or grey (H, W), bytes or 0..1 -> (H, W) float32, 0..1."""
    scaled = rgb.astype(np.float32)
    if rgb.dtype == np.uint8:
        scaled *= np.float32(1 / 255)
    return scaled if rgb.ndim == 2 else scaled @ np.asarray(weights, np.float32)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) with Pillow's antialiased bilinear filter, modes L, RGB and F.

    Large reductions are box-averaged first, to no less than three times the final size, which is four times as fast
    and changes a photograph by a quarter of a level on average. First of all by 4: for that Pillow has a fast path.
    """
    if image.size == size:
        return image
    box: tuple[float, float, float, float] = (0, 0, image.width, image.height)
    if image.width >= 12 * size[0] and image.height >= 12 * size[1]:
        box = (0, 0, image.width / 4, image.height / 4)  # the last column and row may be less than whole
        image = image.reduce(4)
    return image.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=3.0)
