"""The model contract: what a model file says of itself, read from the metadata of the ONNX file."""

import base64
import binascii
import collections.abc
import dataclasses
import io
import json
import typing
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from colorize_run.errors import ContractError, OptionError

VERSION = 1
CONTRACT_KEY = "colorize_run.contract"
GOLDEN_KEY = "colorize_run.golden"
LOGITS = "logits"  # optional output (N, K, h, w): of each colour of `Contract.chroma_palette`, for cells of CELL x CELL pixels
CELL = 4  # pixels along one side of a cell, for which a photo colourizer gives one distribution
HINTS = "hints"  # optional beside the picture, of its size: a*, b*, and 1 where the user gave them, else 0
INPUTS = {"grey": 1, "image": 3, HINTS: 3}  # name -> channels: sRGB-encoded grey, or R, G, B; 0..1; or hints
# task -> the input it may have, of INPUTS, and its first output. A colorize network on `image` repairs colours.
TASKS = {"colorize": (("grey", "image"), "ab"), "segment": (("image",), "probabilities")}
RESIZE_FILTERS = ("pillow-bilinear",)

Arrays = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class WorkingSize:
    """How large a picture the network wants to see, in pixels.

    The picture is reduced until its short side is ``short_side`` (never enlarged), further if its long side would
    exceed ``maximum``; then both sides are padded to a multiple of ``multiple`` and to no less than ``minimum``.
    """

    short_side: int
    multiple: int
    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if max(dataclasses.astuple(self)) > 1 << 16 or not (
            self.multiple > 0 and 0 < self.minimum <= self.maximum and 0 < self.short_side <= self.maximum
        ):
            raise ContractError(f"The contract's working size is impossible: {dataclasses.asdict(self)}.")

    def with_short_side(self, short_side: int | None) -> "WorkingSize":
        """Copy for another short side, as far as the largest size allows; OptionError above that."""
        if short_side is None:
            return self
        if not self.minimum <= short_side <= self.maximum:
            raise OptionError(
                f"A working size of {short_side} is not possible with this model: {self.minimum} to {self.maximum} pixels."
            )
        return dataclasses.replace(self, short_side=short_side)

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a picture as the network must get it, before padding."""
        scale = min(1.0, self.short_side / min(width, height), self.maximum / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    def pad(self, side: int) -> int:
        """``side`` rounded up to the multiple, and to at least the minimum."""
        return -(-max(side, self.minimum) // self.multiple) * self.multiple


@dataclass(frozen=True)
class Contract:
    """Everything that the runtime must know of a network, and what a person wants to know of it.

    ``grey_weights`` are the shares of sRGB-encoded R, G, B in the grey that it was trained on. ``palette`` holds RGB
    bytes, ``chroma_palette`` a*, b* of each of the ``logits``, where there are some. ``temperature`` is the default of the
    input of that name. ``tolerance`` gives for each device the largest error of the golden outputs, as a share of their
    range, and ``flips`` for each device the largest share of pixels of a discrete output (``rgb``) that may differ.
    ``parity`` and ``metrics`` are the figures of export and training.
    """

    task: str
    name: str
    network: str
    working_size: WorkingSize
    resize: str
    grey_weights: tuple[float, ...] = (0.299, 0.587, 0.114)
    palette: tuple[tuple[int, ...], ...] = ()
    chroma_palette: tuple[tuple[float, ...], ...] = ()
    temperature: float = 1.0
    classes: tuple[str, ...] = ()
    class_colours: tuple[tuple[int, ...], ...] = ()
    licence: str = ""
    training_data: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    parity: Mapping[str, float] = field(default_factory=dict)
    tolerance: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1e-5, "cuda": 2e-3})
    flips: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1e-3, "cuda": 1e-2})
    version: int = VERSION

    def to_json(self) -> str:
        """One JSON object; `from_json` reads it back to an equal contract."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Parse and check a contract; ContractError names the field that is wrong."""
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ContractError(f"The contract is not JSON: {error}.") from error
        if not isinstance(values, dict):
            raise ContractError("The contract is not a JSON object.")
        version = values.get("version")
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            way_out = "update colorize-run" if newer else "export the model again"
            raise ContractError(f"The contract has version {version!r}, but this program reads version {VERSION}: {way_out}.")
        _check_fields(values)
        values["working_size"] = WorkingSize(**values["working_size"])
        tuples = {name: _as_tuple(value) for name, value in values.items() if isinstance(value, list)}
        contract = cls(**{**values, **tuples})
        if contract.task not in TASKS:
            raise ContractError(f"The contract's task {contract.task!r} is unknown; known: {', '.join(TASKS)}.")
        if contract.resize not in RESIZE_FILTERS:
            raise ContractError(f"The contract's resize filter {contract.resize!r} is unknown to this version.")
        return contract


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


def _json_type(hint: Any) -> type:
    """The type that `json.loads` gives for a field with a type hint: an object for mappings and dataclasses."""
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        return list
    return dict if origin in (collections.abc.Mapping, WorkingSize) else origin


def _check_fields(values: dict[str, Any]) -> None:
    """Every field known, present where it has no default, and of its kind."""
    fields = {f.name: f for f in dataclasses.fields(Contract)}
    unknown = sorted(set(values) - set(fields))
    required = {
        name for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }  # fmt: skip
    missing = sorted(required - set(values))
    if unknown or missing:
        raise ContractError(f"The contract has unknown fields {unknown} or lacks {missing}.")
    hints = typing.get_type_hints(Contract)
    for name, value in values.items():
        kind = _json_type(hints[name])
        if not isinstance(value, kind):
            raise ContractError(f"The contract's {name} should be of type {kind.__name__}, found {value!r:.60}.")
    sides = values["working_size"]
    if set(sides) != {f.name for f in dataclasses.fields(WorkingSize)} or not all(type(v) is int for v in sides.values()):
        raise ContractError(f"The contract's working_size is malformed: {sides!r:.100}.")
    for name in ("metrics", "parity", "tolerance", "flips"):
        numbers = values.get(name, {"cpu": 0, "cuda": 0})
        if not all(_is_number(number) for number in numbers.values()):
            raise ContractError(f"The contract's {name} should hold finite numbers, found {numbers!r:.100}.")
        if name in ("tolerance", "flips") and not {"cpu", "cuda"} <= set(numbers):
            raise ContractError(f"The contract's {name} should name cpu and cuda, found {numbers!r:.100}.")
    _check_palette(values)
    weights = values.get("grey_weights", [1, 0, 0])
    if len(weights) != 3 or not all(_is_number(w) and abs(w) < 10 for w in weights) or abs(sum(weights) - 1) > 1e-3:
        raise ContractError(f"The contract's grey_weights should be three numbers that sum to 1, found {weights!r:.60}.")


def _check_palette(values: dict[str, Any]) -> None:
    """The palette of chroma, and the temperature of its mean."""
    pairs = values.get("chroma_palette", [])
    if not all(isinstance(pair, list) and len(pair) == 2 and all(_is_number(v) for v in pair) for pair in pairs):
        raise ContractError(f"The contract's chroma_palette should hold pairs of finite numbers, found {pairs!r:.60}.")
    if not 0 < values.get("temperature", 1.0) < float("inf"):
        raise ContractError(f"The contract's temperature should be above 0, found {values['temperature']!r}.")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


@dataclass(frozen=True)
class GoldenCase:
    """One small input with the outputs that the network gave when it was exported; arrays by graph name."""

    inputs: Arrays
    outputs: Arrays


def pack_golden(cases: list[GoldenCase]) -> str:
    """Golden cases as text for the metadata of an ONNX file: a compressed ``.npz`` in base64."""
    arrays = {
        f"{i}/{kind}/{name}": array
        for i, case in enumerate(cases)
        for kind, group in (("in", case.inputs), ("out", case.outputs))
        for name, array in group.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **cast("dict[str, Any]", arrays))
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def unpack_golden(text: str) -> list[GoldenCase]:
    """Inverse of `pack_golden`; ContractError when the text is damaged."""
    cases: dict[str, GoldenCase] = {}
    try:
        with np.load(io.BytesIO(base64.b64decode(text, validate=True)), allow_pickle=False) as archive:
            for key in archive.files:
                number, kind, name = key.split("/")
                case = cases.setdefault(number, GoldenCase({}, {}))
                (case.inputs if kind == "in" else case.outputs)[name] = archive[key]
    except (ValueError, OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, binascii.Error) as error:
        raise ContractError(f"The golden vectors are damaged: {error}.") from error
    arrays = [array for case in cases.values() for group in (case.inputs, case.outputs) for array in group.values()]
    if not cases or not all(case.inputs and case.outputs for case in cases.values()):
        raise ContractError("The golden vectors are damaged: a case has no input or no output.")
    if len({frozenset(case.outputs) for case in cases.values()}) > 1 or not all(
        array.dtype == np.float32 and array.ndim == 4 and array.size and np.isfinite(array).all() for array in arrays
    ):
        raise ContractError("The golden vectors are damaged: not all are finite float32 of four dimensions.")
    return [cases[number] for number in sorted(cases)]
