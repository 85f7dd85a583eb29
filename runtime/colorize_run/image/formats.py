"""The formats that pictures come in, what each can hold, and which file names are pictures."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """What a file format can hold. ``metadata``: XMP, and EXIF if any; ``moving``: frames that follow one another in time;
    ``side``: the most pixels on a side; ``deep_side``: the fewest on one in 16 bits."""

    suffixes: tuple[str, ...]
    alpha: bool = True
    profile: bool = True
    deep: bool = False
    metadata: bool = True
    moving: bool = False
    pages: bool = False
    side: int = 1 << 31
    deep_side: int = 1


_OPENCV_SIDE = 32  # it halves a picture five times to write JPEG 2000, and has no option for fewer

# Those that photographs come in.
FORMATS = {
    "JPEG": Format((".jpg", ".jpeg", ".jpe", ".jfif"), alpha=False, side=65_500),
    "PNG": Format((".png", ".apng"), deep=True, moving=True),
    "WEBP": Format((".webp",), moving=True, side=16_383),
    "TIFF": Format((".tif", ".tiff"), deep=True, pages=True),
    "BMP": Format((".bmp", ".dib"), profile=False, metadata=False),
    "GIF": Format((".gif",), profile=False, moving=True, side=65_535),
    "AVIF": Format((".avif",), moving=True, side=32_768),  # more can be written, but libavif reads no more
    "JPEG2000": Format((".jp2", ".jpf", ".jpx"), deep=True, deep_side=_OPENCV_SIDE),
    # a bare codestream
    "J2K": Format((".j2k", ".j2c", ".jpc"), profile=False, deep=True, metadata=False, deep_side=_OPENCV_SIDE),
    "PPM": Format((".ppm", ".pgm", ".pbm", ".pnm"), alpha=False, profile=False, deep=True, metadata=False),
    "PAM": Format((".pam",), profile=False, deep=True, metadata=False),
    "HEIF": Format((".heic", ".heif"), side=65_528),  # by an extra
}
READABLE = tuple(FORMATS)
SUFFIXES = {suffix: kind for kind, known in FORMATS.items() for suffix in known.suffixes}


def accepted(name: bytes) -> bool:
    """Whether a file of this base name is a picture, and no program's temporary.

    Hidden names are rsync's, Syncthing's, ProFTPD's, Pure-FTPd's and macOS's temporaries; the others (.part,
    .crdownload, .filepart, ~syncthing~x.jpg.tmp) end in no picture's suffix.
    """
    return not name.startswith((b".", b"~syncthing~")) and Path(os.fsdecode(name)).suffix.lower() in SUFFIXES


def accepted_folder(name: bytes) -> bool:
    """Whether a sub-folder is looked into: not hidden ones, nor Synology's thumbnails."""
    return not name.startswith(b".") and name != b"@eaDir"
