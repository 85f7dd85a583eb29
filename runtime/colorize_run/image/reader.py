"""Reading picture files: every frame of every known kind, within limits."""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from typing import BinaryIO

from PIL import Image

from colorize_run.errors import ImageFileError
from colorize_run.image import animation, planes, tiff
from colorize_run.image.decode import is_lossless_webp, picture_of
from colorize_run.image.decoder_errors import decode_errors, with_libtiff_messages
from colorize_run.image.encode import Writer
from colorize_run.image.formats import FORMATS
from colorize_run.image.identify import undecoded
from colorize_run.image.leftovers import leftovers
from colorize_run.image.picture import Picture
from colorize_run.image.source import Source, opened_file
from colorize_run.system.files import MAX_PIXELS

_LARGE_PIXELS = 32_000_000


@contextlib.contextmanager
def opened(
    source: Source, max_pixels: int = MAX_PIXELS, cmyk_profile: bytes | None = None, *, accept_damaged: bool = False
) -> Iterator["PictureFile"]:
    """Open a picture file of one of READABLE, to be decoded frame by frame; ``cmyk_profile``: see `picture_of`.

    ``accept_damaged``: pictures some of whose pixels are missing are taken as they are, with a note.
    Errors: InputMissingError, ImageFileError; their messages leave the file's name to the caller.
    """
    with opened_file(source) as file:
        with decode_errors():
            picture_file = PictureFile(file, undecoded(file), max_pixels, cmyk_profile, accept_damaged=accept_damaged)
        yield picture_file


def read(source: Source, max_pixels: int = MAX_PIXELS, *, accept_damaged: bool = False) -> Picture:
    """Decode a picture file of one of READABLE, the first frame of several; ``accept_damaged`` as in `opened`.

    Errors: InputMissingError, ImageFileError; their messages leave the file's name to the caller.
    """
    with opened(source, max_pixels, accept_damaged=accept_damaged) as file:
        return next(file.pictures(1))


def from_image(image: Image.Image) -> Picture:
    """A Pillow image as `read` would have decoded it. Errors: ImageFileError for modes I and F, and no pixels."""
    if 0 in image.size:
        raise ImageFileError("has no pixels.")
    planes.check(image)
    if not planes.are_deep(image):
        image.load()
    return picture_of(image)


class PictureFile:
    """An open picture file. ``format``: one of READABLE; ``count``: number of frames; for the others see `Writer`.

    ``left_out``: notes of what could not be used, ``damage``: of pixels that are missing; complete after all `pictures`.
    """

    def __init__(
        self, file: BinaryIO, image: Image.Image, max_pixels: int, cmyk_profile: bytes | None = None, *, accept_damaged: bool
    ) -> None:
        self._file, self._image, self._max_pixels, self._accept_damaged = file, image, max_pixels, accept_damaged
        self._cmyk_profile = cmyk_profile
        self.format = "JPEG" if image.format == "MPO" else str(image.format)
        with decode_errors():
            self._pages = tiff.pages_of(file) if self.format == "TIFF" else None
            self._check_size(image.size)
            if self.format == "GIF":
                self._check_size(animation.largest_gif(file))
            several = self.moves or FORMATS[self.format].pages
            self.count = len(self._pages.pages) if self._pages else animation.frames_in(file, image) if several else 1
        self.damage: list[str] = []
        self.left_out = list(self._pages.notes) if self._pages else []
        if image.format == "MPO" and getattr(image, "n_frames", 1) > 1:
            self.left_out = ["the other images in the file (depth, gain map) were left out"]
        elif self.format == "HEIF" and (others := int(getattr(image, "n_frames", 1)) - 1):
            self.left_out = [f"{others} further {'picture was' if others == 1 else 'pictures were'} left out"]
        self._check_length()
        self.loop_count = animation.loop_count_of(image)
        self.default_image = bool(image.info.get("default_image"))
        self._check_frames()

    @property
    def moves(self) -> bool:
        """Whether its frames follow one another in time."""
        return FORMATS[self.format].moving

    def _check_size(self, size: tuple[int, int]) -> None:
        width, height = size
        if width * height > self._max_pixels:
            raise ImageFileError(
                f"has {width} x {height} = {width * height / 1e6:.0f} megapixels, more than the limit of"
                f" {self._max_pixels / 1e6:.0f}; --max-pixels raises it."
            )

    def _check_length(self) -> None:
        """libjpeg paints grey what is missing. No Huffman code is shorter than a bit, no block of 8 x 8 has less than one."""
        width, height = self._image.size
        length = self._file.seek(0, os.SEEK_END)
        if self.format == "JPEG" and not self._accept_damaged and 512 * length < width * height:
            raise ImageFileError(f"is damaged or incomplete: {length} bytes cannot hold {width} x {height} pixels.")

    def _check_frames(self) -> None:
        """Frames of a moving picture are kept until all are there; pages are not."""
        width, height = self._image.size
        if self.moves and width * height * self.count > self._max_pixels:
            raise ImageFileError(
                f"has {self.count} frames of {width} x {height}, together {width * height * self.count / 1e6:.0f} megapixels,"
                f" more than the limit of {self._max_pixels / 1e6:.0f}; --max-pixels raises it."
            )

    def content(self) -> bytes:
        """The file as it is."""
        self._file.seek(0)
        return self._file.read()

    def check_room(self, kind: str) -> None:
        """ImageFileError unless a picture of this size can be written in a format: known before any work."""
        width, height = self._image.size
        if kind in FORMATS and max(width, height) > FORMATS[kind].side:
            raise ImageFileError(
                f"has {width} x {height} pixels, more than the {FORMATS[kind].side} a side that {kind} can hold:"
                " write PNG or TIFF."
            )

    def several_in(self, kind: str) -> bool:
        """Whether all frames can be written in a format: moving pictures as such or as pages, pages as pages."""
        target = FORMATS.get(kind)
        return self.count > 1 and target is not None and (target.pages or (target.moving and self.moves))

    def writer(self, kind: str, *, reduced: bool = False) -> Writer:
        """What `pictures` are to be written with. Errors: ImageFileError when they are too large for it, unless ``reduced``."""
        if not reduced:
            self.check_room(kind)
        return Writer(kind, pages=self.several_in(kind) and kind == "TIFF", loop_count=self.loop_count)

    def _reopen(self, number: int) -> Image.Image:
        """Open the file again at one of its frames, while the first image stays loaded."""
        if self._pages:
            return self._open_page(number)
        image = undecoded(self._file)
        image.seek(number)
        return image

    def _open_page(self, number: int) -> Image.Image:
        assert self._pages is not None
        return undecoded(tiff.StartingAt(self._file, self._pages.pages[number].directory.offset))

    def _thumbnail(self, number: int) -> Image.Image | None:
        """The thumbnail in whose place a page stands, not decoded: it carries what the file says of the page.

        None if there is none, and for one of a layout that is not read, which costs the page nothing else.
        """
        parent = self._pages.pages[number].parent if self._pages else None
        with contextlib.suppress(ImageFileError):
            return undecoded(tiff.StartingAt(self._file, parent.offset)) if parent else None
        return None

    def _go_to(self, number: int) -> None:
        if self._pages:
            self._image = self._open_page(number)
        else:
            self._image.seek(number)

    def pictures(self, most: int | None = None) -> Iterator[Picture]:
        """All pictures in turn, or the first few, which then say so. Each must be done with before the next is asked for.

        Of several, those that are damaged are left out. Errors: ImageFileError if none is left.
        """
        self.left_out += [] if self.format == "TIFF" else leftovers(self._file, self._image, self.format)
        given, lost = 0, dict[int, str]()
        for number in range(self.count):
            try:
                picture = self._decoded(number)
            except ImageFileError as error:
                if number == self.count - 1 and not given:
                    raise
                lost[number + 1] = str(error)
                self.default_image &= number > 0
                continue
            given += 1
            self.damage += picture.damage
            picture.notes += self.left_out
            if most and most < self.count:
                which = "the first" if number == 0 else f"number {number + 1}"
                picture.notes += [f"only {which} of {self.count} frames was used", *_lost_frames(lost, self.count)]
            yield picture
            if given == most:
                return
        self.left_out += _lost_frames(lost, self.count)
        self.damage += [f"{len(lost)} of {self.count} frames cannot be read"] if lost else []

    def _decoded(self, number: int) -> Picture:
        with decode_errors(), with_libtiff_messages(self.format):
            if self.count > 1:
                self._go_to(number)
                self._check_size(self._image.size)
            _choose_blocks(self._image.size)
            besides = leftovers(self._file, self._image, "TIFF") if self.format == "TIFF" else []  # of each page
            picture = picture_of(
                self._image,
                partial(self._reopen, number),
                self._thumbnail(number),
                self._cmyk_profile,
                jpeg_file=self.content() if self.format == "JPEG" else None,
                accept_damaged=self._accept_damaged,
            )
            picture.notes += besides
            if self.count == 1:  # the pixels are the picture's alone, and go when it is done with them
                self._image = Image.new("L", (1, 1))
            if self.format == "WEBP":  # Pillow does not tell how a WebP file was compressed
                picture.save_options["lossless"] = is_lossless_webp(self._file)
        return picture


def _lost_frames(reasons: dict[int, str], count: int) -> list[str]:
    """What is said of frames that were left out, if any; ``reasons``: why, by their numbers from 1."""
    if not reasons:
        return []
    first = next(iter(reasons))
    if len(reasons) == 1:
        return [f"frame {first} of {count} was left out: it {reasons[first].rstrip('.')}"]
    return [f"{len(reasons)} of {count} frames were left out; number {first} {reasons[first].rstrip('.')}"]


def _choose_blocks(size: tuple[int, int]) -> None:
    """Have Pillow keep a large picture in pieces that the C library gives back to the system as soon as they are free.

    Of a picture that is turned, the one before would else stay until the end. Smaller ones gain from memory that stays:
    12 megapixels take 15 % longer in large pieces.
    """
    block = 64 << 20 if size[0] * size[1] > _LARGE_PIXELS else 16 << 20
    Image.core.set_block_size(block)  # type: ignore[attr-defined]  # as Pillow's guide to its block allocator has it
