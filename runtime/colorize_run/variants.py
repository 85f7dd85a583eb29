"""What counts as a variant of a model, and how much it may lose: one budget for those who make them and those who use them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colorize_run.session import Model

KINDS = ("fp16", "int8")  # a variant of NAME.onnx lies beside it as NAME-KIND.onnx
QUALITY = 0.005  # a variant may lose half a point of each figure that counts, on validation pictures
COUNTED = {"colorize": ("error_reduction", "colourfulness_ratio"), "segment": ("iou",)}  # figures in which more is better


def beside(path: Path) -> list[Path]:
    """Files beside the model at ``path`` that are named as its variants."""
    candidates = (path.with_name(f"{path.stem}-{kind}.onnx") for kind in KINDS)
    return [candidate for candidate in candidates if candidate.is_file()]


def lost(original: Mapping[str, float], variant: Mapping[str, float], counted: tuple[str, ...]) -> float:
    """What the worst of the ``counted`` figures falls by; negative when all rise. KeyError where one is not recorded."""
    return max(original[name] - variant[name] for name in counted)


def refusal(original: "Model", variant: "Model") -> str | None:
    """Why ``variant`` may not stand in for ``original``, as the end of a sentence; None when it may.

    It must carry the original's golden vectors, the same contract but for its own figures, and recorded figures that are
    within the budget. Whether it keeps its tolerance on this machine, `verify` tells.
    """
    ours, theirs = original.contract, variant.contract
    same = ("task", "network", "working_size", "resize", "grey_weights", "palette", "classes", "class_colours")
    if any(getattr(ours, name) != getattr(theirs, name) for name in same) or original.input != variant.input:
        return "has another contract: make it anew with `python -m export variants`"
    if original.has_temperature != variant.has_temperature or set(original.outputs) != set(variant.outputs):
        return "has other inputs or outputs: make it anew with `python -m export variants`"
    if not original.same_golden(variant):
        return "was made of another original: make it anew with `python -m export variants`"
    counted = tuple(f"validation_{name}" for name in COUNTED[ours.task])
    try:
        loss = lost(ours.metrics, theirs.metrics, counted)
    except KeyError as error:
        return f"records no {error.args[0]}, so that nobody knows what it loses"
    if not loss <= QUALITY:
        return f"loses {loss:.4f} of what counts, where {QUALITY} is allowed"
    return None
