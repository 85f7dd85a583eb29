"""``colorize-run models`` and ``verify``: what there is, and whether it computes the same here."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from colorize_run.commands.common import announce, device_option, model_option, say
from colorize_run.errors import ContractError, ModelFileError


@click.command()
@model_option
@click.option("--all", "all_models", is_flag=True, help="Every model that `colorize-run models` lists.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on stdout.")
def verify(model: str | None, all_models: bool, device: str, as_json: bool) -> None:
    """Replay the model's golden vectors on this machine; exit 65 when they differ."""
    from colorize_run.models import DEFAULT_COLORIZE_MODEL, available_models

    if model and all_models:
        raise click.UsageError("-m names one model, --all takes every one: choose.")
    if not all_models:
        found, ok = _verify_one(model or DEFAULT_COLORIZE_MODEL, device)
        if as_json:
            click.echo(json.dumps(found))
        if not ok:
            sys.exit(65)
        return
    paths = available_models().values()
    outcomes = [_verify_or_say(str(path), device, first=i == 0) for i, path in enumerate(paths)]
    if as_json:
        click.echo(json.dumps([found for found, _ in outcomes]))
    failed = sum(not ok for _, ok in outcomes)
    if failed or not outcomes:
        say(f"{failed} of {len(outcomes)} models failed." if outcomes else "There are no models.")
        sys.exit(65)


def _verify_one(model: str, device: str, *, first: bool = True) -> tuple[dict[str, Any], bool]:
    """Replay one model's golden vectors and say how it went; figures, and whether all is well."""
    from colorize_run.session import Model
    from colorize_run.verify import verify as replay

    opened = Model(model, device)
    if first:
        announce(device, opened)
    outcome = replay(opened)
    say(
        f"{outcome.name} on {outcome.device}: {'ok' if outcome.ok else 'DIFFERS'}, {outcome.cases} golden cases, largest error"
        f" {outcome.error:.1e} of the range (allowed {outcome.tolerance:.0e}), {outcome.flips:.2%} of pixels flipped"
        f" (allowed {outcome.flips_allowed:.2%})"
    )
    return {**asdict(outcome), "ok": outcome.ok, "sha256": opened.sha256}, outcome.ok


def _verify_or_say(model: str, device: str, *, first: bool) -> tuple[dict[str, Any], bool]:
    """The same for one of many: a broken file is said, and does not keep the others from their turn."""
    try:
        return _verify_one(model, device, first=first)
    except (ContractError, ModelFileError) as error:
        say(f"error: {error}")
        return {"name": Path(model).stem, "ok": False, "error": str(error)}, False


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print contracts, sizes and paths as JSON on stdout.")
def models(as_json: bool) -> None:
    """List the models that -m knows by name: task, size, score, and what they learnt from."""
    from colorize_run.models import available_models, describe

    found, broken = [], 0
    for path in available_models().values():
        try:
            found.append(describe(path))
        except (ContractError, ModelFileError) as error:
            broken += 1
            say(f"error: {error}")
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in found]))
    else:
        for line in _columns([entry.row() for entry in found]):
            say(line)
    if broken:
        sys.exit(65)


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines, each column but the last as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
