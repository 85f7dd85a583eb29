"""TIFF files: planes, thumbnails, pyramids and maps are read rightly, or a sentence says what is not."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.errors import ImageFileError
from colorize_run.image.picture import Picture
from colorize_run.image.reader import opened, read
from picture_files import colourfulness, deep_photograph, lightness, photograph, pixels_of
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COLORIZER = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu")
Array = np.ndarray
LAYOUTS: dict[str, dict[str, Any]] = {
    "strips": {}, "few rows": {"rowsperstrip": 7}, "tiles": {"tile": (16, 16)}, "big-endian": {"byteorder": ">"},
    "BigTIFF": {"bigtiff": True}, "deflate": {"compression": "zlib"}, "predictor": {"compression": "zlib", "predictor": True},
    "deflated tiles": {"compression": "zlib", "tile": (32, 32)},
}  # fmt: skip


def grey(width: int = 96, height: int = 64) -> Array:
    return np.asarray(photograph(width, height).convert("L"))


def planar(values: Array, photometric: str = "rgb", extra: tuple[str, ...] = (), **options: Any) -> io.BytesIO:
    """A TIFF file of values (H, W, channels) in separate planes."""
    file, more = io.BytesIO(), {"extrasamples": list(extra)} if extra else {}
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    tifffile.imwrite(file, planes, photometric=photometric, planarconfig="separate", metadata=None, **more, **options)
    file.seek(0)
    return file


def interleaved(values: Array, photometric: str, extra: tuple[str, ...] = ()) -> io.BytesIO:
    file, more = io.BytesIO(), {"extrasamples": list(extra)} if extra else {}
    tifffile.imwrite(file, values, photometric=photometric, planarconfig="contig", metadata=None, **more)
    file.seek(0)
    return file


def read_or_refused(file: io.BytesIO) -> Picture | str:
    """The picture of a file, or the sentence that refuses it."""
    try:
        return read(file)
    except ImageFileError as error:
        return str(error)


def of_pages(*pages: tuple[Array, dict[str, Any]], **options: Any) -> io.BytesIO:
    """A TIFF file written page by page; with ``subifds=n`` the next n pages are below that page."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        for values, more in pages:
            writer.write(values, photometric="rgb" if values.ndim == 3 else "minisblack", metadata=None, **more)
    file.seek(0)
    return file


def sizes_of(data: bytes) -> list[tuple[int, int]]:
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return [(page.imagewidth, page.imagelength) for page in file.pages]


# -- planes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("extra", [(), ("unassalpha",), ("unspecified",), ("assocalpha",)], ids=str)
def test_sixteen_bit_planes_are_read_rightly(layout: str, extra: tuple[str, ...]) -> None:
    colours, alpha = deep_photograph(), np.arange(90 * 60, dtype=np.uint16).reshape(60, 90) * 8 + 20_000
    stored = np.rint(colours * (alpha[..., None] / 65535)).astype(np.uint16) if "assocalpha" in extra else colours
    source = planar(np.dstack([stored, alpha]) if extra else colours, extra=extra, **LAYOUTS[layout])
    data, result = COLORIZER.colorize_file(source)
    after = pixels_of(data)
    assert after.dtype == np.uint16
    assert result.notes == (["1 further channel was left out"] if "unspecified" in extra else [])
    assert np.abs(lightness(after) - lightness(colours)).max() < 0.05
    if extra not in ((), ("unspecified",)):
        assert (after[..., 3] == alpha).all()


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sixteen_bit_planes_are_turned_upright(orientation: int) -> None:
    values = deep_photograph()
    data, _ = COLORIZER.colorize_file(planar(values, extratags=[(274, 3, 1, orientation, True)]))
    upright = np.rot90(values, {1: 0, 3: 2, 6: -1}[orientation])
    assert np.abs(lightness(pixels_of(data)) - lightness(upright)).max() < 0.05


def test_sixteen_bit_planes_of_ink_are_refused() -> None:
    values = np.dstack([deep_photograph(), deep_photograph()[..., 0]])
    with pytest.raises(ImageFileError, match="16-bit colours in separate planes"):
        COLORIZER.colorize_file(planar(values, "separated"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cut_off_planes_of_sixteen_bits_are_refused(layout: str) -> None:
    whole = planar(deep_photograph(), **LAYOUTS[layout]).getvalue()
    with pytest.raises(ImageFileError, match="damaged"):
        COLORIZER.colorize_file(io.BytesIO(whole[: len(whole) * 2 // 3]))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("photometric", "channels", "extra"),
    [
        ("rgb", 3, ()), ("rgb", 4, ("unassalpha",)), ("rgb", 4, ("assocalpha",)), ("rgb", 4, ("unspecified",)),
        ("rgb", 5, ("unassalpha", "unspecified")), ("minisblack", 2, ("unassalpha",)), ("minisblack", 2, ("unspecified",)),
        ("separated", 4, ()), ("cielab", 3, ()), ("ycbcr", 3, ()),
    ],
)  # fmt: skip
def test_planes_of_bytes_are_what_interleaved_channels_are(
    layout: str, photometric: str, channels: int, extra: tuple[str, ...]
) -> None:
    values = np.dstack([np.roll(grey(), 9 * number, axis=1) for number in range(channels)])
    picture = read_or_refused(planar(values, photometric, extra, **LAYOUTS[layout]))
    if isinstance(picture, str):
        assert "separate planes" in picture or "unknown layout" in picture
        assert (photometric, extra) not in (("rgb", ()), ("rgb", ("unassalpha",)), ("separated", ()))
        return
    other = read(interleaved(values, photometric, extra))
    for one, two in ((picture.in_bytes(), other.in_bytes()), (picture.alpha_in_bytes(), other.alpha_in_bytes())):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert np.abs(np.asarray(one, int) - np.asarray(two, int)).max() <= 1  # rounding of YCbCr


def test_the_python_api_reads_sixteen_bit_planes_too() -> None:
    with Image.open(planar(deep_photograph())) as image:
        after = COLORIZER.colorize(image)
    assert np.abs(lightness(np.asarray(after)) - lightness(deep_photograph())).max() < 0.4  # of 8 bits


def test_the_python_api_refuses_planes_that_pillow_has_read_wrongly() -> None:
    with Image.open(planar(deep_photograph())) as image:
        image.load()
        with pytest.raises(ImageFileError, match="separate planes"):
            COLORIZER.colorize(image)


# -- thumbnails and pyramids -----------------------------------------------------------------------------------

BIG = {"plain": {}, "BigTIFF": {"bigtiff": True}, "big-endian": {"byteorder": ">"}}


@pytest.mark.parametrize("options", BIG.values(), ids=list(BIG))
@pytest.mark.parametrize("more", [{}, {"compression": "zlib"}], ids=["raw", "deflate"])
@pytest.mark.parametrize("flag", [0, 1])
@pytest.mark.parametrize("deep", [False, True])
def test_the_full_picture_below_a_thumbnail_is_coloured(options: dict, more: dict, flag: int, deep: bool) -> None:
    full: Array = deep_photograph() if deep else grey()
    source = of_pages((full[::8, ::8], {"subifds": 1, "subfiletype": flag}), (full, more), **options)
    data, result = COLORIZER.colorize_file(source)
    assert sizes_of(data) == [full.shape[1::-1]]
    assert any("begins with a thumbnail" in note for note in result.notes)
    assert len(result.notes) == 1
    after = pixels_of(data)
    assert after.dtype == full.dtype
    assert colourfulness(after) > 0.01
    assert np.abs(lightness(after) - lightness(full if deep else np.dstack([full] * 3))).max() < (0.05 if deep else 0.3)


def test_a_thumbnail_before_the_page_is_left_out() -> None:
    data, result = COLORIZER.colorize_file(of_pages((grey()[::8, ::8], {"subfiletype": 1}), (grey(), {})))
    assert sizes_of(data) == [(96, 64)]
    assert result.size == (96, 64)
    assert "begins with a thumbnail" in result.notes[0]


def test_what_a_thumbnail_says_is_kept_for_the_picture_below_it() -> None:
    """Cameras write maker and orientation into the first directory."""
    tags = [
        (271, 2, 0, "Camera works", True),
        (274, 3, 1, 6, True),
        (700, 1, None, b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>", True),
    ]
    source = of_pages((grey()[::8, ::8], {"subifds": 1, "subfiletype": 1, "extratags": tags}), (grey(), {}))
    data, _ = COLORIZER.colorize_file(source)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (64, 96)
        assert image.getexif()[271] == "Camera works"
    assert b"AI-colourised" in data
    upright = np.rot90(grey(), -1)
    assert np.abs(lightness(pixels_of(data)) - lightness(np.dstack([upright] * 3))).max() < 0.3


@pytest.mark.parametrize("photometric", [None, 32803, 34892], ids=["DNG", "filter array", "linear raw"])
def test_raw_files_are_refused(photometric: int | None) -> None:
    version = [(50706, 1, 4, (1, 4, 0, 0), True)] if photometric is None else []
    source = of_pages((grey()[::8, ::8], {"subifds": 1, "subfiletype": 1, "extratags": version}), (grey(), {}))
    if photometric is not None:
        with tifffile.TiffFile(source, mode="r+b") as file:
            file.pages[0].pages[0].tags[262].overwrite(photometric)
        source.seek(0)
    with pytest.raises(ImageFileError, match="raw file; develop it"):
        COLORIZER.colorize_file(source)


@pytest.mark.parametrize("below", [False, True], ids=["pages", "below"])
def test_the_levels_of_a_pyramid_are_left_out_with_a_note(below: bool) -> None:
    levels = [(np.ascontiguousarray(grey()[::step, ::step]), {"subfiletype": 1}) for step in (2, 4)]
    source = of_pages((grey(), {"subifds": 2} if below else {}), *levels)
    data, result = COLORIZER.colorize_file(source)
    assert sizes_of(data) == [(96, 64)]
    assert result.notes == ["2 reduced copies (thumbnails or pyramid levels) were left out"]
    as_png, result = COLORIZER.colorize_file(source, "PNG")
    assert result.notes == ["2 reduced copies (thumbnails or pyramid levels) were left out"]
    assert Image.open(io.BytesIO(as_png)).size == (96, 64)


def test_pages_stay_and_their_thumbnails_go() -> None:
    small = {"subfiletype": 1}
    source = of_pages((grey(), {}), (grey()[::4, ::4], small), (grey(48, 80), {}), (grey(48, 80)[::4, ::4], small))
    data, result = COLORIZER.colorize_file(source)
    assert sizes_of(data) == [(96, 64), (48, 80)]
    assert len(result.notes) == 1


def test_transparency_masks_are_left_out_with_a_note() -> None:
    data, result = COLORIZER.colorize_file(of_pages((grey(), {}), (grey() > 100, {"subfiletype": 4})))
    assert len(sizes_of(data)) == 1
    assert result.notes == ["a transparency mask was left out"]


def test_a_reduced_picture_alone_is_coloured() -> None:
    data, result = COLORIZER.colorize_file(of_pages((grey(), {"subfiletype": 1})))
    assert sizes_of(data) == [(96, 64)]
    assert not result.notes


def test_a_file_that_stays_as_it_is_loses_nothing() -> None:
    colours = np.asarray(photograph(96, 64))
    more = {"extratags": [(274, 3, 1, 6, True), (33922, 12, 6, (0.0,) * 6, True)]}
    source = of_pages((colours, more), (np.ascontiguousarray(colours[::2, ::2]), {"subfiletype": 1}))
    data, result = COLORIZER.colorize_file(source, control=Control(keep_colour=True))
    assert data == source.getvalue()
    assert len(result.notes) == 1
    assert "already has colours" in result.notes[0]


def test_layers_are_left_out_with_a_note() -> None:
    layers = b"Adobe Photoshop Document Data Block\0" + b"8BIMryaL" + bytes(8)
    data, result = COLORIZER.colorize_file(of_pages((grey(), {"extratags": [(37724, 7, len(layers), layers, True)]})))
    assert any("Photoshop layers were left out" in note for note in result.notes)
    assert b"8BIMryaL" not in data


# -- maps ------------------------------------------------------------------------------------------------------

MAP: dict[int, tuple[int, Any]] = {
    33550: (12, (1.5, 1.5, 0.0)), 33922: (12, (0.0, 0.0, 0.0, 440720.25, 3751320.0, 0.0)),
    34735: (3, (1, 1, 0, 2, 1024, 0, 1, 1, 1026, 34737, 5, 0)), 34736: (12, (6378137.0, 298.257223563)), 34737: (2, "UTM|"),
    42112: (2, "<GDALMetadata></GDALMetadata>"), 42113: (2, "0"),
}  # fmt: skip


def aerial(values: Array, **more: Any) -> io.BytesIO:
    tags = [(tag, kind, 0 if kind == 2 else len(value), value, True) for tag, (kind, value) in MAP.items()]
    return of_pages((values, {"extratags": tags + more.pop("extratags", []), **more}))


def as_compressed(source: io.BytesIO, compression: str) -> io.BytesIO:
    file = io.BytesIO()
    with Image.open(source) as image:
        image.save(file, "TIFF", compression=compression, exif=image.getexif())
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ["raw", "deflate", "16 bits", "tiff_lzw", "packbits", "strips of pages"])
def test_a_map_keeps_its_place(kind: str) -> None:
    source = aerial(
        deep_photograph() if kind == "16 bits" else grey(), **({"compression": "zlib"} if kind == "deflate" else {})
    )
    source = as_compressed(source, kind) if kind in ("tiff_lzw", "packbits") else source
    data, result = COLORIZER.colorize_file(source)
    assert not result.notes
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        for tag, (dtype, value) in MAP.items():
            assert tags[tag].value == value
            assert tags[tag].dtype == dtype


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_a_map_that_is_turned_says_that_it_lost_its_place(orientation: int) -> None:
    source = aerial(grey(), extratags=[(274, 3, 1, orientation, True)])
    data, result = COLORIZER.colorize_file(source)
    assert any("GeoTIFF" in note and "turned" in note for note in result.notes)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert not set(MAP) & {tag.code for tag in file.pages[0].tags}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_other_formats_say_that_they_hold_no_place(kind: str) -> None:
    _, result = COLORIZER.colorize_file(aerial(grey()), kind)
    assert any(f"{kind} cannot hold its place on the map" in note for note in result.notes)


def test_a_map_without_metadata_has_no_place() -> None:
    data, result = COLORIZER.colorize_file(aerial(grey()), keep_metadata=False)
    assert not result.notes
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert 33922 not in file.pages[0].tags


@pytest.mark.parametrize("empty", [0, 255])
def test_the_empty_value_of_a_map_stays_what_it_is(empty: int) -> None:
    values = grey().copy()
    values[:20] = empty
    after = pixels_of(COLORIZER.colorize_file(aerial(values))[0])
    assert (after[:20] == empty).all()


# -- pages that cannot be read ---------------------------------------------------------------------------------


def unreadable(kind: str) -> tuple[Array, dict[str, Any]]:
    """A page of a layout that is not read, as `of_pages` takes it."""
    if kind == "signed":
        return grey().astype(np.int16), {}
    if kind == "32 bits":
        return grey().astype(np.uint32), {}
    if kind == "float RGB":
        return deep_photograph().astype(np.float32), {}
    return grey().astype(np.float32), {"compression": "zlib"} if kind == "deflated float" else {}


@pytest.mark.parametrize("kind", ["float", "float RGB", "deflated float", "signed", "32 bits"])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "more", [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}], ids=["raw", "deflate", "predictor"]
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_an_unreadable_page_costs_itself_alone(
    kind: str, place: int, more: dict[str, Any], on_disk: bool, tmp_path: Path
) -> None:
    good = [(np.asarray(photograph(96, 64).convert("L")), more), (deep_photograph(), more)]
    file = of_pages(*good[:place], unreadable(kind), *good[place:])
    (tmp_path / "in.tif").write_bytes(file.getvalue())
    data, result = COLORIZER.colorize_file(tmp_path / "in.tif" if on_disk else file)
    assert sizes_of(data) == [(96, 64), (90, 60)]
    note = next(note for note in result.notes if note.startswith(f"frame {place + 1} of 3 was left out: it has "))
    assert "no defined white; save it as grey or RGB" in note
    with tifffile.TiffFile(io.BytesIO(data)) as written:
        first, second = (page.asarray() for page in written.pages)
    assert np.abs(lightness(first) - lightness(np.dstack([good[0][0]] * 3))).max() < 0.3
    assert np.abs(lightness(second) - lightness(deep_photograph())).max() < 0.05


def test_an_unreadable_thumbnail_costs_its_page_nothing() -> None:
    small = (grey()[::8, ::8].astype(np.float32), {"subifds": 1, "subfiletype": 1})
    data, result = COLORIZER.colorize_file(of_pages(small, (grey(), {})))
    assert sizes_of(data) == [(96, 64)]
    assert len(result.notes) == 1
    assert "begins with a thumbnail" in result.notes[0]


def test_a_page_with_a_compression_that_is_not_known_costs_itself_alone() -> None:
    file = of_pages((grey(), {}), (grey(), {"compression": "zlib"}), (grey(), {}))
    with tifffile.TiffFile(file, mode="r+b") as pages:
        pages.pages[1].tags[259].overwrite(34887)
    data, result = COLORIZER.colorize_file(io.BytesIO(file.getvalue()))
    assert len(sizes_of(data)) == 2
    assert any(note.startswith("frame 2 of 3 was left out: it is a TIFF compressed as LERC") for note in result.notes)


def test_a_file_without_a_readable_page_is_refused_as_one_page_is() -> None:
    pages = [unreadable("float"), unreadable("signed")]
    for some in (pages, pages[:1]):
        with pytest.raises(ImageFileError, match=r"^has 32-bit floating-point values, which have no defined white"):
            COLORIZER.colorize_file(of_pages(*some))


def test_the_command_writes_the_good_pages(tmp_path: Path) -> None:
    (tmp_path / "in.tif").write_bytes(of_pages((grey(), {}), unreadable("float"), (grey(), {})).getvalue())
    model = ROOT / "tests" / "data" / "tiny.onnx"
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", "in.tif", "-o", "out.tif", "-m", model],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "frame 2 of 3 was left out: it has 32-bit floating-point values" in done.stderr
    assert len(sizes_of((tmp_path / "out.tif").read_bytes())) == 2


@pytest.mark.parametrize("more", [{}, {"compression": "zlib"}], ids=["raw", "deflate"])
def test_the_time_for_a_page_does_not_grow_with_their_number(more: dict[str, Any], tmp_path: Path) -> None:
    """Counted in bytes read, which do not depend on the machine."""
    counts = []
    for pages in (20, 80):
        path = tmp_path / "pages.tif"
        path.write_bytes(of_pages(*[(deep_photograph(), more)] * pages).getvalue())
        with Counting(path) as file, opened(file) as pictures:
            assert sum(1 for _ in pictures.pictures()) == pages
        counts.append(file.count)
    assert counts[1] < 5 * counts[0]


class Counting(io.FileIO):
    """A file that counts the bytes that were read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size) or b""
        self.count += len(data)
        return data


# -- further channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("deep", [False, True])
def test_an_unspecified_channel_of_grey_is_no_transparency(layout: str, deep: bool) -> None:
    values = deep_photograph()[..., 0] if deep else grey()
    other = np.roll(values, 7, axis=0)
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.dstack([values, other]), photometric="minisblack", planarconfig="contig", extrasamples=["unspecified"],
        metadata=None, **LAYOUTS[layout],
    )  # fmt: skip
    data, result = COLORIZER.colorize_file(file)
    assert result.notes == ["1 further channel was left out"]
    after = pixels_of(data)
    assert after.shape == (*values.shape, 3)
    assert np.abs(lightness(after) - lightness(np.dstack([values] * 3))).max() < (0.05 if deep else 0.3)


def test_planes_of_grey_with_transparency_are_refused_by_what_they_are() -> None:
    values = np.dstack([deep_photograph()[..., 0]] * 2)
    with pytest.raises(ImageFileError, match=r"separate planes.*; save it with interleaved"):
        read(planar(values, "minisblack", ("unassalpha",)))
