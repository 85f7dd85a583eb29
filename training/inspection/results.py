"""A table of training runs, for comparing networks and recipes."""

import json
from pathlib import Path
from typing import Any

from training.errors import TrainingError

# heading -> (key of metrics, factor, format)
_COLUMNS = {
    "loss": ("loss", 1, "{:.4f}"),
    "MSE": ("mse", 1, "{:.2e}"),
    "IoU": ("iou", 1, "{:.3f}"),
    "mean IoU": ("mean_iou", 1, "{:.3f}"),
    "accuracy %": ("accuracy", 100, "{:.2f}"),
    "balanced %": ("balanced_accuracy", 100, "{:.2f}"),
    "a*b* error": ("ab_error", 1, "{:.2f}"),
    "PSNR dB": ("psnr", 1, "{:.2f}"),
    "of mean": ("expected_psnr", 1, "{:.2f}"),
    "colourfulness": ("colourfulness", 1, "{:.1f}"),
    "of truth": ("true_colourfulness", 1, "{:.1f}"),
    "error below grey %": ("error_reduction", 100, "{:.1f}"),
    "of saturated": ("saturated_error_reduction", 100, "{:.1f}"),
    "colourfulness ratio": ("colourfulness_ratio", 1, "{:.2f}"),
    "of saturated ": ("saturated_colourfulness_ratio", 1, "{:.2f}"),
    "SSIM": ("ssim", 1, "{:.3f}"),
    "near-grey %": ("near_grey", 100, "{:.1f}"),
    "of pictures": ("picture_iou", 1, "{:.3f}"),
    "thresholded": ("thresholded_iou", 1, "{:.3f}"),
    "outlines": ("boundary_f", 1, "{:.3f}"),
}


def read(run: Path) -> dict[str, Any]:
    """Read ``metrics.json`` in the folder of a run. Errors: TrainingError."""
    path = run / "metrics.json"
    try:
        report: dict[str, Any] = json.loads(path.read_text())
        report["recipe"]["epochs"], report["parameters"], report["metrics"].items(), report["seconds"] / 60, report["device"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fix = f"; give {run.parent}" if run.is_file() else ""
        raise TrainingError(f"{path} is missing or damaged: {run} is not the folder of a finished run{fix}.") from error
    return report


def table(reports: dict[Path, dict[str, Any]]) -> str:
    """Markdown table: one row for each run, columns for every figure that any of them has."""
    metrics = [
        {name.removeprefix("validation_"): value for name, value in report["metrics"].items()} for report in reports.values()
    ]
    columns = {heading: column for heading, column in _COLUMNS.items() if any(column[0] in row for row in metrics)}
    lines = [
        "| " + " | ".join(["run", "epochs", "parameters", *columns, "minutes", "device"]) + " |",
        "|---|" + "---:|" * (len(columns) + 3) + "---|",
    ]
    for (run, report), row in zip(reports.items(), metrics, strict=True):
        figures = [form.format(factor * row[key]) if key in row else "" for key, factor, form in columns.values()]
        head = [run.name, str(report["recipe"]["epochs"]), f"{report['parameters']:,}"]
        lines.append("| " + " | ".join([*head, *figures, f"{report['seconds'] / 60:.1f}", report["device"]]) + " |")
    return "\n".join(lines)
