"""Palettes, splits and augmentation."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets.cifar import PaletteDataset, load_images, load_split, split_indices, to_tensor
from training.errors import TrainingError
from training.palette import annealed_mean, kmeans_palette, load_palette, nearest_colour, palette_to_ab
from training.tasks import mirror_and_shift

HANDOUT = "csc321_a2_palettes_weights.zip"


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_nearest_colour_is_the_nearest(n: int, h: int, w: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, colours = rng.random((n, 3, h, w), dtype=np.float32), rng.random((k, 3), dtype=np.float32)
    found = nearest_colour(torch.from_numpy(images), torch.from_numpy(colours)).numpy()
    distance = ((images[:, None].astype(np.float64) - colours[None, :, :, None, None]) ** 2).sum(axis=2)
    chosen = np.take_along_axis(distance, found[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distance.min(axis=1), atol=1e-6)


def test_palette_colours_are_their_own_nearest() -> None:
    colours = np.random.default_rng(0).random((24, 3), dtype=np.float32)
    images = torch.from_numpy(colours.T.reshape(1, 3, 4, 6))
    assert nearest_colour(images, torch.from_numpy(colours)).flatten().tolist() == list(range(24))


def test_fifty_thousand_pictures_fit_in_two_gigabytes() -> None:
    code = (
        "import numpy as np\n"
        "from training.datasets.cifar import PaletteDataset\n"
        "images = np.zeros((50_000, 32, 32, 3), np.uint8); images[::2] = 200\n"
        "PaletteDataset(images, np.random.default_rng(0).random((24, 3), dtype=np.float32))\n"
        "print(int([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1]) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2000


def test_kmeans_finds_the_colours_and_is_seeded() -> None:
    true = np.array([[10, 10, 10], [200, 30, 30], [30, 200, 60], [240, 240, 240]], np.uint8)
    images = true[np.random.default_rng(0).integers(0, 4, (20, 16, 16))]
    first, second = (kmeans_palette(images, 4, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(np.sort(first, axis=0), np.sort(true / 256, axis=0), atol=1e-3)


def test_palette_files(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    np.save(tmp_path / "plain.npy", colours)
    np.testing.assert_array_equal(load_palette(tmp_path / "plain.npy"), colours)
    buffer = io.BytesIO()
    np.save(buffer, colours)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inside/p.npy", buffer.getvalue())
    np.testing.assert_array_equal(load_palette(tmp_path / "a.zip" / "inside" / "p.npy"), colours)
    np.save(tmp_path / "wrong.npy", np.ones((5, 4)))
    np.save(tmp_path / "many.npy", np.ones((257, 3)))
    np.save(tmp_path / "empty.npy", np.ones((0, 3)))
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "bad.zip").write_text("not an archive")
    for bad in ("wrong.npy", "many.npy", "empty.npy", "text.npy", "nowhere.npy", "a.zip/inside/q.npy", "bad.zip/q.npy"):
        with pytest.raises(TrainingError):
            load_palette(tmp_path / bad)


def test_handout_palette(shared_data: Path) -> None:
    for k in (16, 24, 32):
        assert load_palette(shared_data / HANDOUT / "colours" / f"colour_kmeans{k}_cat7.npy").shape == (k, 3)


def test_palette_ab_of_a_grey_is_nothing() -> None:
    greys = np.repeat(np.linspace(0, 1, 9, dtype=np.float32)[:, None] * np.float32(255 / 256), 3, axis=1)
    np.testing.assert_allclose(palette_to_ab(greys), 0, atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1))
@settings(deadline=None)
def test_annealed_mean_lies_within_the_palette(seed: int, temperature: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits, ab = torch.randn(2, 7, 3, 4, generator=rng) * 5, torch.rand(7, 2, generator=rng) * 100 - 50
    mean = annealed_mean(logits, ab, torch.tensor(temperature))
    low, high = ab.amin(0)[None, :, None, None], ab.amax(0)[None, :, None, None]
    assert ((mean >= low - 1e-3) & (mean <= high + 1e-3)).all()
    coldest = annealed_mean(logits, ab, torch.tensor(1e-4))
    hottest = ab[logits.argmax(1)].permute(0, 3, 1, 2)
    margin = logits.topk(2, dim=1).values.diff(dim=1).abs()[:, 0] > 0.01
    assert torch.allclose(coldest.permute(0, 2, 3, 1)[margin], hottest.permute(0, 2, 3, 1)[margin], atol=1e-2)


@given(st.integers(2, 3000), st.integers(0, 99))
def test_split_is_a_partition(count: int, seed: int) -> None:
    train, validation = split_indices(count, seed)
    assert sorted([*train, *validation]) == list(range(count))
    assert len(validation) == round(count / 10)
    again = split_indices(count, seed)
    np.testing.assert_array_equal(again[0], train)


def test_splits_of_the_real_horses(shared_data: Path) -> None:
    train, validation, whole = (load_split(shared_data, split, ("horse",), 0) for split in ("train", "validation", "all"))
    assert (len(train), len(validation), len(whole)) == (4500, 500, 5000)
    assert whole.dtype == np.uint8
    assert whole.shape[1:] == (32, 32, 3)


def test_cifar_that_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")  # so that nothing can be downloaded into it
    with pytest.raises(TrainingError, match="could not be downloaded"):
        load_images(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_damaged_horses_are_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "cifar10_horses_train.npz"
    if content is None:
        np.savez(path, pictures=np.zeros((1, 32, 32, 3), np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(TrainingError, match="cifar10_horses_train"):
        load_images(tmp_path)


@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
@settings(deadline=None)
def test_augmentation_keeps_each_pixels_colour(seed: int, shift: int) -> None:
    target = torch.randint(0, 24, (5, 32, 32))
    grey = target[:, None].float() * 10  # the colour can be told from the grey
    moved_grey, moved_target = mirror_and_shift(grey, target, shift, torch.Generator().manual_seed(seed))
    assert moved_grey.shape == grey.shape
    torch.testing.assert_close(moved_grey[:, 0], moved_target.float() * 10)


def test_dataset_scales_as_the_assignment_does() -> None:
    images = np.array([[[[0, 128, 255]]]], np.uint8)
    dataset = PaletteDataset(images, np.array([[0, 0, 0], [0, 0.5, 1]], np.float32))
    assert to_tensor(images)[0, :, 0, 0].tolist() == [0, 0.5, 255 / 256]
    assert dataset[0]["grey"].item() == pytest.approx((128 + 255) / 3 / 256)
    assert dataset[0]["target"].item() == 1
