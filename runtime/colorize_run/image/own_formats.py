"""Formats that are encoded here and not by Pillow, from the pixels as the file holds them: JPEG 2000, PPM, PAM."""

from collections.abc import Callable
from typing import Any

from colorize_run.image import icc, jpeg2000, pnm
from colorize_run.image.late import Values
from colorize_run.image.picture import Picture

_COLOURLESS = "it is written as {}, which holds colours: PGM and PBM hold none"


def _jpeg2000(values: Values, picture: Picture, kind: str) -> bytes:
    options: dict[str, Any] = picture.save_options
    lossy = bool(options.get("lossy")) and picture.format in ("JPEG2000", "J2K")
    if kind == "J2K":
        return jpeg2000.encode(values, lossy=lossy, boxes=None)
    profile = picture.profile
    table = profile is not None and icc.space_of(profile) is None
    metadata = picture.metadata
    boxes = jpeg2000.Boxes(profile, table, metadata.exif, metadata.xmp, options.get("dpi"))
    return jpeg2000.encode(values, lossy=lossy, boxes=boxes)


def notes_of_name(suffix: str, data: bytes) -> list[str]:
    """What is to be said of a file's bytes under a name that ends with ``suffix``."""
    return [_COLOURLESS.format("PPM")] if suffix.lower() in (".pgm", ".pbm") and data[:2] == b"P6" else []


def _pnm(values: Values, picture: Picture, kind: str) -> bytes:
    if picture.save_options.get("grey"):
        picture.notes.append(_COLOURLESS.format(kind))
    return pnm.encode(values, kind, picture.metadata.comment)


ENCODERS: dict[str, Callable[[Values, Picture, str], bytes]] = {
    "JPEG2000": _jpeg2000, "J2K": _jpeg2000, "PPM": _pnm, "PAM": _pnm,
}  # fmt: skip
