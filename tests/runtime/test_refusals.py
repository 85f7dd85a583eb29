"""A refusal says what the file really is; "damaged" is said of damaged files alone, and limits are known before the work."""

import base64
import gzip
import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from colorize_run import Colorizer
from colorize_run.errors import ImageFileError, OptionError
from colorize_run.image import reader
from colorize_run.segment import Segmenter
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import chunk, file_of, photograph
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

# Made by libjpeg-turbo and CharLS from 4 x 4 grey values.
JPEG_12_BITS = base64.b85decode(
    b"|JeWF01!$>Nk#wx0RR9200961|JwjV00IF40RaI50RaI50s;a81OoyB0s;jD1Oo&H1qKEN1qKEN2MGuU2MGrT1_%oX2?`1d3JL}Y3k(Yi3<(Mf3je_X"
    b"3k(1R00aR65di<h02BZL0000000000000000000C|HJ?v5C8xJ2><{90000000000000FI2M7xrD@RmSX8+m%2mt{A06zd|1PdfA)Z%$@E@wuQCgd~i"
    b"d2awe|Je"
)
JPEG_LS = base64.b85decode(
    b"|JeWN03cIPNk&Eh0ssI300004000043J3-P0003j0003j|L6b+00001|JeWc01F5J1ONm90TBTI+5iXv0RR910Dy2D2LJ#8e*ljFKmY(2_ZoTmg`EG{"
)
LOSSLESS = base64.b85decode(
    b"|JeV;02crO0RaI300000000000000E4-F9i!vG5q00aO80RRyI|Jncu0RR97008X(4FC-Q3IGBC1ONyCC;$im5C9+mpa38MKmdRM|Je"
)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageFileError) as refused, reader.opened(io.BytesIO(data)) as file:
        list(file.pictures())
    return str(refused.value)


def jpeg(marker: int = 0xC0, precision: int = 8, channels: int = 1, height: int = 60) -> bytes:
    """A JPEG file whose frame header says what ``marker`` and so on are."""
    data = file_of(photograph().convert("L"), "JPEG").getvalue()
    at = data.index(b"\xff\xc0\0\x0b\x08")
    parts = b"".join(bytes((number, 0x11, 0)) for number in range(1, channels + 1))
    frame = struct.pack(">BBHBHHB", 0xFF, marker, 8 + 3 * channels, precision, height, 90, channels) + parts
    return data[:at] + frame + data[at + 13 :]


def tiff(**changed: int) -> bytes:
    """A grey TIFF file of 4 x 4 values, 8 bytes of room for each."""
    values = {"bits": 8, "compression": 1, "colours": 1, "format": 1, "subfile": 0} | changed
    entries = [
        (254, 4, values["subfile"]), (256, 3, 4), (257, 3, 4), (258, 3, values["bits"]), (259, 3, values["compression"]),
        (262, 3, values["colours"]), (273, 4, 200), (277, 3, 1), (278, 3, 4), (279, 4, 128), (339, 3, values["format"]),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return (b"II*\0" + struct.pack("<IH", 8, len(entries)) + body).ljust(200, b"\0") + bytes(128)


def raw_tiff() -> bytes:
    return tiff(bits=16, colours=32803)


def bitmap(bits: int, compression: int, masks: tuple[int, ...] = (), size: int = 40) -> bytes:
    header = struct.pack("<IiiHHIIiiII", size, 4, 4, 1, bits, compression, 64, 0, 0, 0, 0)[: max(size, 16)]
    masked = (header + b"".join(struct.pack("<I", mask) for mask in masks)).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 14 + len(masked) + 64, 0, 0, 14 + len(masked)) + masked + bytes(64)


def boxes(brand: bytes, *compatible: bytes) -> bytes:
    body = b"ftyp" + brand + bytes(4) + b"".join(compatible)
    return struct.pack(">I", 4 + len(body)) + body + bytes(2000)


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "text")
    return file.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='3'/></svg>"
PAGE = b"<!DOCTYPE html>\n<html><head><title>A cat</title></head><body><svg></svg></body></html>"
SOUND_BUT_NOT_READ = {
    "12-bit JPEG": (JPEG_12_BITS, "JPEG of 12 bits"),
    "lossless JPEG of 16 bits": (LOSSLESS, "lossless JPEG of 16 bits"),
    "hierarchical JPEG": (jpeg(0xC5), "hierarchical"),
    "lossless arithmetic JPEG": (jpeg(0xCB), "lossless and arithmetic"),
    "JPEG of two channels": (jpeg(channels=2), "JPEG of 2 channels"),
    "JPEG with DNL": (jpeg(height=0), "DNL"),
    "JPEG-LS": (JPEG_LS, "JPEG-LS"),
    "JPEG XL codestream": (b"\xff\x0a\xfa\x1f" + bytes(60), "JPEG XL"),
    "JPEG XL container": (b"\0\0\0\x0cJXL \r\n\x87\n" + boxes(b"jxl "), "JPEG XL"),
    "JPEG XR": (b"II\xbc\x01" + bytes(60), "JPEG XR"),
    "Apple's PNG": (b"\x89PNG\r\n\x1a\n" + chunk(b"CgBI", bytes(4)) + bytes(50), "Apple's own form"),
    "CR3": (boxes(b"crx ", b"crx ", b"isom"), "camera's raw file"),
    "raw in TIFF": (raw_tiff(), "camera's raw file"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(60), "camera's raw file"),
    "ORF": (b"IIRO\x08\0\0\0" + bytes(60), "camera's raw file"),
    "RW2": (b"IIU\0\x18\0\0\0" + bytes(60), "camera's raw file"),
    "CRW": (b"II\x1a\0\0\0HEAPCCDR" + bytes(60), "camera's raw file"),
    "MP4": (boxes(b"mp42", b"isom", b"mp42"), "is a video"),
    "M4V": (boxes(b"M4V "), "is a video"),
    "3GP": (boxes(b"3gp5"), "is a video"),
    "MOV": (boxes(b"qt  "), "is a video"),
    "old MOV": (struct.pack(">I", 200) + b"moov" + bytes(200), "is a video"),
    "WebM": (b"\x1aE\xdf\xa3" + bytes(60), "is a video"),
    "AVI": (b"RIFF\0\1\0\0AVI LIST" + bytes(60), "is a video"),
    "WMV": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(60), "is a video"),
    "MPEG-TS": ((b"G" + bytes(187)) * 4, "is a video"),
    "WAV": (b"RIFF\0\1\0\0WAVEfmt " + bytes(60), "but sound"),
    "M4A": (boxes(b"M4A "), "but sound"),
    "MP3": (b"ID3\3\0" + bytes(60), "but sound"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF document"),
    "PDF behind a line": (b"\xef\xbb\xbf\n%PDF-1.7\n", "PDF document"),
    "PSD": (b"8BPS\0\1" + bytes(60), "Photoshop document"),
    "PSB": (b"8BPS\0\2" + bytes(60), "Photoshop document"),
    "XCF": (b"gimp xcf v011\0" + bytes(60), "GIMP document"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS drawing"),
    "EPS with preview": (b"\xc5\xd0\xd3\xc6" + bytes(60), "EPS drawing"),
    "PostScript": (b"%!PS-Adobe-3.0\nshowpage\n", "PostScript document"),
    "SVG": (SVG, "SVG drawing"),
    "SVG with prolog": (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- made by hand -->\n" + SVG, "SVG drawing"),
    "SVG in UTF-16": (("\ufeff" + SVG.decode()).encode("utf-16-le"), "SVG drawing"),
    "compressed SVG": (gzip.compress(SVG), "gzip"),
    "web page": (PAGE, "web page"),
    "web page behind a comment": (b"\n  <!-- saved -->" + PAGE, "web page"),
    "XML": (b"<?xml version='1.0'?><data/>", "XML document"),
    "text": (b"Dear all,\nplease find the picture here.\n", "text file"),
    "text in Latin-1": ("Grüße aus Köln, das Bild folgt später.".encode("latin-1"), "text file"),
    "JSON": (b'{"error": "not found"}', "text file"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
    "ZIP": (zipped("photos/a.txt"), "archive (ZIP)"),
    "docx": (zipped("[Content_Types].xml"), "Office document"),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(60), "Office document"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(60), "archive"),
    "tar": (bytes(257) + b"ustar" + bytes(300), "archive"),
    "ICO": (b"\0\0\1\0\1\0\x10\x10" + bytes(60), "icon"),
    "CUR": (b"\0\0\2\0\1\0\x10\x10" + bytes(60), "cursor"),
    "DICOM": (bytes(128) + b"DICM" + bytes(60), "DICOM"),
    "FITS": (b"SIMPLE  =                    T".ljust(2880), "FITS"),
    "OpenEXR": (b"v/1\x01\2\0\0\0" + bytes(60), "OpenEXR"),
    "Radiance": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n", "Radiance"),
    "WMF": (b"\xd7\xcd\xc6\x9a" + bytes(60), "WMF"),
    "EMF": (struct.pack("<II", 1, 108) + bytes(32) + b" EMF\0\0\1\0" + bytes(60), "EMF"),
    "DjVu": (b"AT&TFORM\0\0\1\0DJVU" + bytes(60), "DjVu"),
    "PCX": (b"\x0a\5\1\x08" + bytes(130), "PCX"),
    "TGA": (b"\0\0\2" + bytes(9) + struct.pack("<HHBB", 4, 4, 24, 0) + bytes(60), "TGA"),
    "BMP of 4-4-4-4": (bitmap(16, 3, (0xF00, 0xF0, 0xF, 0xF000), 56), "4-4-4-4"),
    "BMP with PNG": (bitmap(0, 5), "holds a PNG"),
    "BMP with JPEG": (bitmap(0, 4), "holds a JPEG"),
    "BMP of OS/2": (bitmap(8, 0, size=16), "OS/2"),
    "BMP of 2 bits": (bitmap(2, 0), "2 bits"),
    "signed TIFF": (tiff(bits=16, format=2), "16-bit signed"),
    "signed bytes": (tiff(format=2), "8-bit signed"),
    "float TIFF": (tiff(bits=32, format=3), "32-bit floating-point"),
    "half floats": (tiff(bits=16, format=3), "16-bit floating-point"),
    "32-bit TIFF": (tiff(bits=32), "32 bits per channel"),
    "mask alone": (tiff(bits=1, colours=4), "transparency mask"),
    "LogL": (tiff(bits=16, colours=32844), "LogL"),
    "LERC in TIFF": (tiff(compression=34887), "LERC"),
    "JPEG XL in TIFF": (tiff(compression=50002), "JPEG XL"),
    "JPEG of 12 bits in TIFF": (tiff(bits=12, compression=7), "12 bits"),
    "10 bits in TIFF": (tiff(bits=10), "unknown layout (bits per channel 10"),
    "HEIF of JPEG": (boxes(b"jpeg", b"mif1"), "HEIF picture coded as JPEG"),
}

BEGINNINGS = [data for data, _ in SOUND_BUT_NOT_READ.values()]


@pytest.mark.parametrize("name", SOUND_BUT_NOT_READ)
def test_what_is_not_read_is_named_and_not_called_damaged(name: str) -> None:
    data, words = SOUND_BUT_NOT_READ[name]
    sentence = refusal(data)
    assert words in sentence
    assert "damaged" not in sentence
    assert sentence.endswith(".")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM"])
@pytest.mark.parametrize("length", [20, 60])
def test_a_file_cut_down_to_its_header_is_damaged(kind: str, length: int) -> None:
    assert "damaged" in refusal(file_of(photograph(), kind).getvalue()[:length])


def test_pictures_that_no_decoder_takes_for_their_size_are_not_damaged() -> None:
    small = file_of(photograph(), "AVIF").getvalue()
    at = small.index(b"ispe") + 8
    sentence = refusal(small[:at] + struct.pack(">II", 17_000, 17_000) + small[at + 8 :])
    assert "has 17000 x 17000 pixels" in sentence
    assert "damaged" not in sentence
    assert "65500 a side" in refusal(jpeg(height=65_535))


@pytest.mark.parametrize(("brands", "words"), [((b"miaf", b"heic"), "heif"), ((b"XYZ ", b"isom"), "is a video")])
def test_brands_decide_what_a_container_holds(brands: tuple[bytes, ...], words: str) -> None:
    assert words in refusal(boxes(*brands)).lower()


def test_a_box_that_says_it_is_huge_costs_no_time() -> None:
    assert "video" in refusal(b"\xff\xff\xff\xf0ftypmp42" + bytes(2000))


def test_zero_bytes_are_damage() -> None:
    assert refusal(bytes(9000)) == "is damaged: it holds nothing but zero bytes."
    assert "begins with zero bytes" in refusal(bytes(9000) + b"\1")


def test_an_empty_stream_is_empty() -> None:
    assert refusal(b"") == "is empty (0 bytes)."
    with pytest.raises(ImageFileError, match=r"^is empty \(0 bytes\)\.$"):
        reader.read(Pipe(b""))


class Pipe(io.BytesIO):
    """A stream that cannot go back."""

    def seekable(self) -> bool:
        return False


class OnlyRead:
    """No stream: it cannot be asked whether it can go back."""

    def read(self, _size: int = -1) -> bytes:
        return b""


def test_a_stream_that_cannot_go_back_is_read() -> None:
    assert reader.read(Pipe(file_of(photograph(), "PNG").getvalue())).size == (90, 60)


@pytest.mark.parametrize(
    "source", [io.StringIO("P1 1 1 1"), OnlyRead(), 7, None, b"\xff\xd8"], ids=lambda source: type(source).__name__
)
def test_what_is_no_binary_stream_is_a_type_error(source: object) -> None:
    colorizer = Colorizer(ROOT / "tests" / "data" / "tiny.onnx", "cpu", 1)
    with pytest.raises(TypeError, match=f"A picture is a path or a binary stream, not {type(source).__name__}"):
        colorizer.colorize_file(source)


def test_a_file_in_text_mode_is_a_type_error(tmp_path: Path) -> None:
    photograph().save(tmp_path / "in.png")
    with (tmp_path / "in.png").open() as text, pytest.raises(TypeError, match="gives text: open it in mode 'rb'"):
        reader.read(text)


def test_a_mask_beside_a_picture_is_left_out() -> None:
    picture = file_of(photograph().convert("L"), "TIFF").getvalue()
    # the mask's directory stands behind the picture, which links to it; its pixels are the picture's own
    start = len(picture) + len(picture) % 2
    first = struct.unpack_from("<I", picture, 4)[0]
    link = first + 2 + 12 * struct.unpack_from("<H", picture, first)[0]
    entries = [(256, 8), (257, 8), (258, 1), (259, 1), (262, 4), (273, 8), (277, 1), (278, 8), (279, 8)]
    body = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    data = picture[:link] + struct.pack("<I", start) + picture[link + 4 :] + bytes(start - len(picture)) + body + bytes(4)
    assert reader.read(io.BytesIO(data)).notes == ["a transparency mask was left out"]


@given(st.binary(min_size=1, max_size=300), st.sampled_from(BEGINNINGS), st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_whatever_is_no_picture_is_refused_in_one_sentence(noise: bytes, begun: bytes, kept: int) -> None:
    sentence = refusal(begun[:kept] + noise)
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(ROOT / "tests" / "data" / "tiny-segment.onnx", "cpu", 1)


@pytest.mark.parametrize("kind", ["JPEG"])
def test_a_cutout_without_transparency_is_refused_before_the_file_is_opened(segmenter: Segmenter, kind: str) -> None:
    with pytest.raises(OptionError, match="A cut-out has transparency, which JPEG cannot hold"):
        segmenter.segment_file(Path("nowhere.png"), "cutout", kind)


def test_the_limits_of_overlays_are_those_of_their_format(segmenter: Segmenter) -> None:
    panorama = file_of(Image.new("L", (17_000, 4), 90), "PNG")
    with pytest.raises(ImageFileError, match="more than the 16383 a side that WEBP can hold"):
        segmenter.segment_file(panorama, "overlay", "WEBP")
    clear = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(ImageFileError, match="has transparency, which JPEG cannot hold"):
        segmenter.segment_file(file_of(clear, "PNG"), "overlay", "JPEG")


def test_the_command_names_the_cutout_and_needs_no_model(tmp_path: Path) -> None:
    photograph().save(tmp_path / "plain.jpg")
    done = subprocess.run(
        [sys.executable, "-m", "colorize_run", "segment", "plain.jpg", "--as", "cutout", "-o", "x.jpg", "-m", "nowhere.onnx"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "A cut-out has transparency, which JPEG cannot hold" in done.stderr
    assert "plain.jpg" not in done.stderr
