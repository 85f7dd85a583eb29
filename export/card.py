"""The facts of a model card, read from the model file itself."""

from collections.abc import Mapping
from pathlib import Path

from colorize_run.model.session import Model

_FORMATS = {
    "loss": "loss {:.4f}",
    "mse": "MSE {:.2e}",
    "accuracy": "pixel accuracy {:.2%}",
    "balanced_accuracy": "balanced accuracy {:.2%}",
    "ab_error": "mean distance in a*b* {:.2f}",
    "psnr": "PSNR {:.2f} dB",
    "expected_psnr": "PSNR of the mean colour {:.2f} dB",
    "colourfulness": "colourfulness {:.1f}",
    "true_colourfulness": "of the truth {:.1f}",
    "ssim": "SSIM {:.3f}",
    "error_reduction": "error {:.1%} below that of grey pictures",
    "colourfulness_ratio": "{:.2f} of the truth's colourfulness",
    "saturated_error_reduction": "on the most saturated quarter {:.1%}",
    "saturated_colourfulness_ratio": "and {:.2f}",
    "near_grey": "near-grey results {:.1%}",
    "hints_1_error_reduction": "with one true hint another {:.1%} lower",
    "hints_10_error_reduction": "with ten {:.1%}",
    "iou": "IoU of the flowers {:.2%}",
    "mean_iou": "of both classes {:.2%}",
    "picture_iou": "mean of the pictures' {:.2%}",
    "thresholded_iou": "thresholded {:.3f}",
    "boundary_f": "F-score of outlines {:.3f}",
}
_BACKENDS = ("onnxruntime", "onnxruntime-unoptimised", "onnx.reference")


def _of(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """The figures of a split, without its name."""
    return {name.removeprefix(split): value for name, value in metrics.items() if name.startswith(split)}


def _scores(figures: Mapping[str, float]) -> str:
    return ", ".join(form.format(figures[name]) for name, form in _FORMATS.items() if name in figures).replace("%", " %")


def facts(path: Path) -> str:
    """Markdown table of the contract in a model file. Errors: ModelFileError, ContractError."""
    model = Model(path.resolve(), "cpu")
    contract, size = model.contract, model.contract.working_size
    parity = ", ".join(f"{name} {contract.parity[name]:.1e}" for name in _BACKENDS if name in contract.parity)
    if "rewrite" in contract.parity:
        parity += f"; native dilation against the zero-inserted filter {contract.parity['rewrite']:.1e}"
    if "flowers_flips" in contract.parity:
        flips, iou = contract.parity["flowers_flips"], contract.parity["flowers_iou"]
        parity += f"; on validation flowers {flips:.1e} of the pixels flip, IoU {iou:.1e} off"
    if "original" in contract.parity:
        parity = f"of the original: {parity}; this variant is {contract.parity['original']:.1e} from it on its golden vectors"
    planes = "`grey` (N, 1, H, W)" if model.input == "grey" else "`image` (N, 3, H, W), R, G, B"
    optional = " and maybe `hints` (N, 3, H, W)" if model.has_hints else ""
    outputs = ", ".join(f"`{name}`" for name in model.outputs)
    rows = {
        "network": f"`{contract.network}`, {path.stat().st_size / 1e6:.1f} MB",
        "signature": f"{planes}, 0..1{optional} -> {outputs}; any N, H, W",
        "training data": contract.training_data,
        "validation": _scores(_of(contract.metrics, "validation_") or contract.metrics),
        **({"sources never trained on": _scores(unseen)} if (unseen := _of(contract.metrics, "sources_")) else {}),
        "working size": f"short side {size.short_side}, multiple of {size.multiple}, long side at most {size.maximum}",
        "parity with PyTorch, share of the output's range": f"{parity}; flipped pixels in the worst case"
        f" {contract.parity.get('flips', 0):.1e}",
        "licence": f"{contract.licence} (weights and graph)",
    }
    head = f"## `{path.name}`\n| | |\n|---|---|\n"
    return head + "\n".join(f"| {name} | {value} |" for name, value in rows.items()) + "\n"
