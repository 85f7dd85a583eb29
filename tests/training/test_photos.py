"""Photographs: what is read, how it is aged, what the network learns from it, and how it is judged."""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.__main__ import main
from training.checkpoint import load
from training.clustering import kmeans_chroma
from training.datasets import ageing, photos
from training.datasets.near_duplicates import groups_of, near_duplicates
from training.datasets.photos import Photos, PhotoSamples, load_photos, split
from training.errors import TrainingError
from training.evaluation.photos import by_source, measure, summary
from training.networks.photo import AB_SCALE, SATURATION, PhotoChroma, PhotoColorizer
from training.palette import SoftLabels

ROOT = Path(__file__).resolve().parents[2]


def scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth picture whose colour follows from its brightness: blue above, green below."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray((rng.random((5, 7)) * 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    brightness = np.asarray(rough, np.float32)[..., None] / 255
    above = np.arange(size[1])[:, None, None] < size[1] // 2
    return Image.fromarray((brightness * np.where(above, (90, 140, 255), (90, 220, 60))).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture
def photo_dir(tmp_path: Path) -> Path:
    """24 scenes, half in an archive, and what must be passed over: grey ones, masks, faces, hidden files, notes."""
    folder = tmp_path / "photos"
    (folder / "holiday").mkdir(parents=True)
    for i in range(12):
        scene(i).save(folder / "holiday" / f"{i:02}.png")
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for i in range(12, 24):
            archive.writestr(f"deep/{i}.jpg", encoded(scene(i), "JPEG"))
        archive.writestr("deep/grey.png", encoded(scene(50).convert("L")))
        archive.writestr("trimaps/00.png", encoded(scene(51)))
        archive.writestr("deep/.hidden.png", encoded(scene(52)))
        archive.writestr("readme.txt", b"no picture")
    with zipfile.ZipFile(folder / "face_images.zip", "w") as archive:
        archive.writestr("0.png", encoded(scene(53)))
    return folder


def test_folders_and_archives_are_read_and_others_passed_over(photo_dir: Path) -> None:
    found = load_photos(photo_dir)
    assert len(found) == 24
    assert sorted(set(found.sources)) == ["holiday", "set"]
    assert load_photos(photo_dir).fingerprint() == found.fingerprint()
    assert len(load_photos(photo_dir / "set.zip")) == 12


def test_large_photographs_are_reduced_and_small_ones_left(tmp_path: Path) -> None:
    scene(0, (900, 600)).save(tmp_path / "large.png")
    scene(1, (60, 40)).save(tmp_path / "small.png")
    assert [image.shape for image in load_photos(tmp_path).images] == [(192, 288, 3), (40, 60, 3)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("bad.jpg", b"no picture at all", r"bad\.jpg cannot be read"),
        ("cut.png", encoded(scene(0))[:400], r"cut\.png cannot be read"),
        ("bad.zip", b"PK\x03\x04 no archive", r"bad\.zip cannot be read"),
        ("grey.png", encoded(scene(0).convert("L")), "no colour photographs"),
        ("notes.txt", b"", "no colour photographs"),
    ],
)
def test_photographs_that_cannot_be_had_are_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=message):
        load_photos(tmp_path)
    with pytest.raises(TrainingError, match="does not exist"):
        load_photos(tmp_path / "nowhere")


def test_a_damaged_member_of_an_archive_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(scene(0), "BMP"))
    data = bytearray(path.read_bytes())
    data[100:140] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(TrainingError, match=r"set\.zip cannot be read"):
        load_photos(tmp_path)


def test_pictures_of_one_pixel_width_are_cut_too() -> None:
    samples = PhotoSamples(Photos([np.full((50, 1, 3), (200, 10, 10), np.uint8)], [""]), 32, 0, augment=True)
    assert all(sample["input"].shape == (1, 32, 32) for sample in map(samples.__getitem__, range(60)))


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    image = scene(0, (60, 40))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert load_photos(tmp_path).images[0].shape == (60, 40, 3)


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_bands_find_the_groups_that_comparing_every_pair_finds(originals: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = [*originals]
    for _ in range(40):  # copies with a few flipped bits, at, below and above the limit
        flipped = rng.choice(64, rng.integers(0, 7), replace=False)
        hashes.append(hashes[rng.integers(len(hashes))] ^ sum(1 << int(bit) for bit in flipped))
    array = np.array(hashes, np.uint64)
    expected = np.arange(len(array))
    for i in range(len(array)):
        for j in range(i):
            if np.bitwise_count(array[i] ^ array[j]) <= 4:
                expected[np.isin(expected, expected[[i, j]])] = expected[[i, j]].min()
    np.testing.assert_array_equal(groups_of(array), expected)


def test_copies_of_a_photograph_stay_on_one_side() -> None:
    images, sources = [], []
    for i in range(60):
        original = scene(i, (192, 128))
        copy = Image.open(io.BytesIO(encoded(original.resize((150, 100)), "JPEG")))
        images += [np.asarray(original), np.asarray(copy)]
        sources += [str(i), str(i)]
    group = near_duplicates(images)
    assert all(group[2 * i] == group[2 * i + 1] for i in range(60))
    assert len(set(group.tolist())) > 50
    train, validation = split(Photos(images, sources), seed=3)
    assert len(train) + len(validation) == 120
    assert 6 <= len(validation) <= 20
    assert not set(train.sources) & set(validation.sources)


def test_splits_of_the_real_photographs(shared_data: Path) -> None:
    found = load_photos(shared_data / "photos" / "urban100.zip")
    train, validation = split(found, 0)
    assert len(found) > 75
    assert {len(train), len(validation)} == {len(found) - len(validation), len(validation)}
    assert all(photos.mean_chroma(image) >= 6 for image in found.images)


def test_samples_follow_from_seed_and_index_alone() -> None:
    data = Photos([np.asarray(scene(i)) for i in range(4)], [""] * 4)
    one, two = (PhotoSamples(data, 32, 7, augment=True) for _ in range(2))
    a, b = one.__getitems__([1, 5, 2]), two.__getitems__([5])
    assert a["input"].shape == (3, 1, 32, 32)
    assert a["target"].shape == (3, 2, 8, 8)
    assert torch.equal(a["input"][1], b["input"][0])  # picture 1 in its second epoch, whoever asks first
    assert not torch.equal(a["input"][0], a["input"][1])
    other = PhotoSamples(data, 32, 8, augment=True).__getitems__([5])
    assert not torch.equal(other["input"], b["input"])


def test_the_last_quarter_of_the_epochs_is_larger() -> None:
    data = Photos([np.asarray(scene(i)) for i in range(4)], [""] * 4)
    samples = PhotoSamples(data, 32, 0, augment=True, final_side=48, epochs=8)
    assert [samples.__getitems__([4 * epoch])["input"].shape[-1] for epoch in (0, 5, 6, 7)] == [32, 32, 48, 48]


def test_validation_is_the_middle_square_and_its_luma() -> None:
    image = np.zeros((32, 64, 3), np.uint8)
    image[:, 16:48] = 200, 100, 50
    batch = PhotoSamples(Photos([image], [""]), 32, 0, augment=False).__getitems__([0])
    np.testing.assert_allclose(batch["input"], (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, atol=1e-4)
    from colorize_run.colour import srgb_to_lab

    expected = srgb_to_lab(np.float32([[[200, 100, 50]]]) / 255)[0, 0, 1:]
    np.testing.assert_allclose(batch["target"][0].flatten(1).T, np.tile(expected, (64, 1)), atol=0.05)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 40), st.integers(8, 40), st.sampled_from(["noise", "black", "white", "flat"]))
def test_aged_pictures_are_grey_pictures(seed: int, h: int, w: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    rgb = {"noise": rng.random((h, w, 3), np.float32), "black": np.zeros((h, w, 3), np.float32),
           "white": np.ones((h, w, 3), np.float32), "flat": np.full((h, w, 3), 0.4, np.float32)}[kind]  # fmt: skip
    grey = ageing.aged(rgb, rng)
    assert grey.shape == (h, w)
    assert grey.dtype == np.float32
    assert np.isfinite(grey).all()
    assert -1e-5 <= grey.min() <= grey.max() <= 1 + 1e-5


def test_emulsions_see_what_they_saw() -> None:
    red, blue = (np.float32(colour) for colour in ((1, 0, 0), (0, 0, 1)))
    for mixture in ageing.EMULSIONS.values():
        assert sum(mixture) == pytest.approx(1)
    assert red @ np.float32(ageing.EMULSIONS["orthochromatic"]) < 0.1 < blue @ np.float32(ageing.EMULSIONS["orthochromatic"])
    assert blue @ np.float32(ageing.EMULSIONS["red filter"]) == 0


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(6, 60))
def test_soft_labels_are_weights_of_the_nearest(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    palette = rng.uniform(-90, 90, (k, 2)).astype(np.float32)
    ab = torch.from_numpy(rng.uniform(-120, 120, (2, 2, 3, 4)).astype(np.float32))
    labels, weights = SoftLabels(palette)(ab)
    assert labels.shape == weights.shape == (2, 5, 3, 4)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2, 3, 4))
    inside = ab.clamp(-110, 110)
    distances = (inside[:, None] - torch.from_numpy(palette)[None, :, :, None, None]).norm(dim=2)
    chosen = distances.gather(1, labels[:, :1])[:, 0]
    assert (chosen - distances.min(dim=1).values).max() <= 2 * 2**0.5 + 1e-3  # to within a step of the grid
    assert (weights.diff(dim=1) <= 1e-6).all()


def test_a_palette_of_chroma_finds_rare_colours() -> None:
    rng = np.random.default_rng(0)
    common, rare = rng.normal(0, 3, (20_000, 2)), rng.normal((70, 50), 3, (60, 2))
    palette = kmeans_chroma(np.concatenate([common, rare]).astype(np.float32), 8, 0)
    assert palette.shape == (8, 2)
    assert np.linalg.norm(palette - (70, 50), axis=1).min() < 5
    np.testing.assert_array_equal(palette, kmeans_chroma(np.concatenate([common, rare]).astype(np.float32), 8, 0))


class Says(torch.nn.Module):
    """Stands where a network does: says the same of every cell, whatever it sees."""

    def __init__(self, output: torch.Tensor, weights: torch.Tensor) -> None:
        super().__init__()
        self.output, self.class_weights = output, weights

    def forward(self, grey: torch.Tensor) -> torch.Tensor:
        return self.output[None, :, None, None].expand(len(grey), -1, grey.shape[2] // 4, grey.shape[3] // 4)


def test_decoding_gives_back_what_training_weighed() -> None:
    palette = torch.tensor([[0.0, 0.0], [60.0, 40.0]])
    probabilities, weights = torch.tensor([0.8, 0.2]), torch.tensor([0.5, 3.0])
    learnt, grey = Says((probabilities * weights).log(), weights), torch.zeros(1, 1, 32, 32)
    whole = PhotoChroma(learnt, palette, 1.0, 1.0)(grey, torch.tensor(1.0))
    expected = (palette * probabilities[:, None]).sum(dim=0)[None, :, None, None].expand(1, 2, 32, 32)
    torch.testing.assert_close(whole, expected)
    none = PhotoChroma(learnt, palette, 0.0, 1.0)(grey, torch.tensor(1e-2))
    torch.testing.assert_close(none, palette[1][None, :, None, None].expand(1, 2, 32, 32))
    direct = Says(torch.full((2,), 0.5), weights[:0])
    plain = PhotoChroma(direct, palette[:0])(grey, torch.tensor(1.0))
    assert plain.unique().tolist() == [pytest.approx(SATURATION * AB_SCALE / 2)]


def test_a_picture_and_its_mirror_image_get_the_same_colours() -> None:
    torch.manual_seed(0)
    network = PhotoColorizer(6, "test_efficientnet", width=8).eval()
    whole = PhotoChroma(network, torch.randn(6, 2) * 40)
    grey = torch.rand(1, 1, 64, 96)
    with torch.no_grad():
        straight, mirrored = whole(grey, torch.tensor(0.5)), whole(grey.flip(3), torch.tensor(0.5))
    torch.testing.assert_close(straight, mirrored.flip(3), atol=1e-3, rtol=1e-4)


def test_judging_knows_grey_from_truth() -> None:
    data = Photos([np.asarray(scene(i)) for i in range(8)], ["a"] * 3 + ["b"] * 5)
    grey = summary(measure(lambda x: x.new_zeros((len(x), 2, *x.shape[2:])), data))
    assert grey["error_reduction"] == pytest.approx(0, abs=1e-6)
    assert grey["colourfulness_ratio"] == pytest.approx(0, abs=0.02)
    assert grey["near_grey"] == 1
    constant = measure(lambda x: x.new_zeros((len(x), 2, *x.shape[2:])) + 20, data)
    assert summary(constant)["near_grey"] == 0
    sources = by_source(constant, data.sources)
    assert {name: found["photographs"] for name, found in sources.items()} == {"a": 3, "b": 5}
    mean = sum(found["ab_error"] * found["photographs"] for found in sources.values()) / 8
    assert mean == pytest.approx(summary(constant)["ab_error"])


COMMON = ["--recipe", "short", "--encoder", "test_efficientnet", "--colours", "12", "--batch-size", "8", "--device", "cpu"]


def command(data_dir: Path, run: Path, *options: str) -> list[str]:
    weights = data_dir.parent / "encoder.pth"
    if not weights.exists():
        import timm

        torch.manual_seed(0)
        torch.save(timm.create_model("test_efficientnet", features_only=True).state_dict(), weights)
    return ["fit", "photo", "--data-dir", str(data_dir), "--run-dir", str(run), "--weights", str(weights),
            *COMMON, *options]  # fmt: skip


def test_photo_learns_resumes_to_the_same_weights_and_is_judged(
    photo_dir: Path, tmp_path: Path, interrupted: Callable[[list[str]], str]
) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    done = CliRunner().invoke(main, command(photo_dir, straight, "--epochs", "4"))
    assert done.exit_code == 0, done.output
    for name in ("curves.png", "grid.png", "grids/epoch-003.png"):
        assert (straight / name).stat().st_size > 1000
    report = json.loads((straight / "metrics.json").read_text())
    assert {"validation_ab_error", "validation_error_reduction", "validation_colourfulness_ratio"} <= set(report["metrics"])
    interrupted([sys.executable, "-W", "error", "-m", "training", *command(photo_dir, broken, "--epochs", "4")])
    resumed = CliRunner().invoke(main, command(photo_dir, broken, "--epochs", "4", "--resume"))
    assert resumed.exit_code == 0, resumed.output
    expected = load(straight / "photo.pt").state
    for name, value in load(broken / "photo.pt").state.items():
        assert torch.equal(value, expected[name]), name
    judged = CliRunner().invoke(
        main, ["evaluate", str(straight / "photo.pt"), "--data-dir", str(photo_dir), "--grid", str(tmp_path / "grid.png")]
    )
    scores = json.loads(judged.stdout)
    assert scores["ab_error"] == pytest.approx(report["metrics"]["validation_ab_error"], rel=1e-3)
    assert set(scores["sources"]) <= {"holiday", "set"}
    assert scores["mean_colour"]["ab_error"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder", "no_such_network"], "no_such_network"),
        (["--classes", "dog"], "learns from photographs"),
        (["--augment", "flip-up-down"], "omit --augment"),
        (["--recipe", "regression"], "does not classify into a palette"),
    ],
)
def test_wrong_options_for_photographs_are_one_sentence(
    photo_dir: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        CliRunner().invoke(main, command(photo_dir, tmp_path / "run", *options), catch_exceptions=False)


def test_weights_that_are_no_encoders_are_one_sentence(photo_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    arguments = [*command(photo_dir, tmp_path / "run"), "--weights", str(tmp_path / "bad.pth")]
    with pytest.raises(TrainingError, match="give a file of them with --weights"):
        CliRunner().invoke(main, arguments, catch_exceptions=False)
    with pytest.raises(TrainingError, match="no encoder to choose"):
        CliRunner().invoke(main, ["fit", "unet", "--encoder", "resnet18"], catch_exceptions=False)
