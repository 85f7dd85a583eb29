"""Colourize pictures with one self-describing ONNX file; no PyTorch needed.

>>> from colorize_run import Colorizer
>>> Colorizer().colorize(Image.open("photo.jpg")).save("coloured.jpg")  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from colorize_run.version import __version__

if TYPE_CHECKING:
    from colorize_run.colorize import Colorizer
    from colorize_run.errors import ColorizeRunError
    from colorize_run.segment import Segmenter

__all__ = ["ColorizeRunError", "Colorizer", "Segmenter", "__version__"]


def __getattr__(name: str) -> Any:
    # NumPy, onnxruntime and OpenCV load on first use, so that `colorize-run --help` answers at once.
    if name == "Colorizer":
        from colorize_run.colorize import Colorizer

        return Colorizer
    if name == "Segmenter":
        from colorize_run.segment import Segmenter

        return Segmenter
    if name == "ColorizeRunError":
        from colorize_run.errors import ColorizeRunError

        return ColorizeRunError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
