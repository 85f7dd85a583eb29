"""Proof on this machine, without PyTorch, that a model file still computes what it computed when it was exported."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from colorize_run.model.contract import Arrays
from colorize_run.model.session import Model

DISCRETE_OUTPUTS = ("rgb",)  # chosen by argmax: pixels are equal or flipped, never a little off
CHOSEN_OUTPUTS = (*DISCRETE_OUTPUTS, "probabilities")  # of which the largest is taken: pixels may flip


@dataclass(frozen=True)
class Difference:
    """How far one output is from its reference.

    ``error``: largest absolute difference as a share of the reference's range; for a discrete output 0.
    ``flips``: for a discrete output, the share of pixels that differ, for probabilities, of those whose most probable
    class does; otherwise 0.
    """

    error: float
    flips: float


def compare(name: str, actual: npt.NDArray[np.float32], reference: npt.NDArray[np.float32], span: float) -> Difference:
    """Compare output ``name``, both (N, C, H, W); ``span`` is the range (max - min) of the reference, at least.

    A NaN or infinity anywhere, or another shape, is an infinite error.
    """
    if actual.shape != reference.shape or not (np.isfinite(actual).all() and np.isfinite(reference).all()):
        return Difference(float("inf"), 1.0)
    if name in DISCRETE_OUTPUTS:
        differs = (np.abs(actual - reference) > 1e-4).any(axis=1)
        return Difference(0.0, float(differs.mean()))
    error = float(np.abs(actual.astype(np.float64) - reference).max(initial=0.0))
    flips = float((actual.argmax(axis=1) != reference.argmax(axis=1)).mean()) if name in CHOSEN_OUTPUTS else 0.0
    return Difference(error / span if span > 0 else error, flips)


def spans(outputs: list[Arrays]) -> dict[str, float]:
    """The range (max - min) of each output over all cases."""
    return {name: float(max(o[name].max() for o in outputs) - min(o[name].min() for o in outputs)) for name in outputs[0]}


@dataclass(frozen=True)
class Verification:
    """Outcome of replaying a model's golden vectors."""

    name: str
    device: str
    cases: int
    error: float
    tolerance: float
    flips: float
    flips_allowed: float

    @property
    def ok(self) -> bool:
        """Whether every output was within its tolerance."""
        return self.error <= self.tolerance and self.flips <= self.flips_allowed


def verify(model: Model) -> Verification:
    """Replay the golden vectors of ``model``. Errors: ContractError when it has none, DeviceError."""
    cases = model.golden()
    span = spans([case.outputs for case in cases])
    worst = Difference(0.0, 0.0)
    for case in cases:
        outputs = model.run(case.inputs, list(case.outputs))
        for name, reference in case.outputs.items():
            difference = compare(name, outputs[name], reference, span[name])
            worst = Difference(max(worst.error, difference.error), max(worst.flips, difference.flips))
    device, contract = model.device.name, model.contract
    return Verification(
        contract.name, device, len(cases), worst.error, contract.tolerance[device], worst.flips, contract.flips[device]
    )
