"""Makes picture files of every kind that the tests need, and reads them by programs that are not ours."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from colorize_run import colour
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).resolve().parents[2]
Array = np.ndarray


def photograph(width: int = 90, height: int = 60) -> Image.Image:
    return Image.open(ROOT / "docs" / "samples" / "chelsea.jpg").convert("RGB").resize((width, height))


def deep_photograph() -> Array:
    """The same with 16 bits, the lower of them noise."""
    upper = np.asarray(photograph()).astype(np.uint16) << 8
    return upper | np.random.default_rng(0).integers(0, 256, upper.shape, dtype=np.uint16)


def file_of(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def png16(values: Array, chunks: bytes = b"") -> io.BytesIO:
    """A 16-bit PNG, unfiltered: grey, grey and alpha, RGB, RGBA by the number of channels."""
    values = values if values.ndim == 3 else values[..., None]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, (0, 4, 2, 6)[values.shape[2] - 1], 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunks(png: bytes, chunks: bytes) -> bytes:
    """A PNG file with more chunks behind its header."""
    return png[:33] + chunks + png[33:]


_NUMBERS = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)  # white, red, green, blue of Adobe RGB (1998)
ADOBE_RGB_CHUNKS = chunk(b"gAMA", struct.pack(">I", 45471)) + chunk(b"cHRM", struct.pack(">8I", *_NUMBERS))


def as_display_p3(avif: bytes) -> bytes:
    """An AVIF file whose box of numbers says the primaries of Display P3."""
    at = avif.index(b"colrnclx") + 8
    return avif[:at] + struct.pack(">H", 12) + avif[at + 2 :]


def tiff16(values: Array, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    channels = values.shape[2] if values.ndim == 3 else 1
    extra = {} if channels not in (2, 4) else {"extrasamples": [options.pop("alpha", "unassalpha")], "planarconfig": "contig"}
    tifffile.imwrite(file, values, photometric="rgb" if channels > 2 else "minisblack", metadata=None, **extra, **options)
    file.seek(0)
    return file


def jpeg2000(values: Array, profile: bytes | None = None, *, bare: bool = False, thousandths: int = 1000) -> io.BytesIO:
    """A JPEG 2000 file by OpenCV, lossless or compressed to so many thousandths; ``bare``: the codestream alone."""
    order = values if values.ndim == 2 else np.ascontiguousarray(values[..., [2, 1, 0, 3][: values.shape[2]]])
    data = cv2.imencode(".jp2", order, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, thousandths])[1].tobytes()
    at = data.index(b"jp2c")
    if bare:
        return io.BytesIO(data[at + 4 :])
    if profile:  # in place of the box that names a space by its number
        box = data.index(b"colr") - 4
        header = data.index(b"jp2h") - 4
        old = struct.unpack_from(">I", data, box)[0]
        new = struct.pack(">I4sBBB", 11 + len(profile), b"colr", 2, 0, 0) + profile
        length = struct.unpack_from(">I", data, header)[0] + len(new) - old
        data = data[:header] + struct.pack(">I", length) + data[header + 4 : box] + new + data[box + old :]
    return io.BytesIO(data)


def profile_in_jpeg2000(data: bytes) -> bytes | None:
    """The ICC profile of a JPEG 2000 file, of which Pillow does not tell."""
    box = data.find(b"colr") - 4
    if box < 0 or data[box + 8] not in (2, 3):
        return None
    return data[box + 11 : box + struct.unpack_from(">I", data, box)[0]]


def pnm(values: Array, most: int) -> io.BytesIO:
    """A binary PGM or PPM file of values 0..``most``."""
    magic = "P5" if values.ndim == 2 else "P6"
    head = f"{magic}\n# made for a test\n{values.shape[1]} {values.shape[0]}\n{most}\n".encode()
    return io.BytesIO(head + values.astype(np.uint8 if most < 256 else ">u2").tobytes())


def lab_under_d50(values: Array) -> Array:
    """16-bit sRGB (H, W, 3) as TIFF's CIELAB of 16 bits: L* of 0..65535, a* and b* in 256ths, signed."""
    encoded = values / 65535
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    columns = np.array(PRIMARIES["linear sRGB"]).T
    xyz = linear @ (columns / columns.sum(axis=1, keepdims=True)).T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
    scaled = np.rint(lab * [655.35, 256, 256])
    return np.dstack([scaled[..., :1].astype(np.uint16), scaled[..., 1:].astype(np.int16).view(np.uint16)])


def pixels_of(data: bytes) -> Array:
    """The pixels of a PNG or TIFF file by a reader that is not ours, as R, G, B and alpha in the file's own depth."""
    if data[:2] == b"II":
        return tifffile.imread(io.BytesIO(data))
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return values[..., [2, 1, 0, 3][: values.shape[2]]]


def lightness(values: Array) -> Array:
    """L* of sRGB-encoded values of any depth."""
    colours = values[..., :3] if values.ndim == 3 and values.shape[2] > 2 else values
    return colour.lightness(colours.astype(np.float32) / np.iinfo(values.dtype).max)


def colourfulness(values: Array) -> float:
    return float(np.ptp(values[..., :3].astype(float), axis=2).mean() / np.iinfo(values.dtype).max)


# D50 X, Y, Z of R, G, B as columns: Display P3 (SMPTE EG 432-1), Adobe RGB (1998), ProPhoto (ROMM), sRGB
PRIMARIES = {
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
    "Adobe RGB": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "ProPhoto": ((0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00009, 0.82491)),
    "linear sRGB": ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)),
}
SRGB_PARAMETERS = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
SRGB_CURVE = b"para\0\0\0\0\0\3\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in SRGB_PARAMETERS)
CURVES = {
    "Display P3": SRGB_CURVE,
    "Adobe RGB": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.19921875 * 256)),
    "ProPhoto": b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256)),
    "linear sRGB": b"curv\0\0\0\0" + struct.pack(">I", 0),
}


def profile_of(name: str, more: dict[bytes, bytes] | None = None) -> bytes:
    """An ICC profile (version 2) of curves and primaries, with ``more`` tags."""
    fixed = lambda values: b"".join(struct.pack(">i", round(value * 65536)) for value in values)  # noqa: E731
    text = name.encode() + b"\0"
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78), b"cprt": b"text\0\0\0\0none\0"}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed((0.9642, 1, 0.8249))
    for letter, primary in zip(b"rgb", PRIMARIES[name], strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(primary)
        tags[bytes([letter]) + b"TRC"] = CURVES[name]
    tags |= more or {}
    return icc_file(tags)


def icc_file(tags: dict[bytes, bytes], *, device: bytes = b"mntr", space: bytes = b"RGB ", pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile (version 2) of these tags, from a device's space to the profile connection space."""
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for signature, data in tags.items():
        table += signature + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"test", 0x02400000, device, space, pcs) + bytes(12) + b"acsp"
    white = struct.pack(">3i", 63190, 65536, 54061)  # D50
    return (head.ljust(68, b"\0") + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def lightness_in(values: Array, name: str) -> Array:
    """L* of encoded values by the space's published formula."""
    encoded = values[..., :3].astype(np.float64) / np.iinfo(values.dtype).max
    if name == "Display P3":
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    else:
        linear = encoded ** {"Adobe RGB": 563 / 256, "ProPhoto": 1.8, "linear sRGB": 1.0}[name]
    y = linear @ np.array([primary[1] for primary in PRIMARIES[name]])
    return np.where(y > (6 / 29) ** 3, 116 * np.cbrt(y) - 16, y * (29 / 3) ** 3)


XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6" xmlns:xmp="http://ns.adobe.com/xap/1.0/">'
    "<xmp:Thumbnails><rdf:Alt/></xmp:Thumbnails>"
    "<dc:creator><rdf:Seq><rdf:li>José Müller</rdf:li></rdf:Seq></dc:creator></rdf:Description></rdf:RDF></x:xmpmeta>"
    '<?xpacket end="w"?>'
).encode()
IPTC = b"\x1c\x02\x78\x00\x0ba man, a dog"


def photoshop_block(*resources: tuple[int, bytes]) -> bytes:
    return b"".join(b"8BIM" + struct.pack(">HHI", n, 0, len(d)) + d + bytes(len(d) % 2) for n, d in resources)


def with_iptc(kind: str, image: Image.Image | None = None) -> io.BytesIO:
    thumbnail = (0x040C, b"the picture of before")
    if kind == "TIFF":
        return file_of(photograph(), kind, tiffinfo={33723: IPTC})
    body = b"Photoshop 3.0\0" + photoshop_block((0x0404, IPTC), thumbnail)
    return file_of(image or photograph(), kind, extra=b"\xff\xed" + struct.pack(">H", len(body) + 2) + body)


def camera_exif() -> bytes:
    """EXIF as a camera writes it: big-endian, umlauts, a maker's note with offsets of its own, and a thumbnail."""
    note = b"MAKER\0" + bytes(range(40))
    inner = [(37500, 7, len(note), note), (40962, 4, 1, struct.pack(">I", 90)), (40963, 4, 1, struct.pack(">I", 60))]
    outer = [(271, 2, 7, "Müller".encode("latin-1") + b"\0"), (274, 3, 1, struct.pack(">HH", 6, 0))]
    thumbnail = file_of(photograph(16, 10), "JPEG").getvalue()

    def directory(entries: list, start: int, following: int) -> bytes:
        body, extra = struct.pack(">H", len(entries)), b""
        room = start + 6 + 12 * len(entries)
        for tag, kind, count, value in entries:
            body += struct.pack(">HHI", tag, kind, count)
            if len(value) <= 4:
                body += value.ljust(4, b"\0")
            else:
                body += struct.pack(">I", room + len(extra))
                extra += value + bytes(len(value) % 2)
        return body + struct.pack(">I", following) + extra

    size = len(directory([*outer, (34665, 4, 1, bytes(4))], 8, 0))
    exif = directory(inner, 8 + size, 0)
    first = directory([*outer, (34665, 4, 1, struct.pack(">I", 8 + size))], 8, 8 + size + len(exif))
    start = 8 + size + len(exif)
    at = start + 6 + 12 * 2
    second = directory([(513, 4, 1, struct.pack(">I", at)), (514, 4, 1, struct.pack(">I", len(thumbnail)))], start, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">I", 8) + first + exif + second + thumbnail


def with_xmp(kind: str, xmp: bytes = XMP, image: Image.Image | None = None) -> io.BytesIO:
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        return file_of(photograph(), kind, pnginfo=info)
    if kind == "TIFF":
        return file_of(photograph(), kind, tiffinfo={700: xmp})
    return file_of(image or photograph(), kind, xmp=xmp)
