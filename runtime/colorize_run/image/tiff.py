"""TIFF files as a structure: which of their pictures are pages.

Sources: TIFF 6.0; TIFF Technical Note 1 (SubIFDs); BigTIFF; DNG 1.6; TIFF/EP (ISO 12234-2).
"""

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import BinaryIO

from PIL import ExifTags, Image

from colorize_run.errors import ImageFileError

Tag = ExifTags.Base
Values = dict[int, tuple[int, ...]]

_REDUCED, _MASK = 1, 4  # bits of NewSubfileType
_OLD_REDUCED = 2  # of SubfileType
_RAW_COLOURS = (32803, 34892)  # PhotometricInterpretation: colour filter array, linear raw
_SUBFILE, _NEW_SUBFILE, _SUB_DIRECTORIES, _DNG_VERSION = 255, 254, 330, 50706
_PLACES = ((Tag.StripOffsets, Tag.StripByteCounts), (Tag.TileOffsets, Tag.TileByteCounts))
_READ = (
    _NEW_SUBFILE, _SUBFILE, Tag.ImageWidth, Tag.ImageLength, Tag.BitsPerSample, Tag.Compression, Tag.PhotometricInterpretation,
    Tag.SamplesPerPixel, Tag.PlanarConfiguration, Tag.Predictor, Tag.TileWidth, Tag.ExtraSamples,
    Tag.SampleFormat, *_PLACES[0], *_PLACES[1], _SUB_DIRECTORIES, _DNG_VERSION,
)  # fmt: skip
_MASK_COLOURS, _LAB = 4, 8  # PhotometricInterpretation
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # kinds of TIFF fields that hold unsigned numbers
_MOST_VALUES = 1000
_DAMAGE = (struct.error, KeyError, ValueError, OverflowError, OSError)  # what a damaged structure leads to


@dataclass(frozen=True)
class Directory:
    """One picture of a TIFF file: the offset of its directory, the tags that matter here, and the pictures below it."""

    offset: int
    tags: Values
    below: tuple["Directory", ...] = ()

    def first(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return self.tags.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as stored."""
        return self.first(Tag.ImageWidth), self.first(Tag.ImageLength)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.size[0] * self.size[1]

    @property
    def is_reduced(self) -> bool:
        """Whether it is a smaller copy of another picture: a thumbnail, or a level of a pyramid."""
        if _NEW_SUBFILE in self.tags:
            return bool(self.first(_NEW_SUBFILE) & _REDUCED)
        return self.first(_SUBFILE) == _OLD_REDUCED

    @property
    def is_mask(self) -> bool:
        """Whether it is the transparency mask of another picture."""
        return bool(self.first(_NEW_SUBFILE) & _MASK) or self.first(Tag.PhotometricInterpretation) == _MASK_COLOURS

    @property
    def needs_tiff_deep(self) -> bool:
        """Whether it is 16-bit CIELAB, or grey with alpha, interleaved, which `tiff_deep` opens."""
        bits, colours = self.tags.get(Tag.BitsPerSample, ()), self.first(Tag.PhotometricInterpretation)
        extra = self.tags.get(Tag.ExtraSamples, ())
        of_grey = colours in (0, 1) and len(bits) == 2 and len(extra) == 1
        whole = self.first(Tag.SampleFormat, 1) == 1 and self.first(Tag.PlanarConfiguration, 1) == 1
        return whole and set(bits) == {16} and (of_grey or (colours == _LAB and len(bits) in (3, 4)))

    @property
    def end(self) -> int:
        """Where the last of its pixels end in the file, as far as the structure says."""
        pairs = [zip(self.tags.get(at, ()), self.tags.get(size, ()), strict=False) for at, size in _PLACES]
        return max((start + size for pair in pairs for start, size in pair), default=0)


@dataclass(frozen=True)
class Page:
    """A picture to colour. ``parent``: the directory of the thumbnail that stands in its place and describes it, or None."""

    directory: Directory
    parent: Directory | None = None


@dataclass(frozen=True)
class Pages:
    """The pictures of a file that are pages, and sentences about those that are not."""

    pages: list[Page]
    notes: list[str]


class StartingAt:
    """A TIFF file whose first picture is that of another directory, for Pillow to open. It can be read, not written.

    ``tail``: bytes to stand behind the file's own. Without it, the file's descriptor or bytes are passed on: Pillow gives
    libtiff these and the directory's place, and would else read the whole file for each page.
    """

    def __init__(self, file: "File", offset: int, tail: bytes = b"") -> None:
        self._file, self._tail, self._at = file, tail, 0
        if not tail:
            for name in ("fileno", "getvalue"):
                if hasattr(file, name):
                    setattr(self, name, getattr(file, name))
        self._length = file.seek(0, io.SEEK_END)
        file.seek(0)
        head = file.read(16)
        order = "<" if head[:2] == b"II" else ">"
        big = head[2:4] in (b"+\0", b"\0+")
        self._head = head[:8] + struct.pack(order + "Q", offset) if big else head[:4] + struct.pack(order + "I", offset)

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes from here, all when negative."""
        start, end = self._at, self._length + len(self._tail)
        stop = max(start, end if size < 0 else min(end, start + size))
        self._at = stop
        data = self._head[start:stop]
        if start + len(data) < min(stop, self._length):
            self._file.seek(start + len(data))
            data += self._file.read(min(stop, self._length) - start - len(data))
        return data + self._tail[max(0, start - self._length) : stop - self._length] if stop > self._length else data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length + len(self._tail)}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at


File = BinaryIO | StartingAt


def pages_of(file: File) -> Pages | None:
    """The pages of a TIFF file; None where it has one picture that Pillow opens as it is, or its structure is damaged.

    Errors: ImageFileError for a camera's raw file.
    """
    try:
        chain = _chain(file)
    except _DAMAGE:
        return None  # Pillow reports the damage when it comes to it
    if not chain:
        return None
    _check_raw(file, chain)
    pages = _pages(chain)
    notes = _notes(chain, pages)
    return Pages(pages, notes) if notes or len(pages) > 1 else None


def _pages(chain: list[Directory]) -> list[Page]:
    return [page for directory in chain if (page := _page_of(directory))] or [Page(directory) for directory in chain]


def _page_of(directory: Directory) -> Page | None:
    """The largest picture that is neither reduced nor a mask, of a directory and those below it."""
    whole = [one for one in (directory, *directory.below) if not (one.is_reduced or one.is_mask)]
    if not whole:
        return None
    largest = max(whole, key=lambda one: one.area)
    return Page(largest, None if largest is directory else directory)


def _notes(chain: list[Directory], pages: list[Page]) -> list[str]:
    chosen = {page.directory.offset for page in pages}
    rest = [one for directory in chain for one in (directory, *directory.below) if one.offset not in chosen]
    masks = sum(one.is_mask for one in rest)
    parents = {page.parent.offset for page in pages if page.parent}
    reduced = sum(not one.is_mask and (one.is_reduced or one.offset in parents) for one in rest)
    others = len(rest) - masks - reduced
    notes = []
    if chain[0].offset not in chosen and not chain[0].is_mask:
        width, height = pages[0].directory.size
        notes.append(f"it begins with a thumbnail, which was left out; the full picture of {width} x {height} was used")
        reduced -= 1
    for count, one, several in (
        (reduced, "a reduced copy (thumbnail or pyramid level) was", "{} reduced copies (thumbnails or pyramid levels) were"),
        (masks, "a transparency mask was", "{} transparency masks were"),
        (others, "a further picture inside a page was", "{} further pictures inside pages were"),
    ):
        if count:
            notes.append((one if count == 1 else several.format(count)) + " left out")
    return notes


def directories(file: File) -> list[Directory]:
    """The directories of the pictures that are pages; empty where the structure is damaged.

    Errors: ImageFileError for a camera's raw file.
    """
    with contextlib.suppress(*_DAMAGE):
        if chain := _chain(file):
            _check_raw(file, chain)
            return [page.directory for page in _pages(chain)]
    return []


def _check_raw(file: File, chain: list[Directory]) -> None:
    file.seek(8)
    canon = file.read(2) == b"CR"
    every = [one for directory in chain for one in (directory, *directory.below)]
    has_raw = any(one.first(Tag.PhotometricInterpretation) in _RAW_COLOURS for one in every)
    has_larger = chain[0].is_reduced or any(one.area > chain[0].area for one in every)
    if canon or has_raw or (_DNG_VERSION in chain[0].tags and has_larger):
        raise ImageFileError("is a camera's raw file; develop it to TIFF or JPEG first.")


def first(file: File) -> Directory | None:
    """The first directory, without those below it; None where it is damaged."""
    try:
        order, big, link = _head(file)
        return Directory(link, _read(file, link, order, big)[0])
    except _DAMAGE:
        return None


def _head(file: File) -> tuple[str, bool, int]:
    """Byte order, whether it is BigTIFF, and where the first directory is."""
    file.seek(0)
    head = file.read(16)
    order, big = {b"II": "<", b"MM": ">"}[head[:2]], head[2:4] in (b"+\0", b"\0+")
    return order, big, struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0]


def _chain(file: File) -> list[Directory]:
    """The directories that are linked to one another, with those below each."""
    order, big, link = _head(file)
    chain, offsets = [], set[int]()
    while link and link not in offsets:
        offsets.add(link)
        tags, following = _read(file, link, order, big)
        chain.append(Directory(link, tags, _below(file, tags.get(_SUB_DIRECTORIES, ()), order, big)))
        link = following
    return chain


def _below(file: File, offsets: tuple[int, ...], order: str, big: bool) -> tuple[Directory, ...]:
    """The directories at these offsets; a damaged one costs no more than itself."""
    directories = []
    for offset in offsets:
        try:
            directories.append(Directory(offset, _read(file, offset, order, big)[0]))
        except (struct.error, ValueError, OverflowError):
            continue
    return tuple(directories)


def _read(file: File, offset: int, order: str, big: bool) -> tuple[Values, int]:
    """The tags of `_READ` of a directory, and where the next directory is, 0 for none."""
    count_form, entry_form, link_form = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    file.seek(offset)
    count = struct.unpack(order + count_form, file.read(struct.calcsize(order + count_form)))[0]
    width = 20 if big else 12
    link_size = struct.calcsize(order + link_form)
    block = file.read(min(count, 1 << 16) * width + link_size)
    tags: Values = {}
    for at in range(0, count * width, width):
        tag, kind, values = struct.unpack_from(order + entry_form, block, at)
        if tag in _READ and kind in _NUMBERS and 0 < values <= _MOST_VALUES:
            form = f"{order}{values}{_NUMBERS[kind]}"
            place = at + width - link_size  # the value, or where it stands
            if struct.calcsize(form) > link_size:
                file.seek(struct.unpack_from(order + link_form, block, place)[0])
                tags[tag] = struct.unpack(form, file.read(struct.calcsize(form)))
            else:
                tags[tag] = struct.unpack_from(form, block, place)
    return tags, struct.unpack_from(order + link_form, block, count * width)[0]


def is_turned(image: Image.Image) -> bool:
    """Whether a TIFF page, opened but not loaded, is stored in another way than it is seen."""
    return bool(getattr(image, "tag_v2", {}).get(Tag.Orientation, 1) != 1)


def inherited_orientation(image: Image.Image, thumbnail: Image.Image | None) -> int | None:
    """The orientation, 2 to 8, that only the thumbnail gives a picture below it; None elsewhere."""
    if thumbnail is None or Tag.Orientation in getattr(image, "tag_v2", {}):
        return None
    orientation = getattr(thumbnail, "tag_v2", {}).get(Tag.Orientation, 1)
    return orientation if orientation in range(2, 9) else None
