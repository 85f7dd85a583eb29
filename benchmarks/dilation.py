"""What native dilation saves over the filter that was spread by hand: ``python -m benchmarks.dilation [--rounds N]``.

Exports artifacts/checkpoints/dilated-unet.pt with the rewrite and without, as the network alone and as the whole model
with its palette steps, and runs each pair in turn.
"""

import statistics
import time

import click
import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor

from export.rewrite import to_native_dilation
from export.signatures import ColorizeSignature, wrap
from export.specifications import SPECIFICATIONS
from export.to_onnx import ROOT, to_model_proto
from training.checkpoint import load
from training.inspection.describe import layers, macs_without_inserted_zeros

CHECKPOINT = ROOT / "artifacts" / "checkpoints" / "dilated-unet.pt"


class Alone(ColorizeSignature):
    """The network without anything around it."""

    outputs = ("logits",)

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """(N, 1, H, W) -> the logits, (N, K, H, W)."""
        logits: Tensor = self.network(picture)
        return (logits,)


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or waiting threads of one slow the other
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def latency(sessions: list[ort.InferenceSession], side: int, rounds: int) -> list[list[float]]:
    """Seconds of one run at side x side of each session, round by round, in turn."""
    grey = np.random.default_rng(0).random((1, 1, side, side), dtype=np.float32)
    repeats = max(1, 256 * 256 * 8 // side**2)
    found: list[list[float]] = [[] for _ in sessions]
    for i in range(rounds + 1):
        for session, times in zip(sessions, found, strict=True):
            start = time.perf_counter()
            for _ in range(repeats):
                session.run(None, {"grey": grey})
            if i:  # the first round warms up
                times.append((time.perf_counter() - start) / repeats)
    return found


@click.command(help=__doc__)
@click.option("--rounds", type=click.IntRange(1), default=15, show_default=True)
def main(rounds: int) -> None:
    """Measure, and print."""
    checkpoint = load(CHECKPOINT)
    network = checkpoint.build()
    modules = {"network alone": Alone(network, 4).eval(), "whole model": wrap(checkpoint, SPECIFICATIONS["dilated-unet"])}
    for side in (256, 1024):
        inputs = torch.zeros(1, 1, side, side)
        before, after = sum(layer.macs for layer in layers(network, inputs)), macs_without_inserted_zeros(network, inputs)
        click.echo(f"{side} x {side}: {before / 1e6:.0f} -> {after / 1e6:.0f} million MACs (x{after / before:.2f})")
        for name, module in modules.items():
            spread = to_model_proto(module, "dilated-unet")
            times = latency([_session(spread), _session(to_native_dilation(spread))], side, rounds)
            ratios = [new / old for old, new in zip(*times, strict=True)]
            old, new = (1e3 * statistics.median(column) for column in times)
            spread_of = f"from {min(ratios):.2f} to {max(ratios):.2f}"
            click.echo(f"  {name}: {old:.1f} -> {new:.1f} ms, ratio {statistics.median(ratios):.2f} ({spread_of})")


if __name__ == "__main__":
    main()
