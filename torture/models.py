"""Broken and malicious models: refused at the start with exit code 65 and one sentence; no other file is read."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from torture.kills import QUICK
from torture.oracle import judge
from torture.rig import Broken, Golden, Watch, picture


def _external(location: str) -> Callable[[Any, Path], bytes]:
    """A model whose weight is in another file."""

    def make(model: Any, _: Path) -> bytes:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        return bytes(model.SerializeToString())

    return make


def _changed(change: Callable[[Any], object]) -> Callable[[Any, Path], bytes]:
    def make(model: Any, _: Path) -> bytes:
        change(model)
        return bytes(model.SerializeToString())

    return make


def _two_channels(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2


def _weights_of_another_shape(model: Any) -> None:
    import numpy as np

    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((3, 5, 7), np.float32), "f"))


BROKEN: dict[str, Callable[[Any, Path], bytes]] = {
    "empty": lambda _model, _folder: b"",
    "text": lambda _model, _folder: b"this is no model\n" * 99,
    "a string of two gigabytes": lambda _model, _folder: b"\x0a\xff\xff\xff\xff\x07" + bytes(99),
    "external data beside it": _external("secret"),
    "external data above it": _external("../secret"),
    "external data at a path": _external("/etc/passwd"),
    "external data by a link": _external("link"),
    "external data by a hard link": _external("hardlink"),
    "a custom operator": _changed(
        lambda model: model.graph.node.append(helper.make_node("Evil", ["ab"], ["x"], domain="evil"))
    ),
    "an opset of the future": _changed(lambda model: setattr(model.opset_import[0], "version", 999)),
    "no contract": _changed(lambda model: model.ClearField("metadata_props")),
    "a contract that is no JSON": _changed(lambda model: setattr(model.metadata_props[0], "value", "{")),
    "two channels": _changed(_two_channels),
    "weights of another shape": _changed(_weights_of_another_shape),
}


def broken(folder: Path, model: Path, golden: Golden, what: str) -> None:
    """A model that must be refused. Errors: Broken."""
    place = _place(folder)
    (place / "model.onnx").write_bytes(BROKEN[what](onnx.load(model), place))
    code, log = _started(folder, place / "model.onnx", Watch)
    if code != 65:
        raise Broken(f"exit code {code}: {log[-300:]}")
    _judge_sentence(log)


def damaged(folder: Path, model: Path, golden: Golden, seed: int, make: Callable[..., Watch] = Watch) -> bool:
    """Bits flipped, or the end cut off, at random: refused, or, where only weights or texts changed, used to the end.

    Returns whether it was refused.
    """
    chance = random.Random(seed)
    data = bytearray(model.read_bytes())
    if seed % 5 == 0:
        del data[chance.randrange(len(data)) :]
    else:
        for _ in range(chance.choice((1, 1, 3, 30))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    place = _place(folder)
    (place / "model.onnx").write_bytes(data)
    code, log = _started(folder, place / "model.onnx", make)
    if code == 65:
        _judge_sentence(log)
        return True
    if code not in (0, 1):
        raise Broken(f"exit code {code}: {log[-300:]}")
    if code == 0:
        judge(Watch(folder, place / "model.onnx"), Golden(place / "model.onnx"), {b"p.jpg": picture(1)})
    return False


def _place(folder: Path) -> Path:
    place = folder / "models"
    place.mkdir(parents=True)
    for path in (place / "secret", folder / "secret"):
        path.write_bytes(b"\0\0\0\0")
    (place / "link").symlink_to("secret")
    os.link(place / "secret", place / "hardlink")
    return place


def _started(folder: Path, model: Path, make: Callable[..., Watch]) -> tuple[int, str]:
    """Exit code and log of a run with one picture, in the model's folder, where relative paths would be found."""
    watch = make(folder, model, *QUICK, "--once", "--incomplete-timeout", "0", "--timeout", "20")
    watch.place = model.parent
    watch.put("p.jpg", picture(1))
    code = watch.run_once(60)
    if code < 0:
        raise Broken(f"the supervisor died of {signal.Signals(-code).name}")
    return code, watch.log.read_text(errors="replace")


def _judge_sentence(log: str) -> None:
    last = log.strip().splitlines()[-1]
    if not last.startswith("Error: ") or "Traceback" in log or "internal error" in log:
        raise Broken(f"no sentence: {log[-300:]}")
