"""What a network gets to see of a picture: the picture at its working size."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour.strips import channels
from colorize_run.image.picture import Picture
from colorize_run.model.contract import WorkingSize

FloatArray = npt.NDArray[np.float32]


def network_view(picture: Picture, working_size: WorkingSize) -> tuple[npt.NDArray[Any], FloatArray]:
    """The picture as the network must get it, (h, w) or (h, w, 3), and (h, w) its `colour.perceived` luminance."""
    if picture.space is None:
        assert isinstance(picture.pixels, Image.Image)
        small = reduced(picture.pixels, working_size)
        return small, colour.perceived(small)
    return picture.space.network_view(_reduced_deep(picture, working_size))


def reduced(image: Image.Image | FloatArray, working_size: WorkingSize) -> npt.NDArray[Any]:
    """An image of 8 bits, or floats (H, W), at the size that the network gets: (h, w) or (h, w, 3), bytes or floats."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)  # mode F
    return np.asarray(colour.resize(image, working_size.fit(*image.size)))


def _reduced_deep(picture: Picture, working_size: WorkingSize) -> FloatArray:
    """The same size of a picture that is no 8-bit sRGB: floats 0..1, encoded in its own space."""
    if isinstance(picture.pixels, Image.Image):
        return reduced(picture.pixels, working_size).astype(np.float32) / np.float32(255)
    width, height = working_size.fit(*picture.size)
    values: npt.NDArray[Any] = picture.pixels if picture.pixels.ndim == 3 else picture.pixels[..., None]
    if values.shape[1] >= 12 * width and values.shape[0] >= 12 * height:  # as `colour.resize` does with bytes
        quarter = values.shape[1] // 4, values.shape[0] // 4
        values = cv2.resize(values[: 4 * quarter[1], : 4 * quarter[0]], quarter, interpolation=cv2.INTER_AREA)
        values = values.reshape(quarter[1], quarter[0], -1)
    planes = [np.asarray(colour.resize(Image.fromarray(plane), (width, height))) for plane in channels(values)]
    return planes[0] if len(planes) == 1 else np.stack(planes, axis=-1)
