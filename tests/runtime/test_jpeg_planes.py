"""JPEG coloured in its own planes: luma untouched, everything else kept, and the way back."""

import contextlib
import io
import itertools
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.cli import main
from colorize_run.control import Control, Mask
from colorize_run.errors import ImageFileError, OptionError
from colorize_run.hints import Hints, parse_hint
from colorize_run.image import graft, jpeg, transcode, undo
from colorize_run.image.undo import Edit
from grey_jpegs import generate, grey_profile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jpeg_planes import missing_programs, results
from PIL import ExifTags, Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
COLORIZER = Colorizer(DATA / "tiny.onnx", "cpu", 1)
needs_transcoder = pytest.mark.skipif(not transcode.can_transcode(), reason="libturbojpeg is not installed")


def photograph(size: tuple[int, int] = (96, 64)) -> Image.Image:
    return Image.open(ROOT / "docs" / "samples" / "chelsea.jpg").convert("L").resize(size)


def file_of(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 92} | options))
    return file.getvalue()


def planes_of(data: bytes) -> np.ndarray:
    """(H, W, 3) of a coloured file, (H, W) of a grey one, as they are coded."""
    image = Image.open(io.BytesIO(data))
    image.draft("YCbCr", None)
    return np.asarray(image)


def coloured(data: bytes, control: Control | None = None, **options: bool) -> bytes:
    return COLORIZER.colorize_file(io.BytesIO(data), control=control, **options)[0]


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def exif_with(orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """An EXIF block with an orientation and, in a second directory, a thumbnail."""
    first = struct.pack("<2sHIHHHIHH", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0)
    entries = struct.pack("<HHIIHHII", 513, 4, 1, 26 + 30, 514, 4, 1, len(thumbnail))
    second = struct.pack("<IH", 26, 2) + entries + struct.pack("<I", 0) if thumbnail else struct.pack("<I", 0)
    return b"Exif\0\0" + first + second + thumbnail


# -- luma and the way back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (96, 64), (1601, 1300)])
def test_luma_is_the_files_own_and_restore_gives_the_file_back(size: tuple[int, int], progressive: bool) -> None:
    data = file_of(photograph(size), progressive=progressive)
    after = coloured(data)
    assert (planes_of(after)[..., 0] == planes_of(data)).all()
    if min(size) > 8:
        assert np.ptp(planes_of(after)[..., 1:]) > 10
    assert undo.restored(after) == data
    layout, scans = jpeg.parse(after), [data[start:end] for _, start, end in jpeg.parse(data).scans]
    assert [after[start:end] for _, start, end in layout.scans][: len(scans)] == scans


def test_thirty_kinds_of_files_through_other_programs(tmp_path: Path) -> None:
    """`python tests/conformance/jpeg_planes.py FOLDER` does the same with 300."""
    grey, after, back = (tmp_path / name for name in ("grey", "coloured", "restored"))
    paths = generate(grey, 30, 1)
    run(grey, "-o", after, "-m", DATA / "tiny.onnx", "--jobs", "1")
    run("restore", after, "-o", back)
    wrong = [
        f"{path.name}: {check}: {sentence}"
        for path in paths
        for check, sentence in results(path, after / path.name, back / path.name)
        if sentence
    ]
    assert not wrong, (wrong, missing_programs())


def test_the_pixels_are_close_to_those_of_the_join() -> None:
    data = file_of(photograph((800, 600)))
    after, joined = (
        np.asarray(Image.open(io.BytesIO(coloured(data, Control(lightness=name)))), np.int16) for name in ("luma", "cielab")
    )
    assert np.abs(after - joined).mean() < 2
    assert np.abs(joined - joined.mean(axis=2, keepdims=True)).mean() > 4


# -- what the file says ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_tag_stays_and_the_network_sees_the_picture_upright(orientation: int) -> None:
    upright = coloured(file_of(photograph((640, 480))))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lying = ImageOps.exif_transpose(photograph((640, 480)))
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    if orientation > 1:
        lying = lying.transpose(Image.Transpose(inverse[orientation]))
    data, result = COLORIZER.colorize_file(io.BytesIO(file_of(lying, exif=exif.tobytes())))
    found = Image.open(io.BytesIO(data))
    assert found.getexif()[ExifTags.Base.Orientation] == orientation
    assert result.size == (640, 480)
    shown = np.asarray(ImageOps.exif_transpose(found), np.int16)
    assert np.abs(shown - np.asarray(Image.open(io.BytesIO(upright)))).mean() < 2


def test_asked_for_it_the_picture_is_turned(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(file_of(photograph(), exif=exif_with(6)))
    run(tmp_path / "a.jpg", "-m", DATA / "tiny.onnx", "--upright")
    with Image.open(tmp_path / "a.colorized.jpg") as image:
        assert image.size == (64, 96)
        assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1


def test_the_thumbnail_gets_the_same_colours() -> None:
    thumbnail = file_of(photograph((48, 32)))
    after = coloured(file_of(photograph(), exif=exif_with(1, thumbnail)))
    block = Image.open(io.BytesIO(after)).info["exif"]
    start = struct.unpack_from("<I", block, 6 + 26 + 2 + 8)[0]
    small = planes_of(block[6 + start :])
    assert (small[..., 0] == planes_of(thumbnail)).all()
    assert np.abs(small[..., 1:].mean(axis=(0, 1)) - planes_of(after)[..., 1:].mean(axis=(0, 1))).max() < 4


@pytest.mark.parametrize("thumbnail", [b"no picture", file_of(photograph((32, 32)))], ids=["damaged", "another shape"])
def test_a_thumbnail_that_cannot_get_colours_is_removed_and_restored(thumbnail: bytes) -> None:
    data = file_of(photograph(), exif=exif_with(1, thumbnail))
    after = coloured(data)
    assert thumbnail not in after
    assert undo.restored(after) == data


def test_grey_profiles_become_rgb_ones_with_the_same_curve() -> None:
    data = file_of(photograph(), icc_profile=grey_profile(1.8))
    after = coloured(data)
    assert Image.open(io.BytesIO(after)).info["icc_profile"][16:20] == b"RGB "
    assert (planes_of(after)[..., 0] == planes_of(data)).all()
    assert undo.restored(after) == data


def test_further_pictures_and_what_follows_the_file_stay() -> None:
    file = io.BytesIO()
    photograph().save(file, "MPO", save_all=True, append_images=[photograph((45, 30))])
    data = file.getvalue() + b"a film of two seconds"
    after = coloured(data)
    assert after.endswith(b"a film of two seconds")
    with Image.open(io.BytesIO(after)) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
        image.seek(1)
        assert image.convert("L").tobytes() == Image.open(io.BytesIO(file_of(photograph((45, 30)), quality=75))).tobytes()
    assert undo.restored(after) == data


def test_comments_and_unknown_segments_stay_and_xmp_says_whose_the_colours_are() -> None:
    extra = jpeg.segment(0xEC, b"Ducky and others") + jpeg.segment(jpeg.COM, b"scanned in May")
    data = file_of(photograph(), extra=extra)
    after = coloured(data)
    assert extra in after
    assert b"AI-colourised" in after
    assert undo.restored(after) == data


def test_stripped_files_say_nothing_but_how_they_are_turned() -> None:
    extra = jpeg.segment(jpeg.COM, b"a secret") + jpeg.segment(0xEC, b"a secret")
    data = file_of(photograph(), exif=exif_with(6, b"a secret"), extra=extra) + b"a secret"
    after = coloured(data, keep_metadata=False)
    assert b"secret" not in after
    assert b"AI-colourised" not in after
    assert Image.open(io.BytesIO(after)).getexif()[ExifTags.Base.Orientation] == 6
    with pytest.raises(ImageFileError, match="no record"):
        undo.restored(after)


def jfif_with_thumbnail(data: bytes) -> bytes:
    """The file with a thumbnail of 2 x 2 pixels in its JFIF segment, and a secret behind it."""
    segment = jpeg.parse(data).segments[0]
    body = data[segment.body : segment.end - 2] + b"\x02\x02" + b"pixels of it" + b"a secret"
    return data[: segment.start] + jpeg.segment(jpeg.APP0, body) + data[segment.end :]


def test_stripped_files_have_no_thumbnail_of_any_kind_nor_what_hides_in_a_profile() -> None:
    extra = jpeg.segment(jpeg.APP2, b"ICC_PROFILE\0\1\1a secret") + jpeg.segment(jpeg.APP14, b"Adobe\0d\0\0\0\0\0a secret")
    data = jfif_with_thumbnail(file_of(photograph(), extra=extra))
    for keep in (False, True):
        after = coloured(data, keep_metadata=keep)
        assert b"pixels of it" not in after
        assert (planes_of(after)[..., 0] == planes_of(data)).all()
    assert b"secret" not in coloured(data, keep_metadata=False)
    assert undo.restored(coloured(data)) == data


def test_a_record_holds_no_more_of_exif_than_was_changed() -> None:
    thumbnail = file_of(photograph((48, 32)))
    first = struct.pack("<2sHIHHHIII", b"II", 42, 8, 1, 315, 2, 9, 26, 36) + b"somebody\0\0"
    second = struct.pack("<HHHIIHHIII", 2, 513, 4, 1, 66, 514, 4, 1, len(thumbnail), 0)
    block = b"Exif\0\0" + first + second + thumbnail
    data = file_of(photograph(), exif=block)
    after = coloured(data)
    assert undo.restored(after) == data
    content = undo._unpacked(undo._split(after)[0])
    assert b"somebody" not in content


def test_a_large_thumbnail_is_not_decoded() -> None:
    thumbnail = file_of(Image.new("L", (1500, 1000), 90), quality=5)
    after = coloured(file_of(photograph((1500, 1000)), exif=exif_with(1, thumbnail)))
    assert thumbnail not in after


@pytest.mark.parametrize("entries", [1, 2], ids=["sound", "twice the same tag"])
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_odd_lists_of_further_pictures(mode: str, late: bool, entries: int) -> None:
    block = struct.pack("<2sHIHHHII", b"II", 42, 8, 1 + entries, 0xB001, 4, 1, 2)
    block += entries * struct.pack("<HHII", 0xB002, 7, 32, 26 + 12 * entries) + bytes(4)
    block += struct.pack("<IIIHH", 0, 500, 0, 0, 0) + struct.pack("<IIIHH", 0, 100, 900, 0, 0)
    segment = jpeg.segment(jpeg.APP2, b"MPF\0" + block)
    data = file_of(photograph().convert(mode))
    layout = jpeg.parse(data)
    place = layout.frame.segment.start if late else layout.segments[0].end
    data = data[:place] + segment + data[place:] + bytes(1000)
    after = coloured(data)
    Image.open(io.BytesIO(after)).load()
    if mode == "L":
        assert undo.restored(after) == data


def test_a_box_of_another_program_with_the_same_number_stays() -> None:
    foreign = jpeg.segment(0xEB, b"JP" + struct.pack(">HI", undo._NUMBER, 1) + struct.pack(">I4s", 16, b"jumb") + b"12345678")
    data = file_of(photograph(), extra=foreign)
    after = coloured(data)
    assert foreign in after
    assert undo.restored(after) == data


def test_a_record_that_would_be_too_large_is_left_out_with_a_note() -> None:
    resource = b"8BIM" + struct.pack(">HHI", 0x040C, 0, 60_000) + random_bytes(60_000)
    extra = b"".join(jpeg.segment(jpeg.APP13, b"Photoshop 3.0\0" + resource) for _ in range(300))
    data, result = COLORIZER.colorize_file(io.BytesIO(file_of(photograph(), extra=extra)))
    assert any("cannot give the grey file back" in note for note in result.notes)
    with pytest.raises(undo.NoRecordError):
        undo.restored(data)


def random_bytes(count: int) -> bytes:
    return np.random.default_rng(0).bytes(count)


# -- what the user decides ------------------------------------------------------------------------------------


def test_blend_mask_and_saturation_hold_for_chroma(tmp_path: Path) -> None:
    data = file_of(photograph((320, 240)))
    whole = planes_of(coloured(data))[..., 1:].astype(np.float32) - 128
    half = planes_of(coloured(data, Control(blend=0.5)))[..., 1:].astype(np.float32) - 128
    assert np.abs(half - whole / 2).max() < 4  # both are compressed
    assert np.abs(planes_of(coloured(data, Control(saturation=0)))[..., 1:].astype(int) - 128).max() <= 1
    left = np.zeros((240, 320), np.uint8)
    left[:, :160] = 255
    Image.fromarray(left).save(tmp_path / "mask.png")
    masked = planes_of(coloured(data, Control(mask=Mask(tmp_path / "mask.png"))))[..., 1:].astype(np.float32) - 128
    assert np.abs(masked[:, 180:]).max() <= 1
    assert np.abs(masked[:, :140] - whole[:, :140]).max() < 4


def test_a_hint_colours_its_place() -> None:
    grey = Image.fromarray(np.full((192, 256), 120, np.uint8))
    control = Control(hints=Hints([parse_hint("128,96,20=#c03020")], None))
    data, _ = Colorizer(DATA / "tiny-hints.onnx", "cpu", 1).colorize_file(io.BytesIO(file_of(grey)), control=control)
    red, green, blue = np.asarray(Image.open(io.BytesIO(data)))[96, 128].astype(int)
    assert red > max(green, blue) + 60


def test_an_unknown_lightness_is_refused() -> None:
    with pytest.raises(OptionError, match="luma or cielab"):
        Control(lightness="lab")


# -- files with chroma of their own ---------------------------------------------------------------------------


@needs_transcoder
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("size", [(97, 61), (640, 480)])
def test_a_grey_picture_that_is_coded_in_colour_keeps_its_luma(size: tuple[int, int], options: dict[str, int]) -> None:
    data = file_of(photograph(size).convert("RGB"), **options)
    after = coloured(data, Control(keep_colour=True))
    assert (planes_of(after)[..., 0] == planes_of(data)[..., 0]).all()
    assert np.ptp(planes_of(after)[..., 1:]) > 10
    assert jpeg.parse(after).progressive == ("progressive" in options)
    before, now = (Image.open(io.BytesIO(each)).quantization for each in (data, after))  # type: ignore[attr-defined]
    assert list(before.values()) == list(now.values())
    with pytest.raises(ImageFileError, match="no record"):
        undo.restored(after)


@needs_transcoder
def test_a_toned_picture_keeps_its_tone_where_it_is_not_coloured() -> None:
    tones = ImageOps.colorize(photograph((320, 240)), "#201008", "#fff0d0")
    data = file_of(tones, subsampling=0)
    after = coloured(data, Control(keep_colour=True, blend=0.0))
    assert np.abs(planes_of(after)[..., 1:].astype(int) - planes_of(data)[..., 1:]).mean() < 1.5


def test_a_picture_with_colours_is_left_as_it_is() -> None:
    data = (ROOT / "docs" / "samples" / "coffee.jpg").read_bytes()
    assert coloured(data, Control(keep_colour=True)) == data


def test_without_the_library_such_a_file_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcode, "_library", lambda: None)
    data = file_of(photograph((320, 240)).convert("RGB"))
    after = coloured(data, Control(keep_colour=True))
    assert after != data
    assert np.ptp(planes_of(after)[..., 1:]) > 10


@needs_transcoder
def test_an_unused_table_is_not_taken_for_chroma() -> None:
    data = file_of(photograph().convert("RGB"), quality=95)
    place = jpeg.parse(data).frame.segment.start
    data = data[:place] + jpeg.segment(jpeg.DQT, b"\x03" + b"\xff" * 64) + data[place:]
    tables = Image.open(io.BytesIO(coloured(data))).quantization  # type: ignore[attr-defined]
    assert max(tables[1]) < 60


def test_coloured_again_there_is_still_a_way_back() -> None:
    data = file_of(photograph())
    again = coloured(coloured(data), Control(saturation=0.5))
    assert undo.restored(again) == data
    assert coloured(coloured(data), Control(keep_colour=True)) == coloured(data)


def test_upright_pictures_keep_their_luma_even_if_asked_to_be_turned() -> None:
    data = file_of(photograph())
    assert undo.restored(coloured(data, Control(upright=True))) == data


# -- restore --------------------------------------------------------------------------------------------------


def test_restore_from_the_command_line(tmp_path: Path) -> None:
    data = file_of(photograph())
    (tmp_path / "a.jpg").write_bytes(data)
    run(tmp_path / "a.jpg", "-m", DATA / "tiny.onnx")
    assert "the same" in run("restore", tmp_path / "a.colorized.jpg")
    (tmp_path / "a.jpg").unlink()
    assert "->" in run("restore", tmp_path / "a.colorized.jpg")
    assert (tmp_path / "a.jpg").read_bytes() == data
    (tmp_path / "a.jpg").write_bytes(b"another file")
    assert "exists; --overwrite" in run("restore", tmp_path / "a.colorized.jpg", code=73)
    assert (tmp_path / "a.jpg").read_bytes() == b"another file"
    run("restore", tmp_path / "a.colorized.jpg", "--overwrite")
    assert (tmp_path / "a.jpg").read_bytes() == data


def test_restore_a_folder_and_say_which_have_no_way_back(tmp_path: Path) -> None:
    source, out, back = tmp_path / "in", tmp_path / "out", tmp_path / "back"
    (source / "deep").mkdir(parents=True)
    for name in ("a.jpg", "deep/b.jpeg"):
        (source / name).write_bytes(file_of(photograph(), quality=80 + len(name)))
    run(source, "-o", out, "-r", "-m", DATA / "tiny.onnx", "--jobs", "1")
    (out / "c.jpg").write_bytes(file_of(photograph()))
    (out / "d.jpg").write_bytes(coloured(file_of(photograph()))[:-300])
    text = run("restore", out, "-r", "-o", back, code=1)
    assert "d.jpg is a JPEG file that is damaged" in text
    assert "2 files restored, 1 failed, 1 without a record left out" in text
    assert "c.jpg holds no record" in run("restore", out / "c.jpg", code=1)
    for name in ("a.jpg", "deep/b.jpeg"):
        assert (back / name).read_bytes() == (source / name).read_bytes()


def test_restore_through_pipes_and_into_a_folder(tmp_path: Path) -> None:
    data = file_of(photograph())
    command = [sys.executable, "-m", "colorize_run", "restore", "-", "-o", "-"]
    done = subprocess.run(command, input=coloured(data), check=True, capture_output=True)
    assert done.stdout == data
    (tmp_path / "a.colorized.jpg").write_bytes(coloured(data))
    run("restore", tmp_path / "a.colorized.jpg", "-o", f"{tmp_path}/back/")
    assert (tmp_path / "back" / "a.jpg").read_bytes() == data


def test_restore_beside_the_originals(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(file_of(photograph()))
    run(tmp_path, "-m", DATA / "tiny.onnx", "--jobs", "1")
    assert "1 file restored, 0 failed, 1 without a record left out" in run("restore", tmp_path)


def test_restore_never_replaces_what_it_has_yet_to_restore(tmp_path: Path) -> None:
    first, second = file_of(photograph()), file_of(photograph((64, 64)))
    (tmp_path / "a.colorized.jpg").write_bytes(coloured(first))
    (tmp_path / "a.jpg").write_bytes(coloured(second))
    assert "itself among the pictures" in run("restore", tmp_path, "--overwrite", code=2)
    assert undo.restored((tmp_path / "a.jpg").read_bytes()) == second


@pytest.mark.parametrize("command", [["restore"], ["colorize", "-m", str(DATA / "tiny.onnx"), "--force"]])
def test_only_files_are_overwritten(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(coloured(file_of(photograph())))
    os.mkfifo(tmp_path / "pipe.jpg")
    run(*command, tmp_path / "a.jpg", "-o", tmp_path / "pipe.jpg", "--overwrite", code=73)
    assert (tmp_path / "pipe.jpg").is_fifo()


@pytest.mark.parametrize(("options", "lossless"), [([], True), (["--lightness", "cielab"], False)])
def test_what_a_watch_wrote_can_be_restored(options: list[str], lossless: bool, tmp_path: Path) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    (inbox / "a.jpg").write_bytes(file_of(photograph()))
    command = [
        sys.executable,
        "-m",
        "colorize_run",
        "watch",
        inbox,
        outbox,
        "--once",
        "--device",
        "cpu",
        "-m",
        DATA / "tiny.onnx",
    ]
    subprocess.run([*command, *options], check=True, capture_output=True)
    run("restore", outbox, "-o", tmp_path / "back")
    assert (tmp_path / "back").exists() == lossless
    if lossless:
        assert (tmp_path / "back" / "a.jpg").read_bytes() == (inbox / "a.jpg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["missing.jpg"], "missing.jpg does not exist.", 66),
        (["empty"], "empty contains no JPEG files.", 66),
        (["note.txt"], "note.txt is not a JPEG file", 1),
        (["cut.jpg"], "cut.jpg is a JPEG file that is damaged", 1),
        (["cut.jpg", "note.txt", "-o", "-"], "Only one picture can come from stdin", 2),
        (["cut.jpg", "-r"], "--recursive is for folders", 2),
        (["cut.jpg", "-o", ""], "-o is empty", 2),
    ],
)
def test_restore_refuses_in_one_sentence(
    arguments: list[str], sentence: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("a note")
    (tmp_path / "cut.jpg").write_bytes(coloured(file_of(photograph()))[:-500])
    output = run("restore", *arguments, code=code)
    assert sentence in output
    assert "Traceback" not in output


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_file_that_was_changed_since_is_refused_or_restored_whole(data: st.DataObject) -> None:
    before = file_of(photograph((24, 16)))
    after = bytearray(coloured(before))
    at = data.draw(st.integers(0, len(after) - 1))
    after[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ImageFileError):
        assert undo.restored(bytes(after)) == before


# -- laws of the parts ----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=400), st.data())
def test_any_edits_can_be_undone(payload: bytes, data: st.DataObject) -> None:
    whole = file_of(photograph((16, 16)))
    place = jpeg.head_end(jpeg.parse(whole))
    before = whole + payload  # of a file, all behind the end of the picture may be changed
    cuts = sorted(data.draw(st.lists(st.integers(len(whole), len(before)), max_size=8)))
    pairs = zip(cuts[::2], cuts[1::2], strict=False)
    edits = [Edit(start, end, data.draw(st.binary(max_size=40))) for start, end in pairs]
    record = undo.record_of(before, edits)
    after = undo.edited(before, [*edits, Edit(place, place, record)])
    assert undo.restored(after) == before
    assert undo.growth(edits, len(before)) == len(after) - len(before) - len(record)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 10**6), st.booleans())
@example(b"\xff" * 100, 0, True)
@example(b"\xff\xd8\xff\xda\x00\x02", 0, False)
def test_the_parser_reads_any_bytes(junk: bytes, place: int, whole: bool) -> None:
    data = file_of(photograph((24, 24)))
    place %= len(data)
    data = data[:place] + junk + (data[place:] if whole else b"")
    try:
        layout = jpeg.parse(data)
    except jpeg.UnknownLayoutError:
        return
    pieces = sorted([(s.start, s.end) for s in layout.segments] + [(start, end) for _, start, end in layout.scans])
    assert pieces[0][0] == 2
    assert all(first[1] == second[0] for first, second in itertools.pairwise(pieces))
    assert pieces[-1][1] == layout.eoi.start
    assert data[: layout.eoi.end].endswith(b"\xff\xd9")


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=12), st.integers(0, 10**6), st.booleans())
def test_damaged_files_get_one_sentence(junk: bytes, place: int, progressive: bool) -> None:
    data = bytearray(file_of(photograph((48, 32)), progressive=progressive, exif=exif_with(6, file_of(photograph((12, 8))))))
    place %= len(data)
    data[place : place + len(junk)] = junk
    try:
        after = coloured(bytes(data))
    except ImageFileError as error:
        sentence = str(error)
        assert re.fullmatch(r"[^\n]+\.", sentence)
        return
    Image.open(io.BytesIO(after)).load()
    with contextlib.suppress(jpeg.UnknownLayoutError):
        if graft.takes_chroma(jpeg.parse(bytes(data))):
            assert undo.restored(after) == data
