"""What files are by their beginning: kinds that are no picture of a known format, and what a person can do with them.

Sources: the formats' own specifications; Library of Congress, Sustainability of Digital Formats; PRONOM. A table of our own,
as libraries that know types give a name, but neither tell a camera's raw file from a video of the same container nor what to
do (docs/decisions.md).
"""

import re

BEGINNING = 4096  # bytes that `describe` wants to see

SAVE = "save it as PNG, TIFF or JPEG first."  # what to do with a picture that another program opens
_DEVELOP = "develop it to TIFF or JPEG first."
_FRAME = "save a frame of it as PNG or JPEG first."
_EXPORT = "export it as PNG, TIFF or JPEG first."
_EXTRACT = "save its pictures as files first."
_UNPACK = "unpack it first."

_Answer = tuple[str, str | None]  # what a file is, and what to do

# (offset, bytes there, what it is, what to do); the first that fits counts
_SIGNATURES: tuple[tuple[int, bytes, str, str | None], ...] = (
    # pictures
    (0, b"8BPS\0\1", "a Photoshop document (PSD)", _EXPORT),
    (0, b"8BPS\0\2", "a large Photoshop document (PSB)", _EXPORT),
    (0, b"gimp xcf", "a GIMP document (XCF)", _EXPORT),
    (0, b"Paint Shop Pro Image File", "a Paint Shop Pro document", _EXPORT),
    (0, b"\xff\x0a", "a JPEG XL picture", SAVE),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", SAVE),
    (0, b"II\xbc\x01", "a JPEG XR picture", SAVE),
    (0, b"\x97JB2\r\n\x1a\n", "a JBIG2 picture", SAVE),
    (0, b"\x8aMNG\r\n\x1a\n", "an MNG animation", _FRAME),
    (0, b"\x8bJNG\r\n\x1a\n", "a JNG picture", SAVE),
    (0, b"qoif", "a QOI picture", SAVE),
    (0, b"BPG\xfb", "a BPG picture", SAVE),
    (0, b"FLIF", "a FLIF picture", SAVE),
    (0, b"DDS ", "a DirectDraw texture (DDS)", SAVE),
    (0, b"\xabKTX ", "a KTX texture", SAVE),
    (0, b"v/1\x01", "an OpenEXR picture, which has floating-point values", SAVE),
    (0, b"#?RADIANCE", "a Radiance HDR picture, which has floating-point values", SAVE),
    (0, b"#?RGBE", "a Radiance HDR picture, which has floating-point values", SAVE),
    (0, b"PF\n", "a PFM picture, which has floating-point values", SAVE),
    (0, b"Pf\n", "a PFM picture, which has floating-point values", SAVE),
    (0, b"SIMPLE  =", "a FITS file", _EXPORT),
    (128, b"DICM", "a DICOM file", _EXPORT),
    (0, b"icns", "an icon file (ICNS)", SAVE),
    (0, b"\xd7\xcd\xc6\x9a", "a Windows drawing (WMF)", _EXPORT),
    (0, b"\1\0\x09\0\0", "a Windows drawing (WMF)", _EXPORT),
    (40, b" EMF\0\0\1\0", "a Windows drawing (EMF)", _EXPORT),
    (0, b"AT&TFORM", "a DjVu document", "save its pages as TIFF or PNG first."),
    (0, b"\x01\xda\0\1", "an SGI picture", SAVE),
    (0, b"\x01\xda\1\1", "an SGI picture", SAVE),
    (0, b"\x01\xda\1\2", "an SGI picture, which has 16 bits", SAVE),
    (0, b"\x59\xa6\x6a\x95", "a Sun raster picture", SAVE),
    (0, b"SDPX", "a DPX picture", SAVE),
    (0, b"XPDS", "a DPX picture", SAVE),
    (0, b"\x80\x2a\x5f\xd7", "a Cineon picture", SAVE),
    (0, b"/* XPM", "an XPM picture", SAVE),
    (0, b"P7 332", "an XV thumbnail", SAVE),
    (2048, b"PCD_IPI", "a Photo CD picture", SAVE),
    # cameras' raw files that are not TIFF
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (Fujifilm RAF)", _DEVELOP),
    (0, b"FOVb", "a camera's raw file (Sigma X3F)", _DEVELOP),
    (0, b"\0MRM", "a camera's raw file (Minolta MRW)", _DEVELOP),
    (0, b"IIRO", "a camera's raw file (Olympus ORF)", _DEVELOP),
    (0, b"IIRS", "a camera's raw file (Olympus ORF)", _DEVELOP),
    (0, b"MMOR", "a camera's raw file (Olympus ORF)", _DEVELOP),
    (0, b"IIU\0", "a camera's raw file (Panasonic RW2)", _DEVELOP),
    (6, b"HEAPCCDR", "a camera's raw file (Canon CRW)", _DEVELOP),
    (0, b"ARRI", "a camera's raw file (ARRI)", _DEVELOP),
    # films and sound
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)", _FRAME),
    (0, b"FLV\1", "a video (FLV)", _FRAME),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV) or sound (WMA)", _FRAME),
    (0, b"\0\0\1\xba", "a video (MPEG)", _FRAME),
    (0, b"\0\0\1\xb3", "a video (MPEG)", _FRAME),
    (0, b".RMF", "a video (RealMedia)", _FRAME),
    (4, b"\x11\xaf", "an Autodesk animation (FLI)", _FRAME),
    (4, b"\x12\xaf", "an Autodesk animation (FLC)", _FRAME),
    (0, b"OggS", "a video or sound (Ogg)", _FRAME),
    (0, b"ID3", "sound (MP3)", None),
    (0, b"\xff\xfb", "sound (MP3)", None),
    (0, b"fLaC", "sound (FLAC)", None),
    (0, b"MThd", "sound (MIDI)", None),
    (0, b"#!AMR", "sound (AMR)", None),
    # documents and archives
    (0, b"\xc5\xd0\xd3\xc6", "an EPS drawing", _EXPORT),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office document", _EXTRACT),
    (0, b"{\\rtf", "a text document (RTF)", _EXTRACT),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (7z)", _UNPACK),
    (0, b"Rar!", "an archive (RAR)", _UNPACK),
    (0, b"MSCF", "an archive (CAB)", _UNPACK),
    (0, b"\x1f\x8b", "a compressed file (gzip)", _UNPACK),
    (0, b"BZh", "a compressed file (bzip2)", _UNPACK),
    (0, b"\xfd7zXZ\0", "a compressed file (xz)", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a compressed file (zstd)", _UNPACK),
    (257, b"ustar", "an archive (tar)", _UNPACK),
    (0, b"SQLite format 3\0", "a database (SQLite)", None),
    (0, b"\x89HDF\r\n\x1a\n", "a file of data (HDF5)", _EXPORT),
    (0, b"GRIB", "a file of weather data (GRIB)", _EXPORT),
    (0, b"CDF\1", "a file of data (NetCDF)", _EXPORT),
    (0, b"\0\5\x16\7", "a Mac's note on a file (AppleDouble)", "give the file of that name without '._'."),
    (0, b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut", "give the file that it leads to."),
    (0, b"\x7fELF", "a program", None),
)  # fmt: skip

# Brands of ISO 14496-12 files (ftyp); those of HEIF and AVIF pictures are in `identify`.
BRANDS: dict[bytes, _Answer] = {
    b"crx ": ("a camera's raw file (Canon CR3)", _DEVELOP),
    b"qt  ": ("a video (QuickTime)", _FRAME),
    b"M4A ": ("sound (M4A)", None),
    b"M4B ": ("sound (M4B)", None),
    b"mjp2": ("a video (Motion JPEG 2000)", _FRAME),
    b"jpm ": ("a compound JPEG 2000 document (JPM)", _EXPORT),
    b"avci": ("a HEIF picture coded as H.264", SAVE),
    b"avcs": ("a HEIF picture coded as H.264", SAVE),
    b"jpeg": ("a HEIF picture coded as JPEG", SAVE),
    b"jpgs": ("a HEIF picture coded as JPEG", SAVE),
    b"j2ki": ("a HEIF picture coded as JPEG 2000", SAVE),
    b"vvic": ("a HEIF picture coded as H.266", SAVE),
    b"evbi": ("a HEIF picture coded as EVC", SAVE),
}
_QUICKTIME_ATOMS = (b"moov", b"mdat", b"wide", b"pnot", b"free", b"skip")
# Kinds of RIFF and IFF files
_CHUNKED: dict[bytes, _Answer] = {
    b"AVI ": ("a video (AVI)", _FRAME),
    b"WAVE": ("sound (WAV)", None),
    b"AIFF": ("sound (AIFF)", None),
    b"ACON": ("an animated cursor (ANI)", SAVE),
    b"ILBM": ("an IFF picture (ILBM)", SAVE),
    b"PBM ": ("an IFF picture (PBM)", SAVE),
}
_TEXT_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
# What may stand before the first element of a document, which says what it is
_PROLOG = re.compile(r"(?:\ufeff|\s|<\?.*?\?>|<!--.*?-->)*", re.S)
_MARKUP: tuple[tuple[re.Pattern[str], str, str | None], ...] = (
    (re.compile(r"<!doctype svg\b|<(?:\w+:)?svg\b", re.I), "an SVG drawing", _EXPORT),
    (re.compile(r"<!doctype html\b|<(?:html|head|body|script|style|title|meta|div|p|center)\b", re.I), "a web page (HTML)",
     "download the picture itself."),
    (re.compile(r"<[!\w]"), "an XML document", None),
)  # fmt: skip
_NO_PICTURES = (
    "a PDF",
    "a PostScript",
    "an EPS",
    "an Office",
    "an older Office",
    "a text document",
    "a web page",
    "an archive",
)


def describe(start: bytes) -> str | None:
    """What a file is whose first `BEGINNING` bytes are ``start``, and what to do, to follow "is "; None for what is not known.

    Formats that are read are not among the answers.
    """
    what = _of_container(start) or _of_table(start) or _of_document(start) or _of_loose_picture(start) or _of_text(start)
    if what is None:
        return None
    name, way = what
    if not way or name.startswith(_NO_PICTURES):
        name = f"not a picture, but {name}"
    return f"{name}; {way}" if way else f"{name}."


def _of_table(start: bytes) -> _Answer | None:
    return next(((what, way) for at, magic, what, way in _SIGNATURES if start.startswith(magic, at)), None)


def _of_container(start: bytes) -> _Answer | None:
    """Of a file of ISO 14496-12, by its brand; of RIFF and IFF, by its kind."""
    if start[:4] in (b"RIFF", b"RIFX", b"FORM"):
        return _CHUNKED.get(start[8:12])
    if start[4:8] in _QUICKTIME_ATOMS and start[0] < 32:
        return BRANDS[b"qt  "]
    if start.startswith(b"\0\0\0\x0cjP  ") and start[16:20] == b"ftyp":
        return BRANDS.get(start[20:24])
    return BRANDS.get(start[8:12], ("a video (MP4)", _FRAME)) if start[4:8] == b"ftyp" else None


def _of_document(start: bytes) -> _Answer | None:
    if b"%PDF-" in start[:1024]:
        return "a PDF document", "save its pages or pictures as PNG or TIFF first."
    if start.lstrip(b"\x04 \r\n").startswith(b"%!PS"):
        return ("an EPS drawing" if b"EPSF" in start[:40] else "a PostScript document"), _EXPORT
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        name = start[30:70]
        office = name.startswith((b"[Content_Types].xml", b"_rels/", b"mimetype", b"word/", b"xl/", b"ppt/", b"docProps/"))
        return ("an Office document or e-book", _EXTRACT) if office else ("an archive (ZIP)", _UNPACK)
    if start[:1] == b"G" and start[188:189] == b"G" and start[376:377] == b"G":
        return "a video (MPEG-TS)", _FRAME
    return None


def _of_loose_picture(start: bytes) -> _Answer | None:
    """Formats without a signature of their own, by the bounds of their headers' fields."""
    if start[:4] in (b"\0\0\1\0", b"\0\0\2\0") and start[4:5] > b"\0" and start[5:6] == b"\0":
        return ("an icon file (ICO)" if start[2] == 1 else "a cursor file (CUR)"), SAVE
    if start[:2] == b"MZ" and b"\0" in start:
        return "a program (Windows)", None
    if len(start) >= 128 and start[0] == 10 and start[1] <= 5 and start[2] == 1 and start[3] in (1, 2, 4, 8):
        return "a PCX picture", SAVE
    if len(start) >= 18 and start[1] in (0, 1) and start[2] in (1, 2, 3, 9, 10, 11) and start[16] in (8, 15, 16, 24, 32):
        mapped, width, height = start[2] in (1, 9), start[12:14], start[14:16]
        if mapped == bool(start[1]) and any(width) and any(height) and not start[17] & 0xC0:
            return "a TGA picture", SAVE
    if start[:4] == b"(\0\0\0" and start[12:14] == b"\1\0":
        return "a bitmap from a clipboard, without a file's header", SAVE
    return None


def _of_text(start: bytes) -> _Answer | None:
    text = _decoded(start)
    if text is None:
        return None
    prolog = _PROLOG.match(text)
    for pattern, what, way in _MARKUP:
        if pattern.match(text, prolog.end() if prolog else 0):
            return what, way
    if text.startswith("version https://git-lfs"):
        return "a pointer of Git LFS", "`git lfs pull` fetches the picture itself."
    return "a text file", None


def _decoded(start: bytes) -> str | None:
    """The beginning of a text, in UTF-16 with a byte order mark, or without control characters."""
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return start[: len(start) // 2 * 2].decode("utf-16", "replace")
    if not start.strip() or _TEXT_CONTROLS.search(start):
        return None
    try:
        return start.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start >= len(start) - 3 and len(start) >= BEGINNING:  # a character that is cut off
            return start[: error.start].decode("utf-8")
        plain = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in start)
        return start.decode("latin-1") if plain >= 0.75 * len(start) else None
