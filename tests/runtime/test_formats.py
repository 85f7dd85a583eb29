"""Formats of archives and laboratories: JPEG 2000, PNM, and 16-bit layouts of TIFF, whole or refused."""

import io
import itertools
import re
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from colorize_run import Colorizer, colour
from colorize_run.errors import ImageFileError
from colorize_run.image import icc, reader
from colorize_run.image.formats import FORMATS, accepted
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import Array, camera_exif, deep_photograph, file_of, jpeg2000, photograph, png16, pnm, profile_of
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COLORIZER = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu", 1)


def coloured(data: bytes, kind: str | None = None) -> tuple[bytes, list[str]]:
    result = COLORIZER.colorize_file(io.BytesIO(data), kind)
    return result[0], result[1].notes


def values_of(data: bytes) -> Array:
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return values[..., [2, 1, 0, 3][: values.shape[2]]]


@pytest.mark.parametrize("suffix", ["jp2", "jpf", "jpx", "j2k", "j2c", "ppm", "pgm", "pbm", "pnm", "pam"])
def test_folders_take_the_suffix(suffix: str) -> None:
    assert accepted(f"scan.{suffix.upper()}".encode())


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("bare", [False, True])
def test_bits_of_jpeg_2000_fill_their_range(bits: int, bare: bool) -> None:
    values = deep_photograph() >> (16 - bits)
    values[0, 0] = (1 << bits) - 1
    # OpenCV writes 16 bits always: the header is changed, and values are moved as their middle becomes zero
    data = bytearray(jpeg2000(values + np.uint16(32768 - (1 << (bits - 1))), bare=bare).getvalue())
    at = data.index(b"\xff\x4f\xff\x51") + 42
    data[at : at + 9 : 3] = bytes([bits - 1]) * 3
    picture = reader.read(io.BytesIO(bytes(data)))
    assert picture.depth == 16
    assert picture.pixels[0, 0].tolist() == [65535] * 3


def test_jpeg_2000_keeps_profile_exif_and_resolution() -> None:
    source = file_of(photograph(), "JPEG", icc_profile=profile_of("Display P3"), dpi=(300, 300), exif=camera_exif())
    data, notes = coloured(source.getvalue(), "JPEG2000")
    assert notes == []
    picture = reader.read(io.BytesIO(data))
    assert picture.profile == profile_of("Display P3")
    assert picture.metadata.exif is not None
    assert b"M\xfcller" in picture.metadata.exif
    assert picture.metadata.xmp is not None
    assert picture.save_options["dpi"] == pytest.approx((300, 300), abs=0.05)


def test_a_codestream_alone_becomes_srgb_as_it_holds_no_profile() -> None:
    values = deep_photograph()
    source = tifffile_of(values, photometric="rgb", iccprofile=profile_of("Display P3"))
    data, notes = coloured(source, "J2K")
    assert any("cannot hold metadata" in note for note in notes)
    assert reader.read(io.BytesIO(data)).profile is None
    space = icc.space_of(profile_of("Display P3"))
    assert space is not None
    expected = colour.lightness(space.in_srgb(values).astype(np.float32) / 65535)
    difference = np.abs(colour.lightness(values_of(data).astype(np.float32) / 65535) - expected)
    assert difference.mean() < 0.3  # what sRGB cannot show ends at its border


@pytest.mark.parametrize("cut", [0.4, 0.9])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_jpeg_2000_that_is_cut_off_is_damaged(cut: float, depth: int) -> None:
    values = deep_photograph() if depth == 16 else np.asarray(photograph())
    data = jpeg2000(values).getvalue()
    with pytest.raises(ImageFileError, match="damaged or incomplete"):
        reader.read(io.BytesIO(data[: int(cut * len(data))]))


def test_colours_of_jpeg_2000_that_are_not_known_are_named() -> None:
    data = jpeg2000(np.asarray(photograph())).getvalue()
    at = data.index(b"colr") + 7
    with pytest.raises(ImageFileError, match="CIELab"):
        reader.read(io.BytesIO(data[:at] + struct.pack(">I", 14) + data[at + 4 :]))


def test_a_large_picture_is_refused_before_it_is_decoded() -> None:
    for data in (b"P5 200000 200000 255\n", jpeg2000(np.asarray(photograph())).getvalue()):
        with pytest.raises(ImageFileError, match="megapixels, more than the limit"):
            reader.read(io.BytesIO(data), max_pixels=100)


@pytest.mark.parametrize("most", [1, 15, 100, 255, 256, 1023, 65535])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_pnm_is_read_plain_and_binary_alike(most: int, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, most + 1, shape)
    values[0, 0] = most
    binary = pnm(values, most).getvalue()
    plain = f"P{2 if len(shape) == 2 else 3}\n# plain\n7 5 {most}\n" + "\n".join(map(str, values.ravel()))
    pictures = [reader.read(io.BytesIO(data)) for data in (binary, plain.encode())]
    first, second = (np.asarray(picture.pixels) for picture in pictures)
    assert np.array_equal(first, second)
    assert pictures[0].depth == (8 if most < 256 else 16)
    full = 255 if most < 256 else 65535
    assert np.array_equal(first, np.rint(values * (full / most)))
    assert pictures[0].metadata.comment == b"made for a test"


def pam_head(width: int, height: int, channels: int, most: int, name: str) -> bytes:
    kind = f"TUPLTYPE {name}\n" if name else ""
    return f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH {channels}\nMAXVAL {most}\n{kind}ENDHDR\n".encode()


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pam_keeps_transparency_and_depth(depth: int, channels: int) -> None:
    kind = np.uint8 if depth == 8 else np.uint16
    values = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (6, 9, channels)).astype(kind)
    name = ("GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA")[channels - 1]
    data, _ = coloured(
        pam_head(9, 6, channels, np.iinfo(kind).max, name) + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )
    result = values_of(data)
    assert result.dtype == kind
    assert result.shape == (6, 9, 4 if channels in (2, 4) else 3)
    if channels in (2, 4):
        assert np.array_equal(result[..., 3], values[..., -1])


def test_pgm_says_that_its_colours_make_it_a_ppm() -> None:
    data, notes = coloured(file_of(photograph().convert("L"), "PPM").getvalue())
    assert data.startswith(b"P6")
    assert any("PGM and PBM hold none" in note for note in notes)
    clear = file_of(photograph().convert("RGBA"), "PNG").getvalue()
    assert coloured(clear, "PPM")[0].startswith(b"P6")  # it hides nothing
    hidden = photograph().convert("RGBA")
    hidden.putalpha(7)
    with pytest.raises(ImageFileError, match="has transparency, which PPM cannot hold"):
        coloured(file_of(hidden, "PNG").getvalue(), "PPM")


@given(st.binary(max_size=80), st.sampled_from([b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"P7"]))
@settings(max_examples=200, deadline=None)
def test_pnm_of_noise_is_read_or_refused(noise: bytes, magic: bytes) -> None:
    for data in (magic + b"\n3 2 9\n" + noise, magic + b"\n" + noise):
        try:
            size = reader.read(io.BytesIO(data), max_pixels=10_000).size
        except ImageFileError:
            continue
        assert min(size) > 0


@pytest.mark.parametrize("magic", ["P1", "P2", "P3", "P4", "P5", "P6"])
@pytest.mark.parametrize("comment", ["#" * 9000, "# \n" * 9000, "\n" * 60_000 + "x", "#\r" * 20_000 + "#"], ids=len)
def test_a_long_comment_costs_no_time(magic: str, comment: str) -> None:
    for head in (
        f"{magic}\n5 {comment}\nx",
        f"{magic}\n{comment}",
        f"{magic}{comment}x",
        f"P7\n{comment}",
        f"P7\n#{comment}\nx",
    ):
        begun = time.monotonic()
        with pytest.raises(ImageFileError):
            reader.read(io.BytesIO(head.encode()))
        assert time.monotonic() - begun < 2


def test_a_comment_may_be_longer_than_a_header() -> None:
    picture = reader.read(io.BytesIO(b"P5 #" + b"#" * 9000 + b"\n2 1 #x\n255\n\x05\x07"))
    assert np.asarray(picture.pixels).tolist() == [[5, 7]]


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        ("CMYK", 4, "type CMYK, which cannot be read; save it as RGB first"),
        ("CMYK_ALPHA", 5, "type CMYK_ALPHA"),
        ("HSV", 3, "type HSV"),
        ("RGB", 4, "of 4 channels, but its type RGB has 3"),
        ("GRAYSCALE", 3, "of 3 channels, but its type GRAYSCALE has 1"),
        ("RGB_ALPHA", 3, "of 3 channels, but its type RGB_ALPHA has 4"),
        ("", 5, "of 5 channels, and only 1 to 4 can be read"),
    ],
)
def test_a_pam_of_another_type_is_refused_by_its_name(name: str, channels: int, expected: str) -> None:
    with pytest.raises(ImageFileError, match=expected):
        reader.read(io.BytesIO(pam_head(5, 5, channels, 255, name) + bytes(25 * channels)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_of_a_pam_without_a_type_are_known_by_their_number(channels: int) -> None:
    assert reader.read(io.BytesIO(pam_head(5, 5, channels, 255, "") + bytes(25 * channels))).size == (5, 5)


@pytest.mark.parametrize("value", ["256", "-1", "1.5", "x", "99999999999999999999", "1_0", "+5"])
@pytest.mark.parametrize("magic", ["P2", "P3"])
def test_plain_values_beyond_the_maximum_are_refused(magic: str, value: str) -> None:
    good = ["7"] * (30 if magic == "P2" else 90)
    data = f"{magic} 6 5 255\n{' '.join([*good[:-3], value, *good[-2:]])}\n".encode()
    with pytest.raises(ImageFileError, match=re.escape(f"it holds {value}, and its values are whole numbers from 0 to 255")):
        reader.read(io.BytesIO(data))


def test_plain_bits_are_no_other_digits() -> None:
    with pytest.raises(ImageFileError, match="it holds 2, and its pixels are 0 or 1"):
        reader.read(io.BytesIO(b"P1 4 2\n0101 0121\n"))


def plain_text(values: Array, most: int, between: str) -> bytes:
    return f"P3 {values.shape[1]} {values.shape[0]} {most}\n{between.join(map(str, values.ravel()))}".encode()


@pytest.mark.parametrize(
    "between", ["\n", " ", "\r\n", " # 300\n", "\t" * 9], ids=["lines", "one line", "CRLF", "comments", "tabs"]
)
def test_a_long_plain_file_is_read_whole(between: str) -> None:
    values = np.random.default_rng(1).integers(0, 1000, (200, 300, 3))
    pixels = np.asarray(reader.read(io.BytesIO(plain_text(values, 999, between))).pixels)
    assert np.array_equal(pixels, np.rint(values * (65535 / 999)))


def test_the_memory_of_a_plain_file_is_bounded() -> None:
    data = b"P3 1000 1000 255\n" + b"7 200 31\n" * 1_000_000
    tracemalloc.start()
    try:
        reader.read(io.BytesIO(data))
        assert tracemalloc.get_traced_memory()[1] < 40e6  # of 3 MB of pixels; 500 MB if every number were an object at once
        tracemalloc.reset_peak()
        with pytest.raises(ImageFileError, match="15 bytes cannot hold 60000 x 60000 pixels"):
            reader.read(io.BytesIO(b"P3 60000 60000 255\n1 2 3 4 5 6 7 8"), max_pixels=1 << 40)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["P1", "P2", "P3", "P4", "P5", "P6", "P7"])
@pytest.mark.parametrize("most", [255, 1000])
def test_a_pnm_that_is_cut_off_gives_what_is_there(kind: str, most: int) -> None:
    values = np.random.default_rng(0).integers(0, most + 1, (40, 64, 3 if kind in ("P3", "P6", "P7") else 1))
    if kind in ("P1", "P4"):
        bits = np.random.default_rng(0).integers(0, 2, (40, 64))
        body = (
            "\n".join("".join(map(str, row)) for row in bits).encode() if kind == "P1" else np.packbits(bits, axis=1).tobytes()
        )
        head, values = f"{kind}\n64 40\n".encode(), (255 * (1 - bits))[..., None]
    elif kind in ("P2", "P3"):
        head, body = f"{kind}\n64 40\n{most}\n".encode(), " ".join(f"{value:4}" for value in values.ravel()).encode()
    else:
        head = pam_head(64, 40, 3, most, "RGB") if kind == "P7" else f"{kind}\n64 40\n{most}\n".encode()
        body = values.astype(np.uint8 if most < 256 else ">u2").tobytes()
    data = head + body[: len(body) // 2]
    with pytest.raises(
        ImageFileError, match=r"about (4\d|5\d) % of its pixels are missing.*--accept-damaged takes what is there"
    ):
        reader.read(io.BytesIO(data))
    picture = reader.read(io.BytesIO(data), accept_damaged=True)
    assert any("% of its pixels are missing" in note for note in picture.notes)
    pixels = np.asarray(picture.pixels).reshape(40, 64, -1)
    full = most if kind not in ("P1", "P4") else 255
    difference = pixels[:19] / np.iinfo(pixels.dtype).max - values[:19] / full
    assert np.abs(difference).max() < 1 / 200
    assert not pixels[21:].any()
    _, result = COLORIZER.colorize_file(io.BytesIO(data), accept_damaged=True)
    assert any("it is damaged" in note for note in result.notes)


@pytest.mark.parametrize("most", [255, 65535])
def test_further_pictures_in_a_pnm_have_a_note(most: int) -> None:
    pictures = [pnm(np.random.default_rng(0).integers(0, most, (5, 7, 3)), most).getvalue() for _ in range(3)]
    assert "2 further pictures were left out" in coloured(b"".join(pictures))[1]
    assert "1 further picture was left out" in coloured(pictures[0] + b"P4 9 2\n\1\1\2\2")[1]
    assert "6 bytes behind the picture were left out" in coloured(pictures[0] + b"\nnoise?\n")[1]
    pam = pam_head(3, 3, 1, 255, "GRAYSCALE") + bytes(range(9))
    assert "4 further pictures were left out" in coloured(pam * 5)[1]
    assert not any("left out" in note and "picture" in note for note in coloured(pictures[0] + b"\n")[1])


def tifffile_of(values: Array, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


LAYOUTS = [
    {"compression": compression, "predictor": predictor, "tile": tile, "byteorder": order}
    for compression, predictor, tile, order in itertools.product([None, "zlib"], [False, True], [None, (32, 16)], "<>")
    if compression or not predictor
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_grey_with_alpha_of_16_bits_keeps_every_bit(layout: dict, alpha: str) -> None:
    grey = deep_photograph()[..., 1]
    clear = np.arange(grey.size, dtype=np.uint16).reshape(grey.shape) * 11 + 3000
    options = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": [alpha]}
    picture = reader.read(io.BytesIO(tifffile_of(np.dstack([grey, clear]), **options, **layout)))
    assert picture.depth == 16
    assert np.array_equal(picture.alpha, clear)
    if alpha == "unassalpha":
        assert np.array_equal(picture.pixels, grey)
    else:
        expected = np.minimum(np.rint(grey / (clear / np.float32(65535))), 65535)
        assert np.abs(picture.pixels - expected).max() <= 1


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_cielab_of_16_bits_is_what_little_cms_makes_of_8(layout: dict) -> None:
    down, across = np.mgrid[:48, :64]
    lab = np.stack([25 + across * 0.8, 20 * np.sin(down / 9), 20 * np.cos(across / 7)], axis=-1)
    stored = np.rint(lab * [655.35, 256, 256]).astype(np.int64).astype(np.uint16)
    picture = reader.read(io.BytesIO(tifffile_of(stored, photometric="cielab", **layout)))
    assert picture.depth == 16
    bytes_ = np.rint(lab * [2.55, 1, 1]).astype(np.int64).astype(np.uint8)
    expected = np.asarray(icc.from_lab(Image.frombytes("LAB", (64, 48), bytes_.tobytes())))
    assert np.abs(expected - np.asarray(picture.pixels) / 257).mean() < 1.5  # the other one is rounded to 8 bits
    light = colour.lightness(np.asarray(picture.pixels, np.float32) / 65535)
    assert np.abs(light - lab[..., 0]).max() < 0.5  # Y of a colour is not quite the same under D50 and D65


def test_pages_of_every_layout_stand_in_one_file() -> None:
    file = io.BytesIO()
    grey = deep_photograph()[..., 0]
    with tifffile.TiffWriter(file) as writer:
        writer.write(grey, photometric="minisblack", metadata=None)
        writer.write(deep_photograph() >> 1, photometric="cielab", metadata=None)
        writer.write(
            np.dstack([grey, grey]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"], metadata=None
        )
    with reader.opened(io.BytesIO(file.getvalue())) as pages:
        assert [(picture.depth, picture.alpha is not None) for picture in pages.pictures()] == [
            (16, False),
            (16, False),
            (16, True),
        ]


def test_grey_with_alpha_that_is_cut_off_is_damaged() -> None:
    grey = deep_photograph()[..., 0]
    data = tifffile_of(np.dstack([grey, grey]), photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    with pytest.raises(ImageFileError, match="damaged"):
        reader.read(io.BytesIO(data[: len(data) // 2]))


def test_the_documentation_lists_what_each_format_holds() -> None:
    rows = [line for line in (ROOT / "docs" / "formats.md").read_text().splitlines() if line.startswith("| ")][1:]
    expected = []
    for name, kind in FORMATS.items():
        several = "pages" if kind.pages else "frames" if kind.moving else "no"
        side = "-" if kind.side == 1 << 31 else str(kind.side)
        yes = ["yes" if holds else "no" for holds in (kind.alpha, kind.profile, kind.metadata)]
        cells = [name, " ".join(kind.suffixes), "8, 16" if kind.deep else "8", *yes, several, side]
        expected.append("| " + " | ".join(cells) + " |")
    assert rows == expected


@pytest.mark.parametrize("kind", ["JPEG2000", "J2K"])
@pytest.mark.parametrize("size", [(20, 90), (60, 31), (1, 1)])
def test_sixteen_bits_of_few_pixels_are_refused_by_jpeg_2000(kind: str, size: tuple[int, int]) -> None:
    values = deep_photograph()[: size[0], : size[1]]
    with pytest.raises(
        ImageFileError, match=f"has {size[1]} x {size[0]} pixels of 16 bits, .* needs 32 pixels a side for 16 bits;"
    ):
        COLORIZER.colorize_file(png16(values), kind)
    assert coloured(png16(values).getvalue(), "PNG")
    in_bytes = Image.fromarray(np.ascontiguousarray(values >> 8).astype(np.uint8))
    assert coloured(file_of(in_bytes, "PNG").getvalue(), kind)
    assert coloured(png16(deep_photograph()).getvalue(), kind)


def test_the_limit_of_jpeg_2000_is_known_before_the_network_runs() -> None:
    class Stopped(Exception):
        pass

    def observe(*_: object) -> None:  # it is called when the network has run
        raise Stopped

    with pytest.raises(Stopped):
        COLORIZER.colorize_file(png16(deep_photograph()), "JPEG2000", observe=observe)
    with pytest.raises(ImageFileError, match="needs 32 pixels a side"):
        COLORIZER.colorize_file(png16(deep_photograph()[:20]), "JPEG2000", observe=observe)


def in_colours(data: bytes, number: int) -> bytes:
    """A JPEG 2000 file that says another number for its colours (EnumCS)."""
    at = data.index(b"colr") + 7
    return data[:at] + struct.pack(">I", number) + data[at + 4 :]


def test_luma_and_chroma_of_jpeg_2000_in_16_bits_are_right_and_rounded_with_a_note() -> None:
    colours = np.asarray(photograph())
    stored = np.asarray(photograph().convert("YCbCr")).astype(np.uint16) * 257
    picture = reader.read(io.BytesIO(in_colours(jpeg2000(stored).getvalue(), 18)))
    assert picture.depth == 8
    assert "its 16 bits per channel were rounded to 8" in picture.notes
    assert np.abs(np.asarray(picture.pixels).astype(int) - colours).max() <= 3


@pytest.mark.parametrize("step", [(2, 1), (2, 2)])
def test_subsampled_jpeg_2000_of_16_bits_is_refused_by_what_it_is(step: tuple[int, int]) -> None:
    data = bytearray(jpeg2000(deep_photograph()).getvalue())
    at = data.index(b"\xff\x4f\xff\x51") + 43
    for component in (1, 2):
        data[at + 3 * component : at + 3 * component + 2] = bytes(step)
    with pytest.raises(ImageFileError, match=r"of 16 bits whose channels differ in size \(subsampled\); save it"):
        reader.read(io.BytesIO(bytes(data)))


def test_a_damaged_jpeg_2000_prints_nothing_in_a_program_of_others() -> None:
    data = jpeg2000(deep_photograph()).getvalue()
    program = (
        "import io, sys\nfrom cv2.utils import logging\nfrom colorize_run.image import reader\n"
        "from colorize_run.errors import ImageFileError\nlevel = logging.getLogLevel()\n"
        "try:\n    reader.read(io.BytesIO(sys.stdin.buffer.read()))\n"
        "except ImageFileError as error:\n    assert 'damaged' in str(error)\n    assert logging.getLogLevel() == level\n"
        "else:\n    raise SystemExit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=data[: len(data) // 2], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("suffix", ["pgm", "pbm", "ppm", "pnm", "pam"])
@pytest.mark.parametrize("source", ["PNG", "PPM"])
def test_a_name_that_promises_no_colours_has_a_note(suffix: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "in").with_suffix(f".{source.lower()}").write_bytes(file_of(photograph().convert("L"), source).getvalue())
    model = ROOT / "tests" / "data" / "tiny.onnx"
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", f"in.{source.lower()}", "-o", f"x.{suffix}", "-m", model],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = suffix in ("pgm", "pbm") or (source == "PPM")
    assert done.stderr.count("which holds colours: PGM and PBM hold none") == expected
