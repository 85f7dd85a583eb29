"""Colour spaces that a file names by numbers instead of by an ICC profile, made into one.

PNG has cICP, or gAMA and cHRM; AVIF and HEIF have nclx. The profile takes their place in what is written, since Pillow
writes none of them. Sources: ITU-T H.273 (2023), tables 2 and 3; PNG (third edition), 11.3.2; ICC.1:2022; Bradford's
adaptation by Lindbloom.
"""

import struct
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run.errors import ImageFileError

Floats = npt.NDArray[np.float64]
Chromaticities = tuple[float, ...]  # x, y of white, red, green, blue

_D65 = (0.3127, 0.3290)
_SRGB = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}  # fmt: skip
_SRGB_CURVE = 0.0  # stands for itself where others give their exponent
# The curves of video cameras (1, 6, 14, 15) are meant for a screen that shows them much as it shows sRGB.
_EXPONENTS = {1: _SRGB_CURVE, 4: 2.2, 5: 2.8, 6: _SRGB_CURVE, 8: 1.0, 13: _SRGB_CURVE, 14: _SRGB_CURVE, 15: _SRGB_CURVE}
_UNSPECIFIED = 2
HDR = {16: "PQ", 18: "HLG"}
_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_MOST_CHUNKS, _MOST_HEAD = 1000, 1 << 16


def profile_of(image: Image.Image) -> tuple[bytes | None, str]:
    """An ICC profile of what a file, opened but not loaded, says in numbers; or None and what there is to say of it.

    None also where the numbers mean sRGB, or where the file's own ICC profile comes first.
    Errors: ImageFileError for high dynamic range, which means no colours without a screen's brightness.
    """
    own_profile = bool(image.info.get("icc_profile"))
    codes = _codes(image)
    if codes is not None:
        refuse_hdr(codes[1])
    if codes is not None and (image.format == "PNG" or not own_profile):
        return _of_codes(*codes)
    if image.format == "PNG" and not own_profile and "srgb" not in image.info and "gamma" in image.info:
        return _of_gamma(image.info["gamma"], image.info.get("chromaticity") or _SRGB)
    return None, ""


def refuse_hdr(transfer: int | None) -> None:
    """ImageFileError for PQ and HLG, by their numbers in H.273."""
    if transfer in HDR:
        raise ImageFileError(
            f"has high dynamic range ({HDR[transfer]}), whose colours depend on the screen; convert it to sRGB or Display P3."
        )


def _of_codes(primaries: int, transfer: int) -> tuple[bytes | None, str]:
    primaries, transfer = (1 if primaries == _UNSPECIFIED else primaries), (13 if transfer == _UNSPECIFIED else transfer)
    if primaries not in _PRIMARIES or transfer not in _EXPONENTS:
        return None, f"its colour space (H.273 numbers {primaries} and {transfer}) is unknown, so sRGB was assumed"
    return _of_numbers(_EXPONENTS[transfer], _PRIMARIES[primaries]), ""


def _of_gamma(encoding: float, chromaticities: Chromaticities) -> tuple[bytes | None, str]:
    """From gAMA, the exponent that encodes, and cHRM. 1 / 2.2 upon sRGB's primaries is how programs write sRGB."""
    try:
        numbers = tuple(float(value) for value in chromaticities)
        exponent = 1 / float(encoding)
        if not 0.9 <= exponent <= 4 or len(numbers) != 8 or min(numbers[1::2]) <= 0:
            raise ValueError("no display has it")
        if np.abs(np.subtract(numbers, _SRGB)).max() < 0.002:
            return (None if abs(exponent - 2.2) < 0.01 else _of_numbers(exponent, _SRGB)), ""
        return _of_numbers(exponent, numbers), ""
    except (ValueError, ZeroDivisionError, TypeError, np.linalg.LinAlgError, struct.error):
        return None, "its gAMA and cHRM values are invalid and were ignored"


def _codes(image: Image.Image) -> tuple[int, int] | None:
    """Numbers of primaries and transfer function by H.273, if the file has them."""
    if isinstance(nclx := image.info.get("nclx_profile"), dict):  # as pillow-heif reports it
        return int(nclx.get("color_primaries", _UNSPECIFIED)), int(nclx.get("transfer_characteristics", _UNSPECIFIED))
    file: Any = getattr(image, "fp", None)
    if file is None or image.format not in ("PNG", "AVIF"):
        return None
    at = file.tell()
    try:
        return _cicp(file) if image.format == "PNG" else _nclx(file)
    finally:
        file.seek(at)


def _cicp(file: BinaryIO) -> tuple[int, int] | None:
    """Of a PNG file's chunks before its pixels."""
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            break
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"cICP" and length == 4:
            data = file.read(4)
            return (data[0], data[1]) if len(data) == 4 else None
        file.seek(length + 4, 1)
    return None


def _nclx(file: BinaryIO) -> tuple[int, int] | None:
    """Of the first box ``colr`` with numbers, which lies in an AVIF file's head."""
    file.seek(0)
    head = file.read(_MOST_HEAD)
    at = head.find(b"colrnclx")
    if at < 0 or len(head) < at + 12:
        return None
    primaries, transfer = struct.unpack_from(">HH", head, at + 8)
    return primaries, transfer


@lru_cache(maxsize=16)
def _of_numbers(exponent: float, chromaticities: Chromaticities) -> bytes | None:
    """A profile of version 4 with one curve and these primaries, adapted to D50; None for sRGB's own."""
    if exponent == _SRGB_CURVE and chromaticities == _SRGB:
        return None
    if exponent == _SRGB_CURVE:
        parameters = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
        curve = b"para\0\0\0\0\0\3\0\0" + _fixed(parameters)
    else:
        curve = b"para\0\0\0\0\0\0\0\0" + _fixed((exponent,))
    return _profile("Primaries and curve as the file's numbers say", curve, chromaticities)


def of_curve(curve: bytes) -> bytes:
    """A profile with sRGB's primaries and a tone curve of one's own, the data of a profile's tag ``curv`` or ``para``."""
    return _profile("sRGB's primaries and the curve of grey", curve, _SRGB)


def _profile(name: str, curve: bytes, chromaticities: Chromaticities) -> bytes:
    adapted, adaptation = _under_d50(chromaticities)
    tags = {
        b"desc": _text(name), b"cprt": _text("CC0"), b"wtpt": b"XYZ \0\0\0\0" + _fixed(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adaptation.ravel()),
    }  # fmt: skip
    for letter, column in zip(b"rgb", adapted.T, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + _fixed(column)
        tags[bytes([letter]) + b"TRC"] = curve
    return file_of(tags)


def _under_d50(chromaticities: Chromaticities) -> tuple[Floats, Floats]:
    """X, Y, Z of red, green and blue under D50 as columns, and the adaptation that led there."""
    xy = np.array(chromaticities, np.float64).reshape(4, 2)
    white, *primaries = np.stack([xy[:, 0], xy[:, 1], 1 - xy.sum(axis=1)], axis=1) / xy[:, 1:]
    columns = np.array(primaries).T
    columns = columns * np.linalg.solve(columns, white)
    response = _BRADFORD @ _D50 / (_BRADFORD @ white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(response) @ _BRADFORD
    return adaptation @ columns, adaptation


def _fixed(values: Any) -> bytes:
    """s15Fixed16Number's."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _text(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(data), 28) + data


def file_of(tags: dict[bytes, bytes], *, device: bytes = b"mntr", space: bytes = b"RGB ", version: int = 0x04300000) -> bytes:
    """A profile of these tags, from a ``device``'s ``space`` to XYZ: ICC.1:2022, sections 7.2 and 7.3."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, data in tags.items():
        table += signature + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    # Size, no preferred engine, made at the first hour of 2000
    head = struct.pack(">I4xI4s4s4s6H4s", start + len(body), version, device, space, b"XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp")
    return (head.ljust(68, b"\0") + _fixed(_D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
