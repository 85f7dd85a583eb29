"""Segmenting, through the command line and the Python API, with a model that finds what is red and what is blue."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.errors import ContractError, OptionError
from colorize_run.options import FORMS
from colorize_run.segment import Segmenter
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny-segment.onnx"
GREEN, RED, BLUE = (40, 120, 50), (200, 30, 30), (30, 40, 210)

Run = Callable[..., Result]


def scene(width: int = 640, height: int = 480) -> Image.Image:
    """A red disc and a blue box on green."""
    image = Image.new("RGB", (width, height), GREEN)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 8, height // 6, width // 2, height * 2 // 3), fill=RED)
    draw.rectangle((width * 5 // 8, height * 5 // 8, width * 7 // 8, height * 7 // 8), fill=BLUE)
    return image


def truth(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.convert("RGB"))
    return np.select([(pixels == RED).all(axis=2), (pixels == BLUE).all(axis=2)], [1, 2], 0)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(TINY, "cpu")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``colorize-run segment`` with the tiny model in a folder that holds ``scene.png`` and ``scene.jpg``."""
    monkeypatch.chdir(tmp_path)
    scene().save(tmp_path / "scene.png")
    scene().save(tmp_path / "scene.jpg", quality=95)

    def invoke(*arguments: str | Path, stdin: bytes | None = None, model: Path | str = TINY) -> Result:
        return CliRunner().invoke(main, ["segment", *map(str, arguments), "-m", str(model)], input=stdin)

    return invoke


def test_a_mask_is_an_indexed_png_in_the_contracts_colours(run: Run) -> None:
    assert run("scene.png").exit_code == 0
    with Image.open("scene.mask.png") as mask:
        assert (mask.format, mask.mode, mask.size) == ("PNG", "P", (640, 480))
        assert mask.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 0, 128]
        found = np.asarray(mask)
    assert (found == truth(scene())).mean() > 0.97


def test_outlines_follow_the_pictures_edges_and_not_the_networks_cells(segmenter: Segmenter) -> None:
    image = scene()
    coarse = np.asarray(Image.fromarray(segmenter.predict(image).argmax(axis=0).astype(np.uint8)).resize(image.size, 0))
    refined, true = segmenter.segment(image), truth(image)
    assert (refined != true).mean() < 0.8 * (coarse != true).mean()


def test_soft_is_grey_and_agrees_with_the_mask(run: Run) -> None:
    assert run("scene.png", "--as", "soft").exit_code == 0
    assert run("scene.png").exit_code == 0
    with Image.open("scene.soft.png") as soft, Image.open("scene.mask.png") as mask:
        assert soft.mode == "L"
        sure, classes = np.asarray(soft), np.asarray(mask)
    assert sure[classes > 0].min() >= 85  # of three classes one that wins has a third at least
    assert sure[(truth(scene()) == 0)].mean() < 40


def test_an_overlay_keeps_the_pictures_format_and_what_is_background(run: Run) -> None:
    assert run("scene.jpg", "--as", "overlay").exit_code == 0
    with Image.open("scene.overlay.jpg") as overlay, Image.open("scene.jpg") as before:
        assert (overlay.format, overlay.size) == ("JPEG", before.size)
        after, original = np.asarray(overlay).astype(int), np.asarray(before.convert("RGB")).astype(int)
    assert abs(after - original)[:40].max() <= 4  # far from everything
    assert after[200, 200, 0] < original[200, 200, 0] - 15  # half the class's darker red


def test_a_cutout_keeps_the_colour_of_what_is_seen_and_nothing_else(run: Run) -> None:
    assert run("scene.png", "--as", "cutout").exit_code == 0
    with Image.open("scene.cutout.png") as cutout:
        assert cutout.mode == "RGBA"
        pixels = np.asarray(cutout)
    seen = pixels[..., 3] > 0
    assert (pixels[seen][:, :3] == np.asarray(scene())[seen]).all()
    assert (pixels[~seen] == 0).all(), "a background that is cut off cannot be brought back"
    assert pixels[200, 200, 3] == 255
    assert pixels[20, 20, 3] == 0


def test_alpha_profile_and_resolution_survive_a_cutout(tmp_path: Path, segmenter: Segmenter) -> None:
    image = scene().convert("RGBA")
    image.paste((*RED, 0), (200, 180, 240, 220))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "a.png", icc_profile=profile, dpi=(300, 300))
    data, _ = segmenter.segment_file(tmp_path / "a.png", "cutout")
    with Image.open(io.BytesIO(data)) as cutout:
        assert cutout.info["icc_profile"] == profile
        assert round(cutout.info["dpi"][0]) == 300
        alpha = np.asarray(cutout)[..., 3]
    assert alpha[200, 220] == 0, "what was transparent stays so"
    assert alpha[140, 220] == 255


def test_a_turned_photograph_gives_an_upright_mask(tmp_path: Path, segmenter: Segmenter) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    scene().rotate(90, expand=True).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    data, _ = segmenter.segment_file(tmp_path / "turned.jpg", "mask")
    with Image.open(io.BytesIO(data)) as mask:
        assert mask.size == (640, 480)
        assert (np.asarray(mask) == truth(scene())).mean() > 0.97


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
@pytest.mark.parametrize("form", FORMS)
def test_every_mode_in_every_form(mode: str, form: str, tmp_path: Path, segmenter: Segmenter) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(scene(120, 90).convert("L")).astype(np.uint16) * 257)
    else:
        image = scene(120, 90).convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    image.save(path)
    data, _ = segmenter.segment_file(path, form)
    with Image.open(io.BytesIO(data)) as made:
        assert made.size == (120, 90)
        assert made.mode == {"mask": "P", "soft": "L"}.get(form, made.mode)
        assert form != "cutout" or made.mode in ("LA", "RGBA")


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 99))
def test_any_size_gives_a_mask_of_that_size(segmenter: Segmenter, width: int, height: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = segmenter.segment(Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)))
    assert mask.shape == (height, width)
    assert mask.max() <= 2


def test_a_flat_picture_gives_a_flat_mask(segmenter: Segmenter) -> None:
    for colour, number in ((GREEN, 0), (RED, 1), (BLUE, 2)):
        assert (segmenter.segment(Image.new("RGB", (301, 199), colour)) == number).all()


def test_threads_and_strips_change_nothing() -> None:
    image = scene(1500, 900)  # large enough for several threads
    one, two = (Segmenter(TINY, "cpu", threads=threads).segment(image) for threads in (1, 2))
    assert (one == two).all()


def test_names_of_outputs(run: Run, tmp_path: Path) -> None:
    assert run("scene.png", "scene.jpg", "--as", "overlay", "-o", "out/").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["scene.overlay.jpg", "scene.overlay.png"]
    clash = run("scene.png", "scene.jpg", "--as", "mask", "-o", "out/")
    assert clash.exit_code == 2
    assert "would both be written" in clash.stderr
    assert run("scene.png", "-o", "here.png").exit_code == 0
    assert (tmp_path / "here.png").exists()


def test_through_pipes(run: Run) -> None:
    done = run("-", "-o", "-", "--as", "cutout", stdin=Path("scene.png").read_bytes())
    assert done.exit_code == 0
    with Image.open(io.BytesIO(done.stdout_bytes)) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scene.png", "-o", "mask.jpg"], "written as PNG"),
        (["scene.png", "--as", "outline"], "outline"),
        (["scene.png", "--working-size", "4000"], "working size"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_cutout_that_jpeg_cannot_hold(run: Run) -> None:
    done = run("scene.png", "--as", "cutout", "-o", "cut.jpg")
    assert done.exit_code == 2
    assert "A cut-out has transparency, which JPEG cannot hold" in done.stderr
    assert not Path("cut.jpg").exists()


def test_an_existing_output_is_kept(run: Run) -> None:
    Path("scene.mask.png").write_bytes(b"precious")
    assert run("scene.png").exit_code == 73
    assert Path("scene.mask.png").read_bytes() == b"precious"
    assert run("scene.png", "--overwrite").exit_code == 0


def test_one_bad_picture_does_not_stop_the_others(run: Run) -> None:
    Path("bad.png").write_bytes(b"no picture")
    done = run("bad.png", "scene.png")
    assert done.exit_code == 1
    assert Path("scene.mask.png").exists()
    assert "error: bad.png" in done.stderr


def test_models_of_the_other_task_are_refused(run: Run, tiny_model: Path) -> None:
    done = run("scene.png", model=tiny_model)
    assert done.exit_code == 65
    assert "not for segmenting" in done.stderr
    other = CliRunner().invoke(main, ["scene.png", "-m", str(TINY)])
    assert other.exit_code == 65
    assert "not for colourizing" in other.stderr
    with pytest.raises(ContractError):
        Segmenter(tiny_model, "cpu")


def test_forms_that_do_not_exist(segmenter: Segmenter) -> None:
    with pytest.raises(OptionError, match="mask, soft, overlay, cutout"):
        segmenter.segment_file(Path("x.png"), "outline")
    with pytest.raises(OptionError, match="written as PNG"):
        segmenter.segment_file(Path("x.png"), "mask", "JPEG")


def test_verify_replays_a_segmenters_golden_vectors() -> None:
    done = CliRunner().invoke(main, ["verify", "-m", str(TINY), "--device", "cpu"])
    assert done.exit_code == 0
    assert "0.00% of pixels flipped" in done.stderr


def test_a_segmenter_without_classes_is_refused(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(TINY)
    for entry in model.metadata_props:
        if entry.key == "colorize_run.contract":
            entry.value = entry.value.replace('"classes": ["background", "red", "blue"]', '"classes": []')
    onnx.save(model, tmp_path / "no-classes.onnx")
    with pytest.raises(ContractError, match="two to 256 classes"):
        Segmenter(tmp_path / "no-classes.onnx", "cpu")


def test_two_class_masks_are_where_soft_is_over_half(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "samples" / "rocket.jpg", tmp_path / "a.jpg")
    flowers = Segmenter(ROOT / "artifacts" / "flowers.onnx", "cpu")
    mask, soft = (
        np.asarray(Image.open(io.BytesIO(flowers.segment_file(tmp_path / "a.jpg", form)[0]))) for form in ("mask", "soft")
    )
    assert ((soft >= 128) == (mask == 1)).all()
