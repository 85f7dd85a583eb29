"""Rewriting of exported graphs: a convolution with a zero-inserted filter becomes one with native dilation."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxscript import ir, optimizer
from onnxscript.rewriter import pattern, rewrite

_LIMIT = 1 << 30  # bytes: fold the insertion of zeros into any filter, however large


def _step(filters: npt.NDArray[np.float32]) -> int:
    """Largest step for which all nonzero taps of (out, in, k, k) lie on every step-th row and column."""
    if filters.ndim != 4:  # one- and three-dimensional convolutions are not rewritten
        return 1
    taps = np.flatnonzero(filters.any(axis=(0, 1, 3))), np.flatnonzero(filters.any(axis=(0, 1, 2)))
    step = math.gcd(*(int(tap) for axis in taps for tap in axis))
    side = filters.shape[2]
    # The first and the last tap may be zero by chance: only a step that reaches both is the filter's own.
    return step if step and filters.shape[2] == filters.shape[3] and (side - 1) % step == 0 else 1


class _ToNativeDilation(pattern.RewriteRuleClassBase):
    """Conv over a filter with rows and columns of zeros -> Conv over its taps, with ``dilations``."""

    def pattern(self, op: Any, x: Any, weight: Any, bias: Any) -> Any:
        return op.Conv(x, weight, bias, _outputs=["y"])

    def check(self, context: Any, weight: Any, y: Any, **_: Any) -> bool:  # type: ignore[override]  # called by these names
        attributes = y.producer().attributes
        dilations = attributes["dilations"].as_ints() if "dilations" in attributes else [1, 1]
        return weight.const_value is not None and set(dilations) == {1} and _step(weight.const_value.numpy()) > 1

    def rewrite(self, op: Any, x: Any, weight: Any, y: Any, bias: Any = None) -> Any:
        zero_inserted = weight.const_value.numpy()
        step = _step(zero_inserted)
        taps = np.ascontiguousarray(zero_inserted[:, :, ::step, ::step])
        attributes = {
            name: value for name, value in y.producer().attributes.items() if name not in ("dilations", "kernel_shape")
        }
        filters = op.initializer(ir.tensor(taps), name=f"{weight.name}_taps_of_{y.name}")
        inputs = (x, filters) if bias is None else (x, filters, bias)
        return op.Conv(*inputs, dilations=[step, step], kernel_shape=list(taps.shape[2:]), **attributes)


class _ToNativeDilationWithoutBias(_ToNativeDilation):
    """The same for a convolution without bias."""

    def pattern(self, op: Any, x: Any, weight: Any) -> Any:  # type: ignore[override]
        return op.Conv(x, weight, _outputs=["y"])


def fold_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what depends only on weights, above all the insertion of zeros into filters."""
    folded = optimizer.optimize(ir.from_proto(model), input_size_limit=_LIMIT, output_size_limit=_LIMIT)
    return ir.to_proto(folded)


def to_native_dilation(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every convolution with a zero-inserted filter (`training.layers.DilatedConv2d`) native ``dilations``.

    It computes the same sums of products, without the products with zero. Other graphs only get their constants folded.
    """
    rules = [_ToNativeDilation.rule(), _ToNativeDilationWithoutBias.rule()]  # type: ignore[no-untyped-call]
    return ir.to_proto(rewrite(ir.from_proto(fold_constants(model)), rules))


def has_zero_inserted_filters(model: onnx.ModelProto) -> bool:
    """Whether the filter of a convolution is computed in the graph, or has rows and columns of zeros between its taps."""
    filters = {tensor.name: tensor for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return any(
        node.input[1] not in filters or _step(onnx.numpy_helper.to_array(filters[node.input[1]])) > 1 for node in convolutions
    )
