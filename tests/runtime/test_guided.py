"""Chroma enlarged under the guidance of luminance: what stays, what follows edges, and the options that steer a network."""

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from colorize_run import Colorizer, colour
from colorize_run.cli import main
from colorize_run.colour import guided
from colorize_run.errors import OptionError
from colorize_run.model.session import Model
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
planes = hnp.arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(1, 30)), elements=st.floats(0.125, 1, width=32))


def applied(lines: np.ndarray, guide: np.ndarray) -> np.ndarray:
    return lines[:2] * guide + lines[2:]


@given(planes, st.floats(-100, 100, width=32), st.integers(1, 8))
def test_one_colour_stays_one_colour_whatever_the_picture(guide: np.ndarray, value: float, radius: int) -> None:
    ab = np.stack([np.full_like(guide, value), np.full_like(guide, -value)])
    np.testing.assert_allclose(applied(guided.slopes_and_offsets(guide, ab, radius), guide), ab, atol=0.05)


@given(planes, st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_chroma_stays_in_proportion(guide: np.ndarray, seed: int, radius: int) -> None:
    ab = np.random.default_rng(seed).uniform(-60, 60, (2, *guide.shape)).astype(np.float32)
    once, twice = (guided.slopes_and_offsets(guide, factor * ab, radius) for factor in (1, 2))
    assert np.isfinite(once).all()
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=0.05)


def test_without_luminance_to_follow_chroma_is_nearly_as_it_was() -> None:
    ab = np.zeros((2, 32, 32), np.float32)
    ab[:, :, 16:] = 40
    lines = guided.slopes_and_offsets(np.full((32, 32), 0.5, np.float32), ab, 4)
    found = applied(lines, np.full((32, 32), 0.5, np.float32))
    assert np.abs(found - ab)[:, :, [0, 5, 26, 31]].max() < 0.5
    assert np.abs(found - ab).mean() < 4


def test_colour_ends_where_the_object_ends() -> None:
    side, small = 256, 64
    bright = np.arange(side) >= 130  # an edge that no pixel of the small picture meets
    picture = np.repeat(np.where(bright, 200, 60).astype(np.uint8)[None], side, axis=0)
    truth = np.where(bright, 50.0, -50.0)
    reduced = np.asarray(colour.resize(Image.fromarray(picture), (small, small)))
    blurred = np.interp(np.arange(small), [28, 37], [-50, 50]).astype(np.float32)  # the network's chroma bleeds over it
    ab = np.broadcast_to(blurred, (2, small, small)).copy()
    lines = guided.slopes_and_offsets(colour.perceived(reduced), ab, 4)
    large = np.stack([np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR)) for plane in lines])
    plain = np.asarray(Image.fromarray(ab[0]).resize((side, side), Image.Resampling.BILINEAR))
    near = slice(115, 145)
    bleeding = np.abs(plain - truth)[:, near].mean()
    assert np.abs(applied(large, colour.perceived(picture))[0] - truth)[:, near].mean() < 0.75 * bleeding


def test_joining_lines_is_joining_their_chroma() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
    lines = rng.uniform(-30, 30, (4, 40, 50)).astype(np.float32)
    by_lines, moved = colour.join(pixels, lines)
    by_chroma, also_moved = colour.join(pixels, applied(lines, colour.perceived(pixels)))
    assert np.abs(by_lines.astype(int) - by_chroma).max() <= 1
    assert moved == pytest.approx(also_moved, abs=3)


def photograph_of(name: str) -> Image.Image:
    with Image.open(ROOT / "docs" / "samples" / f"{name}.jpg") as image:
        return image.convert("RGB")


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def chroma(image: Image.Image) -> float:
    lab = colour.srgb_to_lab(np.asarray(image.convert("RGB")).astype(np.float32) / 255)
    return float(np.hypot(lab[..., 1], lab[..., 2]).mean())


def test_temperature_reaches_the_network(tiny_model: Path, tmp_path: Path) -> None:
    photograph = photograph_of("coffee")
    found = [chroma(Colorizer(tiny_model, "cpu", temperature=t).colorize(photograph)) for t in (0.1, 0.5, 10.0)]
    assert found[0] < 0.8 * found[2]  # this network's most probable colour is black
    assert found[0] < found[1] < found[2]
    photograph.save(tmp_path / "a.png")
    common = [str(tmp_path / "a.png"), "-m", str(tiny_model), "--device", "cpu", "--force"]
    for name, options in (("cold", ["--temperature", "0.1"]), ("default", [])):
        assert CliRunner().invoke(main, [*common, *options, "-o", str(tmp_path / f"{name}.png")]).exit_code == 0
    assert chroma(opened(tmp_path / "cold.png")) == pytest.approx(found[0], abs=0.1)
    assert chroma(opened(tmp_path / "default.png")) == pytest.approx(found[1], abs=0.1)


def test_a_larger_working_size_is_what_the_network_sees(tiny_model: Path) -> None:
    colorizer = Colorizer(tiny_model, "cpu", working_size=96)
    assert colorizer.predict(Image.new("L", (300, 200))).ab.shape == (2, 96, 144)
    assert Colorizer(tiny_model, "cpu").predict(Image.new("L", (300, 200))).ab.shape == (2, 32, 48)


def test_every_palette_model_takes_a_temperature(root: Path) -> None:
    for name in ("cnn", "unet", "dilated-unet", "unet-large", "unet-downsized", "photo", "photo-int8"):
        assert Model(root / "artifacts" / f"{name}.onnx", "cpu").has_temperature, name


@pytest.mark.parametrize("temperature", [0.0, -0.5, float("nan"), float("inf")])
def test_impossible_temperatures_are_refused(tiny_model: Path, temperature: float) -> None:
    with pytest.raises(OptionError, match="not possible"):
        Colorizer(tiny_model, "cpu", temperature=temperature)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--working-size", "5000"], 2, "8 to 256 pixels"),
        (["--working-size", "0"], 2, "not in the range"),
        (["--temperature", "0"], 2, "not in the range"),
        (["--temperature", "nan"], 2, "not a number"),
        (["-m", "regression-cnn", "--temperature", "0.5"], 2, "has no temperature"),
    ],
)
def test_options_that_a_model_cannot_honour(
    tiny_model: Path, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    model = [] if "-m" in options else ["-m", str(tiny_model)]
    found = CliRunner().invoke(main, [str(tmp_path / "a.png"), *model, "--device", "cpu", *options])
    if found.exception and isinstance(found.exception, OptionError):
        assert message in str(found.exception)
        assert found.exception.exit_code == code
    else:
        assert message in found.output
        assert found.exit_code == code
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_pixels_are_the_same_bytes_in_any_tile(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips are cut by size: however they are cut, the picture is one."""
    photograph = photograph_of("chelsea").resize((333, 222))
    file = io.BytesIO()
    photograph.save(file, "PNG")
    colorizer = Colorizer(tiny_model, "cpu")
    whole = colorizer.colorize_file(io.BytesIO(file.getvalue()))[0]
    monkeypatch.setattr("colorize_run.colour.strips._STRIP_PIXELS", 1000)
    cut = colorizer.colorize_file(io.BytesIO(file.getvalue()))[0]
    difference = np.asarray(Image.open(io.BytesIO(whole))).astype(int) - np.asarray(Image.open(io.BytesIO(cut)))
    assert np.abs(difference).max() <= 1
