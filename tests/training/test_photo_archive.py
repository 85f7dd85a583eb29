"""Collections of photographs with a manifest: what they add to training, how they are drawn, what stays held out."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from training.__main__ import main
from training.datasets.photo_archive import HELD_OUT, BalancedSamples, load_split, load_splits, sampled
from training.datasets.photos import Photos, load_photos
from training.errors import TrainingError

ROOT = Path(__file__).resolve().parents[2]


def picture(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Soft random colours."""
    rough = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Twenty loose photographs, and a collection of forty: many birds, a few fish, and a held-out source of toys."""
    folder = tmp_path / "data"
    (folder / "loose").mkdir(parents=True)
    for i in range(20):
        picture(i).save(folder / "loose" / f"{i:02}.png")
    rows = [(f"me+birds/{i}.jpg", "me+birds", "birds") for i in range(32)]
    rows += [(f"me+fish+images/{i}.jpg", "me+fish+images", "fish") for i in range(2)]
    rows += [(f"me+toys+a/{i}.jpg", "me+toys+a", "toys") for i in range(6)]
    for i, (name, _, _) in enumerate(rows):
        path = folder / "more" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(100 + i).save(path)
    with (folder / "more" / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "source", "subject"), *rows])
    (folder / "more" / HELD_OUT).write_text("me+toys\n\nme+nothing\n")
    return folder


def test_a_collection_joins_the_training_and_leaves_the_validation_as_it_was(data_dir: Path) -> None:
    splits, before = load_splits(data_dir, 0), load_splits(data_dir / "loose", 0)
    assert splits.validation.fingerprint() == before.validation.fingerprint()
    assert len(splits.validation) == 2
    assert Counter(splits.train.subjects) == {"loose": 18, "birds": 32, "fish": 2}
    assert set(splits.sources.sources) == {"me+toys+a"}
    assert len(splits.sources) == 6
    assert len(load_split(data_dir, "all", 0)) == 60
    assert splits.train.fingerprint() == load_splits(data_dir, 0).train.fingerprint()
    assert len(before.sources) == 0


def test_a_collection_alone_is_split_at_random(data_dir: Path) -> None:
    splits = load_splits(data_dir / "more", 0)
    assert (len(splits.train), len(splits.validation), len(splits.sources)) == (31, 3, 6)
    with pytest.raises(TrainingError, match=r"no held-out\.txt beside a manifest"):
        load_split(data_dir / "loose", "sources", 0)


def test_a_file_that_is_listed_but_missing_is_one_sentence(data_dir: Path) -> None:
    (data_dir / "more" / "me+birds" / "3.jpg").unlink()
    with pytest.raises(TrainingError, match=r"3\.jpg does not exist, but .*manifest\.csv lists it"):
        load_splits(data_dir, 0)


def test_another_manifest_is_no_collection(data_dir: Path) -> None:
    (data_dir / "loose" / "manifest.csv").write_text("name,licence\n00.png,CC0\n")
    assert len(load_photos(data_dir / "loose")) == 20


def test_photographs_are_kept_encoded_and_decode_to_the_same_pixels(tmp_path: Path) -> None:
    picture(0, (900, 600)).save(tmp_path / "large.png")
    picture(1).save(tmp_path / "small.jpg")
    large, small = load_photos(tmp_path).stored
    assert small == (tmp_path / "small.jpg").read_bytes()
    assert isinstance(large, bytes)
    assert len(large) < 192 * 288 * 3
    expected = [Image.open(tmp_path / name).convert("RGB") for name in ("large.png", "small.jpg")]
    images = load_photos(tmp_path).images
    np.testing.assert_array_equal(images[1], np.asarray(expected[1]))
    assert np.abs(images[0].astype(int) - np.asarray(expected[0].resize((288, 192)))).max() < 40


def test_subjects_are_drawn_by_the_root_of_their_numbers() -> None:
    subjects = ["many"] * 400 + ["few"] * 4
    photos = Photos([np.zeros((8, 8, 3), np.uint8)] * 404, subjects, subjects)
    samples = BalancedSamples(photos, 32, seed=0)
    drawn = [samples.position(index) for index in range(4000)]
    few = sum(position >= 400 for position in drawn) / 4000
    assert few == pytest.approx(2 / 22, abs=0.02)  # 2 of 20 + 2
    assert drawn == [BalancedSamples(photos, 32, seed=0).position(index) for index in range(4000)]
    assert drawn != [BalancedSamples(photos, 32, seed=1).position(index) for index in range(4000)]


def test_samples_of_a_collection_repeat_by_seed_and_index(data_dir: Path) -> None:
    train = load_splits(data_dir, 0).train
    first, again = (sampled(train, 32, 5, final_side=0, epochs=1).__getitems__([3, 7]) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["target"].shape == (2, 2, 8, 8)


def test_evaluate_on_held_out_sources(data_dir: Path) -> None:
    checkpoint = str(ROOT / "artifacts" / "checkpoints" / "unet.pt")
    command = ["evaluate", checkpoint, "--photos", "--data-dir", str(data_dir), "--split", "sources"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["photographs"] == 6
    assert set(figures["subjects"]) == {"toys"}
    refused = CliRunner().invoke(main, ["evaluate", checkpoint, "--data-dir", str(data_dir), "--split", "sources"])
    assert isinstance(refused.exception, TrainingError)
    assert "no held-out sources" in str(refused.exception)
