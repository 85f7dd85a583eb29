"""The model contract: what is written is read back, and what is wrong is refused by name."""

import base64
import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
from colorize_run.errors import ContractError
from colorize_run.model.contract import Contract, GoldenCase, WorkingSize, pack_golden, unpack_golden
from colorize_run.model.verify import compare
from hypothesis import given
from hypothesis import strategies as st

CONTRACT = Contract(
    task="colorize",
    name="x",
    network="UNet()",
    working_size=WorkingSize(64, 4, 16, 512),
    resize="pillow-bilinear",
    palette=((1, 2, 3), (4, 5, 6)),
    metrics={"validation_loss": 1.1},
)


def test_json_round_trip() -> None:
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("version", 2, "update colorize-run"),
        ("version", 0, "export the model again"),
        ("version", "1", "export the model again"),
        ("task", "translate", "translate"),
        ("resize", "nearest", "nearest"),
        ("name", 7, "name"),
        ("working_size", {"short_side": 64}, "working_size"),
        ("working_size", {"short_side": 64, "multiple": 0, "minimum": 1, "maximum": 99}, "impossible"),
        ("grey_weights", [1, 1, 1], "grey_weights"),
        ("colour_of_the_sky", "blue", "colour_of_the_sky"),
        ("network", None, "network"),
        ("chroma_palette", [[1, 2, 3]], "pairs of finite numbers"),
        ("chroma_palette", [[1, float("nan")]], "pairs of finite numbers"),
        ("chroma_palette", ["ab"], "pairs of finite numbers"),
        ("chroma_palette", [1, 2], "pairs of finite numbers"),
        ("temperature", 0.0, "above 0"),
        ("temperature", float("inf"), "above 0"),
        ("temperature", "warm", "temperature"),
    ],
)
def test_wrong_contracts_are_refused_by_name(field: str, value: object, message: str) -> None:
    values = json.loads(CONTRACT.to_json()) | {field: value}
    with pytest.raises(ContractError, match=message):
        Contract.from_json(json.dumps(values))


@given(st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_any_text_is_a_contract_or_a_contract_error(text: str) -> None:
    with pytest.raises(ContractError):
        Contract.from_json(text)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(Contract)]), st.none() | st.integers() | st.text()))
def test_any_damaged_field_is_a_contract_error_or_a_contract(changes: dict[str, object]) -> None:
    values = json.loads(CONTRACT.to_json()) | changes
    with contextlib.suppress(ContractError):
        assert Contract.from_json(json.dumps(values)).task == "colorize"


@given(st.integers(1, 40_000), st.integers(1, 40_000))
def test_working_size_law(width: int, height: int) -> None:
    size = WorkingSize(64, 4, 16, 512)
    w, h = size.fit(width, height)
    assert 1 <= w <= min(width, 512)
    assert 1 <= h <= min(height, 512)
    assert min(w, h) <= 64 or min(width, height) <= 64
    for side in (w, h):
        assert side <= size.pad(side)
        assert size.pad(side) % 4 == 0
        assert 16 <= size.pad(side) < max(side, 16) + 4


def test_golden_round_trip_and_damage() -> None:
    case = GoldenCase({"grey": np.ones((1, 1, 2, 2), np.float32)}, {"ab": np.zeros((1, 2, 2, 2), np.float32)})
    text = pack_golden([case])
    (back,) = unpack_golden(text)
    np.testing.assert_array_equal(back.inputs["grey"], case.inputs["grey"])
    np.testing.assert_array_equal(back.outputs["ab"], case.outputs["ab"])
    for damaged in (text[:-40], "!!!", text[:20] + "A" * 30 + text[50:]):
        with pytest.raises(ContractError):
            unpack_golden(damaged)


@pytest.mark.parametrize(
    "case",
    [
        GoldenCase({"grey": np.ones((1, 1, 2, 2), np.float32)}, {}),
        GoldenCase({}, {"ab": np.ones((1, 2, 2, 2), np.float32)}),
        GoldenCase({"grey": np.ones((1, 1, 2, 2), np.float32)}, {"ab": np.full((1, 2, 2, 2), np.nan, np.float32)}),
        GoldenCase({"grey": np.ones((1, 1, 2, 2), np.float32)}, {"ab": np.ones((2, 2), np.float32)}),
    ],
)
def test_golden_vectors_that_prove_nothing_are_refused(case: GoldenCase) -> None:
    with pytest.raises(ContractError):
        unpack_golden(pack_golden([case]))


def test_no_golden_vectors_and_foreign_files_are_refused() -> None:
    plain = io.BytesIO()
    np.save(plain, np.ones(3))
    for text in (pack_golden([]), base64.b64encode(plain.getvalue()).decode()):
        with pytest.raises(ContractError):
            unpack_golden(text)


def test_not_a_number_is_never_equal() -> None:
    right, wrong = np.ones((1, 2, 3, 3), np.float32), np.full((1, 2, 3, 3), np.nan, np.float32)
    for name in ("ab", "rgb"):
        for actual, reference in ((right, wrong), (wrong, right), (wrong, wrong)):
            difference = compare(name, actual, reference, 1.0)
            assert difference.error == float("inf")
            assert difference.flips == 1
