"""What an exported file says of itself: its contract, and golden vectors that prove it."""

import onnx
import torch
from colorize_run.model.contract import CONTRACT_KEY, GOLDEN_KEY, INPUTS, Contract, GoldenCase, pack_golden
from torch import Tensor

from export import parity
from export.signatures import PhotoSignature, Signature
from export.specifications import Specification
from training.checkpoint import Checkpoint
from training.families import family_of


def contract_of(checkpoint: Checkpoint, module: Signature, specification: Specification, figures: dict[str, float]) -> Contract:
    """The contract of ``module``, the checkpoint's network; ``figures`` are those of the proof of parity."""
    arguments = ", ".join(f"{name}={value}" for name, value in checkpoint.arguments.items())
    family = family_of(checkpoint.kind)
    colours = checkpoint.colours if checkpoint.kind.target == "palette" else checkpoint.colours[:0]
    return Contract(
        task=family.runtime_task,
        name=specification.name,
        network=f"{checkpoint.kind.build.__name__}({arguments})",
        working_size=specification.working_size,
        resize="pillow-bilinear",
        grey_weights=family.grey_weights,
        classes=tuple(family.mask_classes),
        class_colours=tuple(family.mask_classes.values()),
        palette=tuple(tuple(int(v) for v in colour) for colour in (colours * 256).round().clip(0, 255)),
        chroma_palette=_chroma_palette(module),
        temperature=float(specification.temperature),
        licence=specification.licence,
        training_data=checkpoint.training_data,
        metrics=checkpoint.metrics,
        parity=figures,
    )


def _chroma_palette(module: Signature) -> tuple[tuple[float, ...], ...]:
    """a*, b* of each of the logits, for a network that gives some."""
    if not isinstance(module, PhotoSignature):
        return ()
    return tuple(tuple(round(float(value), 4) for value in colour) for colour in module.network.palette)


def golden_cases(module: Signature, source: str) -> list[GoldenCase]:
    """Small inputs with PyTorch's own outputs: noise, and a real photograph at two odd sizes, maybe with hints."""
    cases = []
    for case in parity.golden_inputs(INPUTS[source], hinted=module.hinted):
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = module(*map(torch.from_numpy, case.inputs))
        arrays = {name: out.numpy() for name, out in zip(module.outputs, outputs, strict=True)}
        cases.append(GoldenCase(case.feed(source), arrays))
    return cases


def stamp(model: onnx.ModelProto, contract: Contract, cases: list[GoldenCase]) -> None:
    """Write ``contract`` and golden vectors into ``model``, in place."""
    onnx.helper.set_model_props(model, {CONTRACT_KEY: contract.to_json(), GOLDEN_KEY: pack_golden(cases)})
