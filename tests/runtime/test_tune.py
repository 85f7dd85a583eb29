"""``colorize-run tune`` and the profile that the other commands then use."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from colorize_run.cli import main
from colorize_run.diagnostics.timing import Candidate, Times
from colorize_run.diagnostics.tune import Measured, choose
from colorize_run.model.contract import CONTRACT_KEY, GOLDEN_KEY
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny.onnx"
FIGURES = {"validation_error_reduction": 0.2, "validation_colourfulness_ratio": 0.6}
QUICK = ("--rounds", "3", "--size", "64x48", "--device", "cpu")


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    return result


def change(model: onnx.ModelProto, key: str, edit: Callable[[str], str]) -> None:
    entry = next(entry for entry in model.metadata_props if entry.key == key)
    entry.value = edit(entry.value)


def save(path: Path, *, figures: dict[str, float] = FIGURES, slow: bool = False, edit: Callable | None = None) -> None:
    """The tiny model with other recorded figures; a slow one multiplies two large matrices for nothing."""
    model = onnx.load(TINY)
    change(model, CONTRACT_KEY, lambda text: json.dumps(json.loads(text) | {"name": path.stem, "metrics": figures}))
    if slow:
        graph = model.graph
        for node in graph.node:
            for i, name in enumerate(node.input):
                if name == "grey":
                    node.input[i] = "delayed"
        side, zero = np.array([1200, 1200], np.int64), np.zeros((), np.float32)
        graph.initializer.extend([numpy_helper.from_array(side, "slow_side"), numpy_helper.from_array(zero, "slow_zero")])
        nodes = [
            helper.make_node("ReduceMean", ["grey"], ["slow_mean"], keepdims=0),
            helper.make_node("Expand", ["slow_mean", "slow_side"], ["slow_matrix"]),
            helper.make_node("MatMul", ["slow_matrix", "slow_matrix"], ["slow_product"]),
            helper.make_node("ReduceMean", ["slow_product"], ["slow_number"], keepdims=0),
            helper.make_node("Mul", ["slow_number", "slow_zero"], ["slow_nothing"]),
            helper.make_node("Add", ["grey", "slow_nothing"], ["delayed"]),
        ]
        for i, node in enumerate(nodes):
            graph.node.insert(i, node)
    if edit:
        edit(model)
    onnx.save(model, path)


def with_other_weight(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "network.finalconv.bias")
    assert tensor.data_type == TensorProto.FLOAT
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32([1, 0, 0, 0, 0, 0]), tensor.name))


def with_other_golden(model: onnx.ModelProto) -> None:
    donor = onnx.load(ROOT / "tests" / "data" / "tiny-segment.onnx")
    other = next(entry.value for entry in donor.metadata_props if entry.key == GOLDEN_KEY)
    change(model, GOLDEN_KEY, lambda _: other)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models in which the default ones are small: `photo` is slow, and its variant is quick."""
    folder = tmp_path / "models"
    folder.mkdir()
    save(folder / "photo.onnx", slow=True)
    save(folder / "photo-int8.onnx", figures={name: value - 0.004 for name, value in FIGURES.items()})
    shutil.copy(ROOT / "tests" / "data" / "tiny-segment.onnx", folder / "flowers.onnx")
    monkeypatch.setattr("colorize_run.model.library._FOLDERS", (folder,))
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", str(tmp_path / "config" / "profile.json"))
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "docs" / "samples" / "coffee.jpg", tmp_path / "photo.jpg")
    return folder


@pytest.fixture
def profile(models: Path, tmp_path: Path) -> Path:
    """The profile that `tune` writes for those models."""
    result = run("tune", *QUICK)
    assert result.exit_code == 0, result.stderr
    return tmp_path / "config" / "profile.json"


def edited(profile: Path, **values: Any) -> None:
    content = json.loads(profile.read_text())
    content["models"]["photo"] |= values
    profile.write_text(json.dumps(content))


def test_a_profile_for_cuda_where_there_is_none_any_more(profile: Path) -> None:
    if run("verify", "-m", TINY, "--device", "cuda").exit_code == 0:
        pytest.skip("CUDA works here")
    edited(profile, device="cuda")
    _, said = coloured()
    assert "ignored: CUDA no longer works: " in said
    assert "device: cpu" in said


def coloured(*arguments: str) -> tuple[bytes, str]:
    result = run("photo.jpg", "--force", "-o", "-", *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout_bytes, result.stderr


def test_the_quick_variant_is_chosen_and_used(profile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = json.loads(profile.read_text())["models"]
    assert list(entries) == ["flowers", "photo"]
    assert Path(entries["photo"]["path"]).name == "photo-int8.onnx"
    data, said = coloured()
    assert said.count("profile: photo-int8 on cpu, ") == 1
    assert f"(tune of {entries['photo']['tuned']})" in said
    assert "device: " not in said  # the profile's line has it
    by_name, said = coloured("-m", "photo-int8", "--device", "cpu")
    assert data == by_name
    assert "profile" not in said
    for arguments in (["-m", "photo"], ["-m", str(profile.parents[1] / "models" / "photo.onnx")]):
        assert "profile" not in coloured(*arguments)[1]  # what -m names is never replaced
    assert "profile: photo-int8" in coloured("--device", "cpu")[1]
    assert "profile" not in run("photo.jpg", "--device", "cuda").stderr  # tuned for another device
    assert "profile: flowers on cpu" in run("segment", "photo.jpg", "-o", "-").stderr
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", "")
    assert "profile" not in coloured()[1]


def test_threads_of_a_named_model_are_kept_for_it(models: Path) -> None:
    assert run("tune", "-m", models / "photo-int8.onnx", *QUICK).exit_code == 0
    assert "profile: photo-int8 on cpu, " in coloured("-m", str(models / "photo-int8.onnx"))[1]
    assert "profile" not in coloured("-m", "photo-int8")[1]  # another name, of which nothing is kept


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"machine": {"threads": 4096}}, "threads was 4096 then"),
        ({"machine": {"onnxruntime": "0.1"}}, "onnxruntime was 0.1 then"),
        ({"machine": {"features": ["abacus"]}}, "features was abacus then"),
        ({"original": "0" * 64}, "photo has changed since"),
        ({"sha256": "0" * 64}, "photo-int8.onnx has changed since, or is gone"),
        ({"path": "/nowhere/photo-int8.onnx"}, "/nowhere/photo-int8.onnx is not a variant of photo"),
        ({"machine": {"threads": len(os.sched_getaffinity(0)), "speed": 1}}, "then, and is"),
    ],
)
def test_a_profile_that_does_not_fit_is_said_and_ignored(profile: Path, values: dict, words: str) -> None:
    plain, _ = coloured("-m", "photo", "--device", "cpu")
    edited(profile, **values)
    data, said = coloured("--device", "cpu")
    assert data == plain
    notes = [line for line in said.splitlines() if line.startswith("note: the profile")]
    assert len(notes) == 1
    assert words in notes[0]
    assert "tune" in notes[0]
    assert words in run("tune", "--show").stderr


@pytest.mark.parametrize(
    "values", [{"threads": 0}, {"threads": 100_000}, {"device": "auto"}, {"device": "foo"}, {"machine": {}}]
)
def test_a_profile_that_no_measurement_can_have_written(profile: Path, values: dict) -> None:
    edited(profile, **values)
    _, said = coloured()
    assert said.count("note: the profile") == 1
    assert "what no measurement can have found" in said
    assert run("tune", "--show").exit_code == 2


def test_a_profile_that_is_a_folder(models: Path, tmp_path: Path) -> None:
    (tmp_path / "config" / "profile.json").mkdir(parents=True)
    assert "is ignored because it cannot be read (it is not a regular file)" in coloured()[1]
    for arguments in (("--show",), (*QUICK, "-m", "photo")):
        result = run("tune", *arguments)
        assert result.exit_code == 2
        assert "no regular file" in result.stderr


def test_what_cannot_be_written_is_found_out_before_measuring(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", "/proc/profile.json")
    result = run("tune", *QUICK, "-m", "photo")
    assert result.exit_code == 73
    assert "candidates" not in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 200_000, id="nested"),
        "",
        "{",
        "[]",
        '{"version": 2, "models": {}}',
        '{"version": 1, "models": {"photo": {}}}',
        "\0",
    ],
)
def test_a_profile_that_cannot_be_read(profile: Path, content: str) -> None:
    profile.write_text(content)
    _, said = coloured()
    assert said.count("note: the profile") == 1
    assert "tune --forget" in said
    assert run("tune", "--show").exit_code == 2
    assert run("tune", *QUICK, "-m", "photo").exit_code == 2
    assert profile.read_text() == content  # nothing is replaced unasked
    assert run("tune", "--forget").exit_code == 0
    assert not profile.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"figures": {name: value - 0.006 for name, value in FIGURES.items()}}, "loses 0.0060 of what counts"),
        ({"figures": {"validation_error_reduction": 0.2}}, "records no validation_colourfulness_ratio"),
        ({"figures": {}}, "records no validation_error_reduction"),
        ({"edit": with_other_golden}, "was made from another original"),
        ({"edit": with_other_weight}, "does not match its golden vectors on cpu"),
    ],
)
def test_variants_that_may_not_stand_in(models: Path, options: dict, words: str) -> None:
    save(models / "photo-int8.onnx", **options)
    result = run("tune", "-m", "photo", *QUICK, "--json")
    assert result.exit_code == 0
    assert words in result.stderr
    chosen = json.loads(result.stdout)["models"]["photo"]
    assert Path(chosen["path"]).name == "photo.onnx"
    assert {row["model"] for row in chosen["measured"]} == {"photo"}


def test_a_broken_variant_is_left_out(models: Path) -> None:
    (models / "photo-int8.onnx").write_bytes(b"no model")
    (models / "photo-fp16.onnx").write_bytes((models / "flowers.onnx").read_bytes())
    result = run("tune", "-m", "photo", *QUICK)
    assert result.exit_code == 0
    assert "photo-int8 cannot be used" in result.stderr
    assert "photo-fp16 has another contract" in result.stderr


def test_a_model_that_strays_is_not_tuned(models: Path, tmp_path: Path) -> None:
    save(models / "photo.onnx", edit=with_other_weight)
    result = run("tune", "-m", "photo", *QUICK)
    assert result.exit_code == 65
    assert "golden vectors" in result.stderr
    assert not (tmp_path / "config" / "profile.json").exists()


def test_what_is_measured_is_told(models: Path) -> None:
    result = run("tune", "-m", "photo", *QUICK, "--json")
    report = json.loads(result.stdout)
    assert Path(report["profile"]).is_file()
    rows = report["models"]["photo"]["measured"]
    assert {row["model"] for row in rows} == {"photo", "photo-int8"}
    assert rows[0]["ratio"] == 1
    assert all(row["median_s"] > 0 and row["rounds"] == 3 for row in rows)
    assert result.stderr.count("<- chosen") == 1


@pytest.mark.parametrize(
    ("ratios", "chosen"),
    [
        ([1.0, 1.3, 0.97, 0.96], 0),
        ([1.0, 1.3, 0.76, 0.75], 2),
        ([1.0, 0.77, 0.76, 0.75], 1),
        ([1.0, 1.2, 0.9, 0.5], 3),
        ([1.0], 0),
    ],
)
def test_gains_that_may_be_chance_choose_nothing(models: Path, ratios: list[float], chosen: int) -> None:
    """Ratios of (photo, 2 threads), (photo, 1), (photo-int8, 2), (photo-int8, 1), say."""
    candidate = Candidate("colorize", models / "photo-int8.onnx", "cpu", 1)
    measured = [Measured(candidate, Times((ratio,)), ratio) for ratio in ratios]
    assert choose(measured) is measured[chosen]


def test_show_and_forget(profile: Path) -> None:
    shown = run("tune", "--show", "--json")
    found = json.loads(shown.stdout)
    assert found["profile"] == str(profile)
    assert found["models"]["photo"]["misfit"] is None
    assert "photo: photo-int8 on cpu" in run("tune", "--show").stderr
    assert run("tune", "--show", "--forget").exit_code == 2
    assert run("tune", "--forget").exit_code == 0
    assert not profile.exists()
    assert "profile" not in coloured()[1]
    assert "no profile" in run("tune", "--show").stderr
    assert run("tune", "--forget").exit_code == 0


def test_where_the_profile_lies(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLORIZE_RUN_PROFILE")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert run("tune", "-m", "flowers", *QUICK).exit_code == 0
    assert (tmp_path / "xdg" / "colorize-run" / "profile.json").is_file()
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", "")
    assert run("tune", "-m", "flowers", *QUICK).exit_code == 2
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("COLORIZE_RUN_PROFILE", str(tmp_path / "file" / "profile.json"))
    result = run("tune", "-m", "flowers", *QUICK)
    assert result.exit_code == 73
    assert (tmp_path / "file").read_text() == "in the way"
