"""A colour-coded JPEG without its chroma, the coefficients of luma as they are, by libjpeg-turbo where that is installed.

Its TurboJPEG interface is a system library (Debian's libturbojpeg0, Homebrew's jpeg-turbo); no well-kept package on PyPI
has a lossless transform and a library of its own. The calls are those of libjpeg-turbo 2, which 3 still has.
"""

import ctypes
import ctypes.util
from functools import lru_cache
from typing import Any

_GREY, _PROGRESSIVE, _COPY_NOTHING = 8, 32, 64  # TJXOPT_GRAY, TJXOPT_PROGRESSIVE, TJXOPT_COPYNONE
_STOP_ON_WARNING = 8192  # TJFLAG_STOPONWARNING


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "width", "height")]


class _Transform(ctypes.Structure):
    """tjtransform of turbojpeg.h."""

    _fields_ = [
        ("region", _Region), ("operation", ctypes.c_int), ("options", ctypes.c_int),
        ("data", ctypes.c_void_p), ("filter", ctypes.c_void_p),
    ]  # fmt: skip


@lru_cache(maxsize=1)
def _library() -> Any:
    """TurboJPEG, or None."""
    name = ctypes.util.find_library("turbojpeg")
    if name is None:
        return None
    try:
        library = ctypes.CDLL(name)
        library.tjInitTransform.restype = ctypes.c_void_p
        library.tjTransform.argtypes = [
            ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_ulong), ctypes.POINTER(_Transform), ctypes.c_int,
        ]  # fmt: skip
        for function in (library.tjDestroy, library.tjFree):
            function.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError):
        return None
    return library


def can_transcode() -> bool:
    """Whether the library is there."""
    return _library() is not None


def luma_alone(data: bytes, *, progressive: bool) -> bytes | None:
    """A JPEG of one component with the luma coefficients and tables of ``data``, and no metadata.

    None for a file that the library refuses or warns of, and without the library.
    """
    library = _library()
    handle = library and library.tjInitTransform()
    if not handle:
        return None
    result, size = ctypes.c_void_p(), ctypes.c_ulong()
    transform = _Transform(options=_GREY | _COPY_NOTHING | (_PROGRESSIVE if progressive else 0))
    try:
        failed = library.tjTransform(
            handle, data, len(data), 1, ctypes.byref(result), ctypes.byref(size), ctypes.byref(transform), _STOP_ON_WARNING
        )
        return None if failed else ctypes.string_at(result, size.value)
    finally:
        library.tjFree(result)
        library.tjDestroy(handle)
