"""Colour hints from the outside: commands, files and Python; borrowed colours, suggestions and confidence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colorize_run import Colorizer
from colorize_run.cli import main
from colorize_run.colour import srgb_to_lab
from colorize_run.control import Control, reference_picture
from colorize_run.errors import ImageFileError, OptionError
from colorize_run.hints import Hint, Hints, parse_hint
from hypothesis import example, given, settings
from hypothesis import strategies as st
from picture_files import profile_of
from PIL import Image

DATA = Path(__file__).parents[1] / "data"
HINTED, WITHOUT = DATA / "tiny-hints.onnx", DATA / "tiny.onnx"
RED = "#c03020"


@pytest.fixture(scope="module")
def colorizer() -> Colorizer:
    return Colorizer(HINTED, "cpu", 1)


def landscape(width: int = 256, height: int = 192) -> Image.Image:
    """A light half over a dark one, with a grey square in the middle."""
    grey = np.full((height, width), 200, np.uint8)
    grey[height // 2 :] = 70
    grey[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5] = 128
    return Image.fromarray(grey)


def ab_at(image: Image.Image, x: int, y: int) -> np.ndarray:
    patch = np.asarray(image.convert("RGB"), np.float32)[y - 3 : y + 4, x - 3 : x + 4] / np.float32(255)
    return srgb_to_lab(patch)[..., 1:].mean(axis=(0, 1))


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def colorize(folder: Path, *options: str | Path, code: int = 0) -> Image.Image | str:
    landscape().save(folder / "grey.png")
    output = run(
        folder / "grey.png", "-m", HINTED, "--device", "cpu", "-o", folder / "out.png", "--overwrite", *options, code=code
    )
    if code:
        return output
    with Image.open(folder / "out.png") as image:
        image.load()
        return image


def test_a_hinted_place_comes_out_in_its_colour_and_the_rest_as_without(tmp_path: Path) -> None:
    plain = colorize(tmp_path)
    assert isinstance(plain, Image.Image)
    hinted = colorize(tmp_path, "--hint", f"128,96,12={RED}")
    assert isinstance(hinted, Image.Image)
    wanted = srgb_to_lab(np.array([[0xC0, 0x30, 0x20]], np.float32) / np.float32(255))[0, 1:]
    assert np.linalg.norm(ab_at(hinted, 128, 96) - wanted) < 5
    assert np.linalg.norm(ab_at(plain, 128, 96) - wanted) > 30
    assert np.array_equal(np.asarray(plain)[:30], np.asarray(hinted)[:30])


def test_hints_of_a_file_are_those_of_the_command(tmp_path: Path) -> None:
    by_command = colorize(tmp_path, "--hint", f"128,96,6={RED}", "--hint", "30, 30 = 20c040")
    assert isinstance(by_command, Image.Image)
    expected = np.asarray(by_command)
    (tmp_path / "hints.json").write_text(
        json.dumps([{"x": 128, "y": 96, "colour": RED, "radius": 6}, {"x": 30, "y": 30, "colour": "#20c040"}])
    )
    by_file = colorize(tmp_path, "--hints", tmp_path / "hints.json")
    assert isinstance(by_file, Image.Image)
    assert np.array_equal(np.asarray(by_file), expected)


def test_a_painted_copy_gives_hints_where_it_is_opaque(tmp_path: Path) -> None:
    painted = np.zeros((192, 256, 4), np.uint8)
    painted[90:102, 122:134] = (0xC0, 0x30, 0x20, 255)
    Image.fromarray(painted).save(tmp_path / "painted.png")
    image = colorize(tmp_path, "--hints", tmp_path / "painted.png")
    assert isinstance(image, Image.Image)
    wanted = srgb_to_lab(np.array([[0xC0, 0x30, 0x20]], np.float32) / np.float32(255))[0, 1:]
    assert np.linalg.norm(ab_at(image, 128, 96) - wanted) < 5
    thin = np.zeros((1920, 2560, 4), np.uint8)  # a stroke of 5 pixels in a large picture is a hint too
    thin[958:963, 600:1900] = (0xC0, 0x30, 0x20, 255)
    planes = Hints(path=_saved(thin, tmp_path / "thin.png")).planes((2560, 1920), (85, 64))
    assert planes[2].sum() > 40
    assert np.allclose(planes[:2, planes[2] == 1].T, wanted, atol=0.1)


def _saved(values: np.ndarray, path: Path) -> Path:
    Image.fromarray(values).save(path)
    return path


@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)), place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    working=st.tuples(st.integers(1, 300), st.integers(1, 300)), radius=st.none() | st.floats(0, 500),
)  # fmt: skip
@example((1, 2), (0.0, 1.0), (2, 1), None)  # between two pixels
@settings(max_examples=120, deadline=None)
def test_a_hint_inside_the_picture_always_marks_something_of_its_colour(
    size: tuple[int, int], place: tuple[float, float], working: tuple[int, int], radius: float | None
) -> None:
    x, y = min(place[0] * size[0], size[0] - 0.5), min(place[1] * size[1], size[1] - 0.5)
    planes = Hints([Hint(x, y, (192, 48, 32), radius)]).planes(size, working)
    assert planes.shape == (3, working[1], working[0])
    known = planes[2] == 1
    assert known.any()
    assert set(np.unique(planes[2])) <= {0.0, 1.0}
    assert not planes[:2, ~known].any()
    assert np.allclose(planes[:2, known].T, planes[:2, known].T[0])
    assert known[
        min(int((y + 0.5) / size[1] * working[1]), working[1] - 1), min(int((x + 0.5) / size[0] * working[0]), working[0] - 1)
    ]


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2=red", "1;2=#ffffff", "1,2=#fff", "1..2,2=#ffffff", "-1,2=#ffffff", "1,2,3,4=#ffffff"]
)
def test_what_is_no_hint_is_wrong_usage_before_anything_is_written(tmp_path: Path, text: str) -> None:
    output = colorize(tmp_path, "--hint", text, code=2)
    assert "is not a hint: write X,Y=#RRGGBB" in str(output)
    assert not (tmp_path / "out.png").exists()
    with pytest.raises(OptionError):
        parse_hint(text)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("hints.json", b"{}", "is no list of objects"),
        ("hints.json", b"[", "is not JSON"),
        ("hints.json", b"[" * 100_000, "is not JSON"),
        ("hints.json", b'[{"x": 1, "y": 2}]', "entry 1 that is not like"),
        ("hints.json", b'[{"x": 1, "y": 2, "colour": "red"}]', "entry 1 that is not like"),
        ("hints.json", b'[{"x": 1, "y": 2, "colour": "#ffffff"}, {"x": NaN}]', "entry 2 that is not like"),
        ("hints.png", b"no picture", "hints.png"),
        ("none.json", None, "does not exist"),
        ("none.png", None, "does not exist"),
    ],
)  # fmt: skip
def test_files_that_hold_no_hints_are_refused_with_their_name(
    tmp_path: Path, name: str, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    output = colorize(tmp_path, "--hints", tmp_path / name, code=1 if content is not None else 66)
    assert sentence in str(output)
    assert str(tmp_path / name) in str(output)
    assert not (tmp_path / "out.png").exists()


def test_hints_that_do_not_fit_the_picture_are_refused(tmp_path: Path) -> None:
    assert "outside" in str(colorize(tmp_path, "--hint", f"256,10={RED}", code=1))
    square = _saved(np.full((100, 100, 4), 128, np.uint8), tmp_path / "square.png")
    assert "give it the same shape" in str(colorize(tmp_path, "--hints", square, code=1))
    opaque = _saved(np.full((192, 256, 3), 128, np.uint8), tmp_path / "opaque.png")
    assert "has no transparent places" in str(colorize(tmp_path, "--hints", opaque, code=1))


def test_hints_are_for_one_picture_and_for_a_model_that_takes_them(tmp_path: Path) -> None:
    landscape().save(tmp_path / "a.png")
    landscape().save(tmp_path / "b.png")
    assert "places of one picture" in run(tmp_path / "a.png", tmp_path / "b.png", "-m", HINTED, "--hint", f"1,1={RED}", code=2)
    assert "places of one picture" in run(tmp_path, "-m", HINTED, "--hint", f"1,1={RED}", code=2)
    for options in (["--hint", f"1,1={RED}"], ["--like", str(tmp_path / "a.png")], ["--confidence"]):
        (tmp_path / "colours.png").write_bytes((tmp_path / "a.png").read_bytes())
        Image.new("RGB", (8, 8), "red").save(tmp_path / "a.png") if "--like" in options else None
        output = run(tmp_path / "b.png", "-m", WITHOUT, "--device", "cpu", *options, code=2)
        assert str(WITHOUT) in output
    assert "omit --hint" in run(tmp_path / "b.png", "-m", HINTED, "--raw", "--hint", f"1,1={RED}", code=2)


def test_without_hints_the_graph_gives_what_it_gives_with_empty_ones(colorizer: Colorizer) -> None:
    grey = np.random.default_rng(0).random((1, 1, 64, 96), np.float32)
    without = colorizer.model.run({"grey": grey})
    for empty in (np.zeros((1, 3, 64, 96), np.float32), np.zeros((1, 3, 1, 1), np.float32)):
        given = colorizer.model.run({"grey": grey, "hints": empty})
        assert all(np.array_equal(without[name], given[name]) for name in without)


def test_a_picture_gets_the_colours_that_another_one_has(tmp_path: Path) -> None:
    meadow = np.zeros((96, 96, 3), np.uint8)
    meadow[:48], meadow[48:] = (255, 190, 60), (160, 90, 30)  # an orange sky over brown ground
    reference = _saved(meadow, tmp_path / "reference.png")
    plain = colorize(tmp_path)
    assert isinstance(plain, Image.Image)
    blue = ab_at(plain, 40, 20)[1]
    like = colorize(tmp_path, "--like", reference)
    assert isinstance(like, Image.Image)
    assert blue < -20
    assert ab_at(like, 40, 20)[1] > blue + 20
    grey = _saved(np.full((50, 50, 3), 100, np.uint8), tmp_path / "grey-reference.png")
    assert "has no colours to borrow" in str(colorize(tmp_path, "--like", grey, code=1))
    both = colorize(tmp_path, "--like", reference, "--hint", f"128,96,12={RED}")
    assert isinstance(both, Image.Image)
    assert ab_at(both, 128, 96)[0] > 40


def test_suggestions_are_distinct_likely_colours_that_react_to_hints(colorizer: Colorizer) -> None:
    image = landscape()
    found = colorizer.suggestions(image, 40, 20)
    assert [s.probability for s in found] == sorted((s.probability for s in found), reverse=True)
    assert sum(s.probability for s in found) <= 1 + 1e-6
    assert found[0].ab == pytest.approx((0, -40), abs=1)
    assert found[0].rgb[2] > found[0].rgb[0]
    distances = [np.linalg.norm(np.subtract(a.ab, b.ab)) for a in found for b in found if a is not b]
    assert min(distances) > 15
    hinted = colorizer.suggestions(image, 40, 20, hints=Hints([Hint(44, 22, (0xC0, 0x30, 0x20))]))
    assert hinted[0].ab[0] > 40
    assert len(colorizer.suggestions(image, 40, 20, 2)) == 2
    with pytest.raises(OptionError, match="no place 256,20 in a picture of 256 x 192"):
        colorizer.suggestions(image, 256, 20)
    with pytest.raises(OptionError, match="no palette of chroma"):
        Colorizer(WITHOUT, "cpu", 1).suggestions(image, 1, 1)


def test_python_takes_hints_as_well(colorizer: Colorizer) -> None:
    red = Hints([Hint(128, 96, (0xC0, 0x30, 0x20))])
    coloured = colorizer.colorize(landscape(), Control(hints=red))
    assert ab_at(coloured, 128, 96)[0] > 40
    assert colorizer.predict(landscape(), red).ab[0].max() > 40
    assert colorizer.predict(landscape()).ab[0].max() < 25
    with pytest.raises(ImageFileError, match="outside"):
        colorizer.predict(landscape(), Hints([Hint(300, 1, (1, 2, 3))]))


def test_confidence_is_a_grey_picture_that_is_light_where_one_colour_is_certain(tmp_path: Path) -> None:
    image = colorize(tmp_path, "--confidence")
    assert isinstance(image, Image.Image)
    assert image.size == (256, 192)
    values = np.asarray(image.convert("RGB")).astype(int)
    assert np.ptp(values, axis=2).max() == 0
    light, middle = values[20, 40, 0], values[96, 128, 0]  # the grey square may be anything
    assert light > middle + 40
    assert "omit" in str(colorize(tmp_path, "--confidence", "--saturation", "2", code=2))


def test_a_folder_is_done_again_with_other_colours_to_borrow(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    landscape().save(scans / "a.png")
    reference = _saved(np.full((20, 20, 3), (250, 120, 20), np.uint8), tmp_path / "reference.png")
    command = (scans, "-m", HINTED, "--device", "cpu", "-j", "1", "-o", tmp_path / "out")
    run(*command)
    first = (tmp_path / "out" / "a.png").read_bytes()
    assert "1 already done" in run(*command)
    assert "1 already done" not in run(*command, "--like", reference)
    assert (tmp_path / "out" / "a.png").read_bytes() != first
    assert "1 already done" in run(*command, "--like", reference)
    shutil.copy(_saved(np.full((20, 20, 3), (20, 120, 250), np.uint8), tmp_path / "blue.png"), reference)
    assert "1 already done" not in run(*command, "--like", reference)


def watch(folder: Path, *options: str | Path, code: int = 0) -> str:
    return run("watch", folder / "in", folder / "out", "--once", "-m", HINTED, "--device", "cpu", *options, code=code)


def test_a_watch_takes_the_hints_beside_a_picture(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    landscape().save(tmp_path / "in" / "a.png")
    landscape().save(tmp_path / "in" / "b.png")
    beside = tmp_path / "in" / "a.png.hints.json"
    beside.write_text(json.dumps([{"x": 128, "y": 96, "colour": RED, "radius": 12}]))
    watch(tmp_path)
    red, plain = (Image.open(tmp_path / "out" / name) for name in ("a.png", "b.png"))
    assert ab_at(red, 128, 96)[0] > 40
    assert ab_at(plain, 128, 96)[0] < 25
    beside.write_text(json.dumps([{"x": 128, "y": 96, "colour": "#2030c0", "radius": 12}]))
    run("watch", "forget", tmp_path / "out", "a.png")
    watch(tmp_path)
    assert ab_at(Image.open(tmp_path / "out" / "a.png"), 128, 96)[1] < -25


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"[", "it is not JSON"),
        (b"\xff" * 70_000, "has more than 32768 bytes"),
        (b"\xff" * 100, "is not UTF-8 text"),
        (b"\0" * 32_768, "it is not JSON"),
        ("folder", "no ordinary file"),
        ("link", "cannot be read"),
    ],
)
def test_a_watch_quarantines_a_picture_whose_hints_are_broken_and_takes_good_ones_along(
    tmp_path: Path, content: bytes | str, fault: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "done").mkdir()
    landscape().save(tmp_path / "in" / "bad.png")
    landscape().save(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "good.png.hints.json").write_bytes(b"\xef\xbb\xbf[]")
    bad = tmp_path / "in" / "bad.png.hints.json"
    if content == "folder":
        bad.mkdir()
    elif content == "link":
        bad.symlink_to(tmp_path / "in" / "good.png.hints.json")
    else:
        assert isinstance(content, bytes)
        bad.write_bytes(content)
    options = ("--input", "move", "--done-dir", tmp_path / "done", "--incomplete-timeout", "0")
    output = watch(tmp_path, *options, code=1)
    assert "crash" not in output
    reason = json.loads((tmp_path / "out" / ".colorize-run" / "quarantine" / "bad.png.json").read_text())["reason"]
    assert "has a file of colour hints beside it" in reason
    assert fault in reason
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["good.png", "good.png.hints.json"]
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["bad.png", "bad.png.hints.json"]


def test_names_that_leave_no_room_for_a_file_of_hints_are_moved_as_well(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "done").mkdir()
    name = "n" * 247 + ".png"
    landscape().save(tmp_path / "in" / name)
    watch(tmp_path, "--input", "move", "--done-dir", tmp_path / "done")
    assert [path.name for path in (tmp_path / "done").iterdir()] == [name]


def test_painted_hints_and_references_in_another_space_mean_what_they_show(tmp_path: Path) -> None:
    painted = np.zeros((192, 256, 4), np.uint8)
    painted[80:110, 110:140] = (200, 60, 40, 255)
    plain, p3 = _saved(painted, tmp_path / "srgb.png"), tmp_path / "p3.png"
    Image.fromarray(painted).save(p3, icc_profile=profile_of("Display P3"))
    ab = [Hints(path=path).planes((256, 192), (85, 64))[:2, 32, 41] for path in (plain, p3)]
    assert ab[1][0] > ab[0][0] + 5  # the same bytes are a stronger red in a wider space
    alone = Image.fromarray(np.dstack([np.full((20, 20, 3), (220, 40, 30), np.uint8), np.full((20, 20), 255, np.uint8)]))
    hidden = np.asarray(alone).copy()
    hidden[10:] = (0, 0, 255, 0)  # blue that nobody sees
    alone.save(tmp_path / "alone.png")
    _saved(hidden, tmp_path / "hidden.png")
    first, second = (np.asarray(reference_picture(tmp_path / name)) for name in ("alone.png", "hidden.png"))
    assert np.array_equal(first[:10], second[:10])
    assert np.ptp(second[10:].astype(int), axis=2).max() == 0


def test_who_gives_hints_wants_colours_and_their_strength_stays(tmp_path: Path) -> None:
    coloured = np.asarray(landscape().convert("RGB")).copy()
    coloured[:, :100] = (200, 40, 40)
    _saved(coloured, tmp_path / "colours.png")
    common = ("-m", HINTED, "--device", "cpu", "--overwrite", "-o", tmp_path / "out.png", tmp_path / "colours.png")
    assert "left unchanged" in run(*common)
    assert "left unchanged" not in run(*common, "--hint", f"128,96,12={RED}")
    strong = colorize(tmp_path, "--hint", f"128,96,16={RED}", "--saturation", "2")
    assert isinstance(strong, Image.Image)
    wanted = srgb_to_lab(np.array([[0xC0, 0x30, 0x20]], np.float32) / np.float32(255))[0, 1:]
    assert np.linalg.norm(ab_at(strong, 128, 96) - wanted) < 5


def test_what_no_hint_is_and_empty_names_are_refused(colorizer: Colorizer, tmp_path: Path) -> None:
    for wrong in ((-1, 1, (1, 2, 3)), (1, 1, (300, 0, 0)), (float("nan"), 1, (1, 2, 3)), (1, 1, (1, 2, 3), float("inf"))):
        with pytest.raises(OptionError, match="is no hint"):
            Hint(*wrong)
    with pytest.raises(OptionError, match="convert it first"):
        colorizer.suggestions(landscape().convert("CMYK"), 1, 1)
    for option in ("--hints", "--like", "--mask"):
        assert "one is empty" in str(colorize(tmp_path, option, "", code=2))
