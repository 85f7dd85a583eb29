"""``colorize-run tune``: measure once what is fastest here, and let the other commands use it."""

import datetime
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colorize_run.commands.bench import size_option
from colorize_run.commands.common import EXIT_CODES, columns, cuda_fault, progress, say
from colorize_run.errors import OptionError, OutputError

if TYPE_CHECKING:
    from colorize_run.diagnostics.profile import ProfileEntry
    from colorize_run.diagnostics.tune import Measured


@click.command(epilog=EXIT_CODES, short_help="Find the fastest settings on this machine, and save them.")
@click.option("-m", "--model", "models", multiple=True, help="Tune this model; may be repeated.  [default: photo and flowers]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="auto: try every device that works.")  # fmt: skip
@size_option
@click.option(
    "--rounds",
    type=click.IntRange(3, 10_000),
    default=12,
    show_default=True,
    help="Rounds after two warm-up rounds.",
)
@click.option("--show", is_flag=True, help="Show the saved profile, and whether it fits this machine.")
@click.option("--forget", is_flag=True, help="Remove the saved profile.")
@click.option("--json", "as_json", is_flag=True, help="Print the choices as one JSON object on stdout.")
def tune(
    models: tuple[str, ...], device: str, size: tuple[int, int], rounds: int, show: bool, forget: bool, as_json: bool
) -> None:
    """Find the fastest way to run a model on this machine, and save it for `colorize` and `segment`.

    \b
    colorize-run tune                      photo and flowers: about a minute
    colorize-run tune -m unet-large        another model
    colorize-run tune --show
    colorize-run tune --forget             removes the profile

    It measures the model and the variants beside it (NAME-int8.onnx, NAME-fp16.onnx), devices and numbers of threads.
    A variant takes part only if its recorded figures are within half a point of the original's, and if it matches its
    golden vectors here. The choice must be at least 5 % faster than the settings without a profile.

    Commands that use the profile say so. It never replaces a file named by -m, or a device named by --device.
    COLORIZE_RUN_PROFILE= (empty) disables it for one run. Options such as --working-size are never tuned.
    """
    from colorize_run.diagnostics import profile

    if show and forget:
        raise click.UsageError("--show and --forget cannot be combined.")
    path = profile.profile_path()
    if path is None:
        raise OptionError(f"There is no folder for a profile: set {profile.VARIABLE} to a path.")
    if forget:
        _forget(path)
    elif show:
        _show(path, as_json)
    else:
        _tune(path, models, device, size, rounds, as_json)


def _forget(path: Path) -> None:
    if not os.path.lexists(path):
        say(f"There is no profile at {path}.")
        return
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be removed: {error.strerror}.") from error
    say(f"removed {path}")


def _read(path: Path) -> "dict[str, ProfileEntry]":
    """The entries of the profile, none when there is no file. Errors: OptionError for one that cannot be read."""
    from colorize_run.diagnostics import profile

    try:
        return profile.read(path)
    except (OSError, ValueError) as error:
        raise OptionError(f"The profile {path} cannot be read ({error}): `colorize-run tune --forget` removes it.") from error


def _show(path: Path, as_json: bool) -> None:
    from colorize_run.diagnostics import profile

    entries = _read(path)
    report = {name: {**asdict(entry), "misfit": profile.misfit(entry, name, cuda_fault)} for name, entry in entries.items()}
    if as_json:
        click.echo(json.dumps({"profile": str(path), "models": report}))
        return
    say(str(path) if entries else f"There is no profile at {path}.")
    for name, entry in entries.items():
        reason = report[name]["misfit"]
        say(f"  {name}: {entry.text}" + (f"; ignored: {reason}" if reason else ""))


def _tune(path: Path, models: tuple[str, ...], device: str, size: tuple[int, int], rounds: int, as_json: bool) -> None:
    from colorize_run.diagnostics import profile
    from colorize_run.diagnostics.timing import photograph
    from colorize_run.model.library import DEFAULT_COLORIZE_MODEL, DEFAULT_SEGMENT_MODEL

    entries, data = _read(path), photograph(*size)
    profile.make_room(path)  # before a minute is spent
    report: dict[str, Any] = {}
    for name in models or (DEFAULT_COLORIZE_MODEL, DEFAULT_SEGMENT_MODEL):
        measured, chosen = _measure(name, device, data, rounds)
        key, entry = profile.key(name), _entry(name, chosen)
        entries[key] = entry
        profile.write(path, entries)
        report[key] = {**asdict(entry), "measured": [
            {**each.candidate.about, **each.times.as_dict(), "ratio": each.ratio} for each in measured
        ]}  # fmt: skip
        _report(key, entry, measured, chosen)
    if as_json:
        click.echo(json.dumps({"profile": str(path), "models": report}))
    say(f"written to {path}")


def _measure(name: str, device: str, data: bytes, rounds: int) -> "tuple[list[Measured], Measured]":
    from colorize_run.diagnostics import tune as tuning
    from colorize_run.diagnostics.timing import WARM_UP, devices
    from colorize_run.model.describe import describe
    from colorize_run.model.library import find_model

    original = find_model(name).resolve()
    task = describe(original).contract.task
    proven = tuning.eligible(original, devices(device, original), lambda text: say(f"note: {text}"))
    candidates = tuning.candidates(task, original, proven)
    with progress(f"{original.stem}: {len(candidates)} candidates", rounds + WARM_UP) as tick:
        measured = tuning.measure(candidates, data, rounds, tick)
    return measured, tuning.choose(measured)


def _entry(name: str, chosen: "Measured") -> "ProfileEntry":
    from colorize_run.diagnostics import profile
    from colorize_run.model.library import find_model

    candidate = chosen.candidate
    return profile.ProfileEntry(
        profile.digest(find_model(name)), str(candidate.path), candidate.model.sha256, candidate.model.device.name,
        candidate.threads, profile.machine(), datetime.datetime.now(datetime.UTC).date().isoformat(),
    )  # fmt: skip


def _report(key: str, entry: "ProfileEntry", measured: "list[Measured]", chosen: "Measured") -> None:
    from colorize_run.system.files import counted

    cells = [
        (
            f"  {each.candidate.path.stem}", each.candidate.model.device.name, counted(each.candidate.threads, "thread"),
            f"median {1e3 * each.times.median:.1f} ms", f"x{each.ratio:.2f}", "<- chosen" if each is chosen else "",
        )
        for each in measured
    ]  # fmt: skip
    for line in columns(cells):
        say(line)
    say(f"{key}: {entry.text}, x{chosen.ratio:.2f} of the time without a profile")
