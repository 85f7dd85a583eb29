"""Colour added to a grey JPEG in its own planes: luma stays as it is, byte for byte, and only chroma is made.

What is kept is Y', the weighted sum of the encoded R, G, B (ITU-R BT.601), which any grey conversion by a camera or a
program inverts exactly. The join in `colorize_run.colour` keeps CIELAB's lightness instead, for which each pixel has to be
decoded, computed and encoded again.
"""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from colorize_run import colour
from colorize_run.colour import guided, luma
from colorize_run.control import Control
from colorize_run.errors import ImageFileError
from colorize_run.image import damage, decode, graft, icc, jpeg, jpeg_metadata, transcode, undo
from colorize_run.image.decoder_errors import decode_errors
from colorize_run.image.picture import Picture, have_one_shape
from colorize_run.image.undo import Edit
from colorize_run.image.xmp import Provenance
from colorize_run.model.contract import WorkingSize
from colorize_run.network import Result

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
# (h, w) grey, sRGB-encoded, 0..1, and its `colour.perceived` -> a*, b* (2, h, w)
Predict = Callable[[FloatArray, FloatArray], FloatArray]

_HALF_UP_TO = 2_000_000  # pixels; chroma of larger pictures is made at a quarter of their sides and enlarged
_QUALITY = 90  # of Cb and Cr; higher ones cost bytes that nobody sees
_LARGEST_THUMBNAIL = 1024  # pixels on a side
_FORMATS = ["JPEG", "MPO"]


@dataclass(frozen=True)
class LumaJpeg:
    """A JPEG file whose luma can stay as it is.

    ``coded``: it has Cb and Cr, which are to be replaced. ``curve``: linear light, 0..1, of the values k / 65535, None for
    sRGB's; ``profile``: the ICC profile to write in place of the file's own, None if that can stay.
    ``table``: what its Cb is quantised by, as Pillow gives it. ``notes``: what could not be kept.
    """

    data: bytes
    layout: jpeg.Layout
    orientation: int
    coded: bool
    curve: FloatArray | None = None
    profile: bytes | None = None
    table: list[int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def turned(self) -> bool:
        """Whether the pixels lie in the file otherwise than they are meant to be seen."""
        return self.orientation != 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the picture, upright."""
        stored = self.layout.frame.width, self.layout.frame.height
        return stored[::-1] if self.orientation >= 5 else stored

    def small(self, short_side: int) -> Image.Image | None:
        """The picture as it is stored, mode L or YCbCr, reduced by 2, 4 or 8 while it is decoded; None if it is damaged.

        Damage of one with chroma is found when that is taken out. Its short side stays twice ``short_side``, the network's, at
        least: a network that sees the decoder's own reduction alone sees another picture. Errors: ImageFileError.
        """
        width, height = self.layout.frame.width, self.layout.frame.height
        most = 2 if width * height <= _HALF_UP_TO else 4 if width * height <= 16 * _HALF_UP_TO else 8
        reduction = next(
            step for step in (8, 4, 2, 1) if step <= most and (min(width, height) >= 2 * step * short_side or step == 1)
        )
        size = max(1, width // reduction), max(1, height // reduction)
        if not self.coded:
            pixels, warning = damage.decode_jpeg(self.data, size)
            if pixels is not None:
                return None if warning else Image.fromarray(pixels)
        with decode_errors():
            image = Image.open(io.BytesIO(self.data), formats=_FORMATS)
            image.draft("YCbCr" if self.coded else "L", size)
            image.load()
        return image

    def upright(self, small: Image.Image) -> Picture:
        """What `small` gave, grey or in RGB, as it is meant to be seen."""
        pixels = np.asarray(small.convert("RGB") if self.coded else small)
        return Picture(Image.fromarray(decode.upright(pixels, self.orientation)), "JPEG")


def opened(data: bytes) -> LumaJpeg | None:
    """The file, if it is a JPEG whose luma can stay: grey or Y'CbCr of 8 bits, with no other profile than a tone curve or sRGB.

    Of a file with chroma only where luma can be taken out without loss (`image.transcode`). Errors: ImageFileError.
    """
    try:
        layout = jpeg.parse(data)
    except jpeg.UnknownLayoutError:
        return None
    coded = graft.has_chroma(data, layout)
    if not (graft.takes_chroma(layout) or (coded and transcode.can_transcode())):
        return None
    with decode_errors(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        own = image.info.get("icc_profile")
        tables: dict[int, list[int]] = getattr(image, "quantization", {})
        table = tables.get(layout.frame.components[1].table) if coded else None
        file = LumaJpeg(data, layout, decode.orientation_of(image), coded, table=table)
    if jpeg_metadata.damaged_profile(data, layout, own):
        return replace(file, profile=b"", notes=(icc.unusable("it is incomplete"),))
    try:
        if own and not coded and (curve := icc.grey_curve_of(own)) is not None:
            return replace(file, curve=curve, profile=icc.with_grey_curve(own))
        return None if own and not icc.is_srgb(own) else file
    except icc.CMS_ERRORS as error:
        return replace(file, profile=b"", notes=(icc.unusable(error),))


def colorize(
    file: LumaJpeg, small: Image.Image, working_size: WorkingSize, predict: Predict, control: Control,
    made_by: Provenance | None, result: Result,
) -> bytes | None:  # fmt: skip
    """The file with the chroma that ``predict`` says at ``working_size``, as ``control`` says; None if it must be joined.

    ``small``: `LumaJpeg.small` of it. ``made_by`` is written into its XMP; if None, metadata and the record for `restore` are
    left out. Errors: those of ``predict``; ImageFileError.
    """
    before = _before_colours(file) if file.coded and not control.mixes else None
    if before is not None and (grey := before.small(working_size.short_side)) is not None:
        file, small = before, grey
    colouring = _Colouring(file, small, control)
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(_without_chroma, file)  # meanwhile, the network looks at the picture
        colouring.predict(working_size, predict, result)
        with result.stage("encode"):
            luma_alone = taking.result()
    if luma_alone is None:
        return None
    result.size = file.size
    result.notes += file.notes
    return colouring.finish(luma_alone, made_by, result)


class _Colouring:
    """The chroma of one `LumaJpeg`."""

    def __init__(self, file: LumaJpeg, small: Image.Image, control: Control) -> None:
        self._file = file
        planes = np.asarray(small)
        self._stored: ByteArray = planes[..., 0] if file.coded else planes
        self._own = np.moveaxis(planes[..., 1:], 2, 0) if file.coded and control.mixes else None
        self._control = control
        if control.mask is not None:
            control.mask.check(file.size)
        self._lines: FloatArray

    def predict(self, working_size: WorkingSize, predict: Predict, result: Result) -> None:
        """Have ``predict`` say the chroma at ``working_size``."""
        with result.stage("resize"):
            upright = Image.fromarray(decode.upright(self._stored, self._file.orientation))
            y = np.asarray(colour.resize(upright, working_size.fit(*self._file.size)), np.float32) / np.float32(255)
            curve = self._file.curve
            linear = colour.srgb_to_linear(y) if curve is None else luma.looked_up(curve, y)
            perceived = colour.perceived_of_linear(linear)
            grey = y if curve is None else colour.linear_to_srgb(linear)
        with result.stage("network"):
            ab = predict(grey, perceived)
        with result.stage("join"):
            radius = max(1, round(guided.RADIUS * min(y.shape)))
            chroma, result.out_of_gamut = luma.chroma_of(grey, ab, curve)
            self._lines = guided.slopes_and_offsets(y, chroma, radius, luma.EPSILON)

    def finish(self, file: LumaJpeg, made_by: Provenance | None, result: Result) -> bytes:
        """The coloured file; ``file``: what is left `_without_chroma`."""
        with result.stage("join"):
            planes, moved = self._chroma_for(self._stored, self._own)
        result.out_of_gamut = max(result.out_of_gamut, moved / self._stored.size)
        with result.stage("encode"):
            edits = graft.chroma_edits(file.data, file.layout, self._encoded(planes, file.data, file.layout))
            if file.profile or (file.profile is not None and made_by is not None):
                edits += jpeg_metadata.with_profile(file.data, file.layout, file.profile)
            if made_by is None:
                kept = file.profile != b""
                edits += jpeg_metadata.stripped(file.data, file.layout, file.orientation, profile=kept)
                return undo.edited(file.data, edits)
            edits += undo.without_records(file.data, file.layout)
            edits += jpeg_metadata.thumbnails(file.data, file.layout, self._thumbnail, result.notes)
            edits += jpeg_metadata.signed(file.data, file.layout, made_by, result.notes)
            return _assembled(file, edits, result.notes, reversible=not self._file.coded)

    def _chroma_for(self, stored: ByteArray, own: ByteArray | None = None) -> tuple[ByteArray, int]:
        """Cb and Cr (2, h, w) for luma (h, w), both as they are stored, and how many pixels had to be paler."""
        turn = self._file.orientation
        upright = decode.upright(stored, turn)
        share = self._control.weights((upright.shape[1], upright.shape[0])) if self._control.mixes else 1.0
        turned_own = None if own is None else np.stack([decode.upright(plane, turn) for plane in own])
        planes, moved = luma.applied(self._lines, upright, share, turned_own)
        return np.stack([decode.as_stored(plane, turn) for plane in planes]), moved

    def _encoded(self, planes: ByteArray, data: bytes, layout: jpeg.Layout) -> tuple[bytes, bytes]:
        """Cb and Cr as grey JPEGs of the size that the grey JPEG ``data`` takes."""
        size = graft.chroma_size(data, layout)
        # what the file's own chroma was compressed with
        how: dict[str, Any] = {"qtables": [self._file.table]} if self._file.table else {"quality": _QUALITY}
        first, second = (_grey_jpeg(plane, size, progressive=layout.progressive, **how) for plane in planes)
        return first, second

    def _thumbnail(self, block: bytes) -> bytes | None:
        """A thumbnail in colour, if it is a grey JPEG of the whole picture; else None."""
        try:
            layout = jpeg.parse(block)
        except jpeg.UnknownLayoutError:
            return None
        shape = layout.frame.width, layout.frame.height
        whole = self._file.layout.frame
        fits = max(shape) <= _LARGEST_THUMBNAIL and have_one_shape(shape, (whole.width, whole.height))
        if not (graft.takes_chroma(layout) and fits):
            return None
        try:
            with decode_errors(), Image.open(io.BytesIO(block), formats=_FORMATS) as image:
                planes, _ = self._chroma_for(np.asarray(image))
        except ImageFileError:
            return None
        return undo.edited(block, graft.chroma_edits(block, layout, self._encoded(planes, block, layout)))


def _grey_jpeg(plane: ByteArray, size: tuple[int, int], **how: Any) -> bytes:
    if plane.shape[::-1] != size:
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR))
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, "JPEG", **how)
    return buffer.getvalue()


def _before_colours(file: LumaJpeg) -> LumaJpeg | None:
    """The grey file that this one was, if it holds a record of it: coloured again, there is still a way back."""
    try:
        return opened(undo.restored(file.data))
    except ImageFileError:
        return None


def _without_chroma(file: LumaJpeg) -> LumaJpeg | None:
    """The file without its chroma, what describes the picture kept; None where luma cannot be taken out."""
    if not file.coded:
        return file
    if jpeg_metadata.late_further_pictures(file.data, file.layout):
        return None
    grey = transcode.luma_alone(file.data, progressive=file.layout.progressive)
    if grey is None:
        return None
    inner = jpeg.parse(grey)
    start, picture = jpeg.head_end(file.layout), grey[jpeg.head_end(inner) : inner.eoi.end]
    late = (each for each in file.layout.segments if each.start > start and jpeg.describes(each))
    described = b"".join(file.data[each.start : each.end] for each in late)
    edits = [Edit(start, file.layout.eoi.end, described + picture)]
    edits += jpeg_metadata.further_pictures(file.data, file.layout, partial(undo.growth, edits[:1]))
    data = undo.edited(file.data, edits)
    return replace(file, data=data, layout=jpeg.parse(data), coded=False)


def _assembled(file: LumaJpeg, edits: list[Edit], notes: list[str], *, reversible: bool) -> bytes:
    """The edited file, with a record that undoes the edits if it is ``reversible``."""
    if reversible:
        try:
            return _with_record(file, edits)
        except ValueError:
            notes.append("so much of its metadata had to change that `restore` cannot give the grey file back")
    moved = jpeg_metadata.further_pictures(file.data, file.layout, partial(undo.growth, edits))
    return undo.edited(file.data, [*edits, *moved])


def _with_record(file: LumaJpeg, edits: list[Edit]) -> bytes:
    """Errors: ValueError for a record that would be too large."""
    place, box = jpeg.head_end(file.layout), undo.unused_number(file.data, file.layout)
    record = undo.record_of(file.data, edits, number=box)
    if not jpeg_metadata.further_pictures(file.data, file.layout, partial(_growth, edits, place, len(record))):
        return undo.edited(file.data, [*edits, Edit(place, place, record)])
    while True:  # a record says where further pictures lie, and moves them: it may grow once or twice, and never shrinks
        size = len(record)
        growth = partial(_growth, edits, place, size)
        moved = jpeg_metadata.further_pictures(file.data, file.layout, growth)
        record = undo.record_of(file.data, [*edits, *moved], size, box)
        if len(record) == size:
            return undo.edited(file.data, [*edits, *moved, Edit(place, place, record)])


def _growth(edits: list[Edit], place: int, size: int, at: int) -> int:
    """By how many bytes ``edits``, and ``size`` bytes inserted at ``place``, move what is at another place."""
    return undo.growth(edits, at) + (size if place <= at else 0)
