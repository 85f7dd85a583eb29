"""``colorize-run models`` and ``verify``: what there is, and whether it computes the same here."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from colorize_run.commands.common import EXIT_CODES, announce, columns, device_option, model_option, say
from colorize_run.errors import ContractError, ModelFileError

all_option = click.option("--all", "all_models", is_flag=True, help="Every model that `colorize-run models` lists.")
figures_option = click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON on stdout.")


@click.command(epilog=EXIT_CODES, short_help="Replay golden vectors on this machine.")
@model_option
@all_option
@device_option
@figures_option
def verify(model: str | None, all_models: bool, device: str, as_json: bool) -> None:
    """Replay the model's golden vectors on this machine; the exit code is 65 if they differ.

    \b
    colorize-run verify                    the default model
    colorize-run verify -m flowers         another model
    colorize-run verify --all --json       every model, as JSON on stdout
    """
    _verify(model, all_models, device, as_json, "-m")


def _verify(model: str | None, all_models: bool, device: str, as_json: bool, naming: str) -> None:
    from colorize_run.model.library import DEFAULT_COLORIZE_MODEL, available_models

    if model and all_models:
        raise click.UsageError(f"{naming} names one model and --all takes every model: use only one of them.")
    if not all_models:
        figures, ok = _verify_one(model or DEFAULT_COLORIZE_MODEL, device)
        if as_json:
            click.echo(json.dumps(figures))
        if not ok:
            sys.exit(65)
        return
    paths = available_models().values()
    outcomes = [_verify_or_say(str(path), device, first=i == 0) for i, path in enumerate(paths)]
    if as_json:
        click.echo(json.dumps([figures for figures, _ in outcomes]))
    failed = sum(not ok for _, ok in outcomes)
    if failed or not outcomes:
        say(f"{failed} of {len(outcomes)} models failed." if outcomes else "There are no models.")
        sys.exit(65)


def _verify_one(model: str, device: str, *, first: bool = True) -> tuple[dict[str, Any], bool]:
    """Replay one model's golden vectors and say how it went; figures, and whether all is well."""
    from colorize_run.model.library import find_model
    from colorize_run.model.session import Model
    from colorize_run.model.verify import verify as replay

    opened = Model(find_model(model), device)
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


contracts_option = click.option("--json", "as_json", is_flag=True, help="Print contracts, sizes and paths as JSON on stdout.")


@click.group(invoke_without_command=True, epilog=EXIT_CODES, short_help="List, show and verify the models that -m knows.")
@contracts_option
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List, show, verify and find the models that -m knows by name.

    \b
    colorize-run models                    lists them: task, size, score, training data
    colorize-run models show photo         everything that the file says about itself
    colorize-run models verify --all       replays their golden vectors
    cp "$(colorize-run models path photo)" elsewhere/
    """
    if context.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError(f"Put --json after the command: colorize-run models {context.invoked_subcommand} --json.")


@models.command("list")
@contracts_option
def list_command(as_json: bool) -> None:
    """List the models: task, size, score and training data.

    \b
    colorize-run models list
    colorize-run models list --json        everything that the files say about themselves
    """
    _list(as_json)


def _list(as_json: bool) -> None:
    from colorize_run.model.describe import describe
    from colorize_run.model.library import available_models

    descriptions, broken = [], 0
    for path in available_models().values():
        try:
            descriptions.append(describe(path))
        except (ContractError, ModelFileError) as error:
            broken += 1
            say(f"error: {error}")
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in descriptions]))
    else:
        for line in columns([entry.row() for entry in descriptions]):
            say(line)
    if broken:
        sys.exit(65)


@models.command()
@click.argument("model", metavar="NAME")
@contracts_option
def show(model: str, as_json: bool) -> None:
    """Show what the file of model NAME, or the file at a path, says about itself.

    \b
    colorize-run models show photo
    colorize-run models show ./my.onnx --json
    """
    from colorize_run.model.describe import describe
    from colorize_run.model.library import find_model

    entry = describe(find_model(model))
    if as_json:
        click.echo(json.dumps(entry.as_dict()))
        return
    say(entry.path.stem)
    for line in columns([(f"  {name}", text) for name, text in entry.facts()]):
        say(line)


@models.command("verify", epilog=EXIT_CODES)
@click.argument("model", metavar="[NAME]", required=False)
@all_option
@device_option
@figures_option
def verify_command(model: str | None, all_models: bool, device: str, as_json: bool) -> None:
    """The same as `colorize-run verify -m NAME`.

    \b
    colorize-run models verify photo
    colorize-run models verify --all --json
    """
    _verify(model, all_models, device, as_json, "NAME")


@models.command()
@click.argument("model", metavar="NAME")
def path(model: str) -> None:
    """Print the path of the file of model NAME on stdout, for use in scripts.

    \b
    colorize-run watch in/ out/ -m "$(colorize-run models path photo-int8)"
    """
    from colorize_run.model.library import find_model

    click.echo(os.fsencode(find_model(model).resolve()))
