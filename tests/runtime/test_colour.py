"""Colour conversions against published values, and the laws of the join."""

from pathlib import Path

import numpy as np
import pytest
from colorize_run import colour
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"

# CIE Lab of sRGB bytes (D65, 2 degrees), from Bruce Lindbloom's calculator, two decimals
LAB_TABLE = [
    ((255, 255, 255), (100.00, 0.00, 0.00)),
    ((0, 0, 0), (0.00, 0.00, 0.00)),
    ((255, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 255, 0), (87.73, -86.18, 83.18)),
    ((0, 0, 255), (32.30, 79.19, -107.86)),
    ((255, 255, 0), (97.14, -21.55, 94.48)),
    ((0, 255, 255), (91.11, -48.09, -14.13)),
    ((255, 0, 255), (60.32, 98.23, -60.82)),
    ((119, 119, 119), (50.03, 0.00, 0.00)),
]

bytes_rgb = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))
bytes_grey = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@pytest.mark.parametrize(("rgb", "lab"), LAB_TABLE)
def test_lab_matches_the_published_table(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    found = colour.srgb_to_lab(np.array([[rgb]], np.float32) / 255)[0, 0]
    np.testing.assert_allclose(found, lab, atol=0.02)


@given(bytes_rgb)
def test_lab_and_back_is_the_same_byte(rgb: np.ndarray) -> None:
    back = colour.lab_to_srgb(colour.srgb_to_lab(rgb.astype(np.float32) / 255))
    np.testing.assert_array_equal(np.rint(back * 255).astype(np.uint8), rgb)


@given(st.one_of(bytes_rgb, bytes_grey), st.integers(0, 2**32 - 1), st.floats(0, 120))
def test_join_keeps_lightness_whatever_the_chroma(pixels: np.ndarray, seed: int, strength: float) -> None:
    ab = np.random.default_rng(seed).uniform(-strength, strength, (2, *pixels.shape[:2])).astype(np.float32)
    joined, _ = colour.join(pixels, ab)
    # one byte of rounding is at most 0.5 / 255 of each channel: 0.28 of L* where the curve is steepest
    assert np.abs(colour.lightness(joined) - colour.lightness(pixels)).max() < 0.3


@given(bytes_rgb)
def test_join_with_its_own_chroma_is_the_picture_itself(rgb: np.ndarray) -> None:
    ab = colour.srgb_to_lab(rgb.astype(np.float32) / 255)[..., 1:].transpose(2, 0, 1)
    joined, moved = colour.join(rgb, ab)
    assert np.abs(joined.astype(int) - rgb).max() <= 1
    assert moved == 0


@given(bytes_grey)
def test_join_without_chroma_is_grey(grey: np.ndarray) -> None:
    joined, moved = colour.join(grey, np.zeros((2, *grey.shape), np.float32))
    np.testing.assert_array_equal(joined, np.repeat(grey[..., None], 3, axis=2))
    assert moved == 0


def test_join_takes_floats_between_bytes() -> None:
    fine = np.linspace(0.5, 0.5 + 1 / 255, 5, dtype=np.float32)[None]
    joined, _ = colour.join(fine, np.zeros((2, 1, 5), np.float32))
    assert joined[0, 0].tolist() == [128] * 3
    assert joined[0, 4].tolist() == [129] * 3


def test_out_of_gamut_chroma_is_counted_and_keeps_its_hue() -> None:
    pixels = np.full((4, 4), 128, np.uint8)
    ab = np.zeros((2, 4, 4), np.float32)
    ab[:, 0, 0] = 120, 0  # no sRGB colour of this lightness is so red
    joined, moved = colour.join(pixels, ab)
    assert moved == 1
    lab = colour.srgb_to_lab(joined[:1, :1].astype(np.float32) / 255)[0, 0]
    assert lab[1] > 50
    assert abs(lab[0] - colour.lightness(pixels)[0, 0]) < 0.3


def test_grey_is_the_weighted_mean_of_encoded_values() -> None:
    rgb = np.array([[[30, 60, 90]]], np.uint8)
    assert colour.to_grey(rgb, (1 / 3, 1 / 3, 1 / 3))[0, 0] == pytest.approx(60 / 255, abs=1e-6)
    assert colour.to_grey(rgb, (1, 0, 0))[0, 0] == pytest.approx(30 / 255, abs=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGB", "F"])
@pytest.mark.parametrize("sample", ["coffee", "chelsea", "rocket"])
def test_large_reductions_are_pillows_own(mode: str, sample: str) -> None:
    with Image.open(SAMPLES / f"{sample}.jpg") as photograph:
        image = photograph.convert("L" if mode == "F" else mode).convert(mode)
    size = image.width // 13, image.height // 13
    plain = image.resize(size, Image.Resampling.BILINEAR)
    difference = np.abs(np.asarray(colour.resize(image, size), np.float32) - np.asarray(plain, np.float32))
    assert difference.mean() < 0.35
    assert difference.max() < 8


def test_resize_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 320)))  # one pixel black, one white
    small = np.asarray(colour.resize(stripes, (80, 8)))
    assert abs(int(small.min()) - 127) <= 3
    assert abs(int(small.max()) - 127) <= 3
