"""Pictures without colour: each kind is drawn, what it keeps of the photograph, and their share of the samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets.colourless import KINDS, colourless
from training.datasets.photo_archive import sampled
from training.datasets.photos import Photos


@given(seed=st.integers(0, 2**32 - 1), height=st.sampled_from((32, 64, 96)), width=st.sampled_from((32, 96)))
@settings(max_examples=60, deadline=None)
def test_pictures_have_the_size_and_range_of_samples_and_depend_on_the_seed_alone(seed: int, height: int, width: int) -> None:
    grey = np.random.default_rng(seed).random((height, width), np.float32)
    first, second = (colourless(grey, np.random.default_rng(seed)) for _ in range(2))
    assert (first.shape, first.dtype) == (grey.shape, np.float32)
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_something_and_never_the_same(kind: Callable[..., np.ndarray]) -> None:
    grey = np.full((96, 96), 0.5, np.float32)
    grey[20:70, 30:60] = 0.9
    drawn = [kind(grey, np.random.default_rng(seed)) for seed in range(12)]
    assert all(picture.shape == grey.shape for picture in drawn)
    assert sum(float(np.std(picture)) > 0.02 for picture in drawn) >= 10
    assert len({picture.tobytes() for picture in drawn}) == 12


def photographs(count: int) -> Photos:
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 220
    return Photos([image] * count, [""] * count, ["red"] * count)


def test_their_share_of_the_samples_is_the_recipes_and_their_target_is_grey() -> None:
    plain, mixed = (sampled(photographs(400), 32, 0, colourless=share) for share in (0.0, 0.25))
    without, target = plain.__getitems__(list(range(400)))["target"], mixed.__getitems__(list(range(400)))["target"]
    assert (without.abs().amax(dim=(1, 2, 3)) > 20).all()
    grey = target.abs().amax(dim=(1, 2, 3)) == 0
    assert 0.18 < grey.float().mean() < 0.32
    assert (target[~grey].abs().amax(dim=(1, 2, 3)) > 20).all()
