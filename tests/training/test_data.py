"""Palettes, splits and augmentation."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from colorize_run.colour import lightness, srgb_to_lab, to_grey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.clustering import kmeans_palette
from training.conventions import from_ab, to_ab
from training.datasets.cifar import load_images, load_split, palette_dataset, rgb_dataset
from training.datasets.faces import augmented, chroma_dataset, load_faces
from training.datasets.faces import load_split as faces_split
from training.datasets.loaders import PictureData
from training.datasets.pictures import read_rgb, split_indices, to_tensor
from training.errors import TrainingError
from training.options import AUGMENTATIONS
from training.palette import (
    annealed_mean,
    load_palette,
    nearest_colour,
    palette_to_ab,
    rebalancing_weights,
)
from training.recipes import RECIPES
from training.tasks import augment

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
        "from training.datasets.cifar import palette_dataset\n"
        "images = np.zeros((50_000, 32, 32, 3), np.uint8); images[::2] = 200\n"
        "palette_dataset(images, np.random.default_rng(0).random((24, 3), dtype=np.float32))\n"
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
    np.save(tmp_path / "one.npy", np.ones((1, 3)))
    np.save(tmp_path / "scalar.npy", np.float32(0.5))
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "bad.zip").write_text("not an archive")
    files = ("wrong", "many", "empty", "one", "scalar", "text", "nowhere")
    for bad in (*(f"{name}.npy" for name in files), "a.zip/inside/q.npy", "bad.zip/q.npy"):
        with pytest.raises(TrainingError):
            load_palette(tmp_path / bad)


def test_a_pickled_palette_is_read_and_its_code_is_not_run(
    tmp_path: Path, foreign: object, capfd: pytest.CaptureFixture[str]
) -> None:
    colours = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    pair = np.empty(2, object)
    pair[:] = [colours, np.float64(0.5)]
    np.save(tmp_path / "pair.npy", pair, allow_pickle=True)
    np.testing.assert_array_equal(load_palette(tmp_path / "pair.npy"), colours)
    pair[1] = foreign
    np.save(tmp_path / "bad.npy", pair, allow_pickle=True)
    with pytest.raises(TrainingError, match=r"bad\.npy is not a palette in a NumPy file: give one of"):
        load_palette(tmp_path / "bad.npy")
    assert "was run" not in capfd.readouterr().out


def test_shades_of_16_bits_are_kept(tmp_path: Path) -> None:
    shades = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    for name in ("x.png", "x.tif"):
        Image.fromarray(shades).save(tmp_path / name)
        found = np.asarray(read_rgb(tmp_path / name, name))
        assert found.shape == (64, 64, 3)
        np.testing.assert_allclose(found[..., 1], shades / 257, atol=0.5)
    Image.fromarray(np.full((8, 8), 0.5, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(TrainingError, match="contains 32-bit numbers"):
        read_rgb(tmp_path / "f.tif", "f.tif")


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


@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 4),
    st.sets(st.sampled_from([kind for kind in AUGMENTATIONS if kind != "grain"])),
    st.booleans(),
)
@settings(deadline=None)
def test_augmentation_keeps_each_pixels_colour(seed: int, shift: int, kinds: set[str], classes: bool) -> None:
    recipe = RECIPES["unet-tuned"].with_changes(augment=tuple(kinds), shift=shift)
    target = torch.randint(0, 24, (5, 32, 32)) if classes else torch.rand(5, 3, 32, 32)
    inputs = (target[:, None] if classes else target[:, :1]).float() * 10  # the colour can be told from the grey
    moved_input, moved_target = augment(inputs, target, recipe, torch.Generator().manual_seed(seed))
    assert moved_input.shape == inputs.shape
    assert moved_target.shape == target.shape
    assert moved_target.dtype == target.dtype
    torch.testing.assert_close(moved_input[:, 0], (moved_target if classes else moved_target[:, 0]).float() * 10)
    if not kinds:
        torch.testing.assert_close(moved_input, inputs)


def test_augmentation_leaves_a_target_of_the_whole_picture() -> None:
    recipe = RECIPES["chroma-regressor-tuned"]
    inputs, target = torch.rand(4, 1, 64, 64), torch.rand(4, 2)
    moved, kept = augment(inputs, target, recipe, torch.Generator().manual_seed(0))
    assert moved.shape == inputs.shape
    assert not torch.equal(moved, inputs)
    assert torch.equal(kept, target)


@pytest.mark.parametrize(("kind", "axis"), [("flip-left-right", 3), ("flip-up-down", 2)])
def test_a_flip_turns_about_half_the_pictures_around(kind: str, axis: int) -> None:
    recipe = RECIPES["unet-tuned"].with_changes(augment=(kind,))
    inputs = torch.rand(200, 1, 8, 8)
    moved, _ = augment(inputs, torch.zeros(200, 8, 8, dtype=torch.int64), recipe, torch.Generator().manual_seed(0))
    flipped = (moved == inputs.flip(axis)).flatten(1).all(dim=1)
    assert ((moved == inputs).flatten(1).all(dim=1) | flipped).all()
    assert 70 < flipped.sum() < 130


@pytest.mark.parametrize(("kind", "axis"), [("shift-sideways", 3), ("shift-up-down", 2)])
def test_a_shift_moves_by_one_pixel_and_one_way_only(kind: str, axis: int) -> None:
    recipe = RECIPES["unet-tuned"].with_changes(augment=(kind,), shift=1)
    inputs, target = torch.rand(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    seen = set()
    for seed in range(40):
        moved, _ = augment(inputs, target, recipe, torch.Generator().manual_seed(seed))
        inner = moved.narrow(axis, 1, 6)
        seen |= {d for d in (-1, 0, 1) if torch.equal(inner, inputs.narrow(axis, 1 + d, 6))}
    assert seen == {-1, 0, 1}


def test_grain_is_noise_of_another_strength_in_each_picture() -> None:
    recipe = RECIPES["chroma-tanh-tuned"].with_changes(augment=("grain",))
    inputs, target = torch.full((64, 1, 32, 32), 0.5), torch.rand(64, 2, 32, 32)
    noisy, kept = augment(inputs, target, recipe, torch.Generator().manual_seed(0))
    deviations = (noisy - inputs).flatten(1).std(dim=1)
    assert deviations.min() < 0.03
    assert 0.12 < deviations.max() < 0.16
    assert (noisy - inputs).mean().abs() < 0.002
    assert torch.equal(kept, target)
    dark, _ = augment(torch.zeros(8, 1, 32, 32), target[:8], recipe, torch.Generator().manual_seed(0))
    assert dark.min() == 0


def test_rebalancing_lifts_rare_colours_and_keeps_the_loss_in_scale() -> None:
    target = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    colours = np.array([[0.5, 0.5, 0.5], [0.8, 0.2, 0.2], [0.1, 0.2, 0.9]], np.float32)
    weights = rebalancing_weights(target, colours)
    assert weights[0] < weights[1] < weights[2]
    assert weights[target].mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(rebalancing_weights(target, colours, mix=1.0), 1, rtol=1e-5)  # uniform prior: no weights
    # a neighbour in a*, b* lends its frequency: two shades of one colour count as equally frequent
    shades = rebalancing_weights(target, np.array([[0.5, 0.5, 0.5], [0.7, 0.7, 0.7], [0.1, 0.2, 0.9]], np.float32))
    assert shades[0] == pytest.approx(shades[1], rel=1e-3)


def test_dataset_scales_as_the_assignment_does() -> None:
    images = np.array([[[[0, 128, 255]]]], np.uint8)
    dataset = palette_dataset(images, np.array([[0, 0, 0], [0, 0.5, 1]], np.float32))
    assert to_tensor(images)[0, :, 0, 0].tolist() == [0, 0.5, 255 / 256]
    assert dataset[0]["input"].item() == pytest.approx((128 + 255) / 3 / 256)
    assert dataset[0]["target"].item() == 1
    assert dataset[0]["target"].dtype == torch.int64
    seen = palette_dataset(images, np.array([[0, 0, 0]], np.float32), sees_colour=True)[0]["input"]
    assert seen.flatten().tolist() == [0, 0.5, 255 / 256]
    truth = rgb_dataset(images)[0]
    assert truth["target"].flatten().tolist() == [0, 0.5, 255 / 256]


def test_whole_cifar_from_arrays(tmp_path: Path) -> None:
    images = np.arange(10 * 32 * 32 * 3, dtype=np.uint32).astype(np.uint8).reshape(10, 32, 32, 3)
    np.savez(tmp_path / "cifar10_train.npz", images=images, labels=np.arange(10)[::-1])
    np.savez(tmp_path / "cifar10_test.npz", images=images[:1], labels=[7])
    np.testing.assert_array_equal(load_images(tmp_path), images[2:3])  # horse is class 7
    np.testing.assert_array_equal(load_images(tmp_path, ("airplane", "truck")), images[[0, 9]])
    np.testing.assert_array_equal(load_split(tmp_path, "test", ("horse",), 0), images[:1])


def faces(folder: Path, count: int = 3) -> Path:
    """Brownish synthetic 'faces': noise that gets its colour from its brightness, as JPEG in a zip."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "face_images.zip", "w") as archive:
        for i in range(count):
            brightness = np.asarray(Image.fromarray((rng.random((8, 8)) * 255).astype(np.uint8)).resize((128, 128)))
            picture = (brightness[..., None] / 255 * (230, 170, 120)).astype(np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "JPEG", quality=95)
            archive.writestr(f"face_images/image{i:05}.jpg", buffer.getvalue())
    return folder


def test_faces_are_read_from_archive_and_folder(tmp_path: Path) -> None:
    packed = load_faces(faces(tmp_path))
    assert packed.shape == (3, 128, 128, 3)
    with zipfile.ZipFile(tmp_path / "face_images.zip") as archive:
        archive.extractall(tmp_path / "open")
    np.testing.assert_array_equal(load_faces(tmp_path / "open"), packed)
    (tmp_path / "bad").mkdir()
    with pytest.raises(TrainingError, match=r"neither .* nor a folder face_images"):
        load_faces(tmp_path / "bad")
    with zipfile.ZipFile(tmp_path / "face_images.zip", "a") as archive:
        archive.writestr("__MACOSX/face_images/._image00000.jpg", b"resource fork")
    assert len(load_faces(tmp_path)) == 3
    with zipfile.ZipFile(tmp_path / "face_images.zip", "a") as archive:
        archive.writestr("face_images/half.jpg", b"half a picture")
    with pytest.raises(TrainingError, match=r"half\.jpg"):
        load_faces(tmp_path)
    (tmp_path / "bad" / "face_images.zip").write_text("no archive")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_faces(tmp_path / "bad")


def test_ten_fold_augmentation_flips_crops_and_darkens(tmp_path: Path) -> None:
    images = load_faces(faces(tmp_path))
    ten = augmented(images, 10, seed=1)
    assert ten.shape == (30, 128, 128, 3)
    np.testing.assert_array_equal(ten, augmented(images, 10, seed=1))
    np.testing.assert_array_equal(ten[:3], images)
    assert len({picture.tobytes() for picture in ten}) == 30
    brightness = ten.reshape(10, 3, -1).mean(axis=2) / images.reshape(3, -1).mean(axis=1)
    assert 0.55 < brightness.min() < 0.75 < brightness.max() < 1.05


def test_a_share_of_the_pictures_is_drawn_anew_in_each_epoch(tmp_path: Path) -> None:
    images = load_faces(faces(tmp_path, 12))
    dataset = chroma_dataset(images, "tanh")
    data = PictureData(dataset, dataset, batch_size=2, seed=0, share=1 / 3)
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(6):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        epochs.append([picture.numpy().tobytes() for batch in loader for picture in batch["input"]])
    assert len(loader) == 2
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert len({frozenset(epoch) for epoch in epochs}) > 3
    again = data.train_dataloader()
    again.sampler.set_epoch(4)  # type: ignore[attr-defined]
    assert [picture.numpy().tobytes() for batch in again for picture in batch["input"]] == epochs[4]
    assert sum(len(batch["input"]) for batch in data.val_dataloader()) == 12
    with pytest.raises(TrainingError, match="4 pictures are too few for batches of 5"):
        PictureData(dataset, dataset, batch_size=5, seed=0, share=1 / 3)


def test_chroma_targets_are_the_pictures_chroma(tmp_path: Path) -> None:
    images = load_faces(faces(tmp_path))
    for output in ("sigmoid", "tanh"):
        dataset = chroma_dataset(images, output)
        mean = chroma_dataset(images, output, mean=True)
        ab = srgb_to_lab(images[1].astype(np.float32) / 255)[..., 1:]
        item = dataset[1]
        np.testing.assert_allclose(to_ab(item["target"], output).permute(1, 2, 0).numpy(), ab, atol=0.1)
        np.testing.assert_allclose(to_ab(mean[1]["target"], output).numpy(), ab.mean((0, 1)), atol=1e-3)
        grey = to_grey(images[1], (0.299, 0.587, 0.114))
        np.testing.assert_allclose(100 * item["input"][0].numpy(), lightness(grey), atol=0.1)
        torch.testing.assert_close(to_ab(from_ab(torch.tensor([-60.0, 0, 99]), output), output), torch.tensor([-60.0, 0, 99]))


def test_splits_of_the_real_faces(shared_data: Path) -> None:
    train, validation = (faces_split(shared_data, split, 0) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (607, 68)
    assert not {picture.tobytes() for picture in train} & {picture.tobytes() for picture in validation}
