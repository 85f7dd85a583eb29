"""``colorize-run bench``: how fast this machine is, against what decoding and encoding alone cost."""

import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from colorize_run.commands.common import EXIT_CODES, columns, progress, say
from colorize_run.errors import ImageFileError

if TYPE_CHECKING:
    from colorize_run.diagnostics.bench import Report, Row, Subject

MAX_PIXELS = 50_000_000  # of the picture that is made


def _size(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[int, int]:
    """Callback of WIDTHxHEIGHT: (width, height), each at least 16, and no more than MAX_PIXELS in all."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", value)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if min(sides) < 16 or sides[0] * sides[1] > MAX_PIXELS:
        raise click.BadParameter(
            f"{value} is not a size such as 1600x1200: at least 16 pixels a side, at most {MAX_PIXELS // 10**6} megapixels."
        )
    return sides


size_option = click.option(
    "--size",
    default="1600x1200",
    callback=_size,
    metavar="WIDTHxHEIGHT",
    show_default=True,
    help="Size of the generated test JPEG.",
)


@click.command(epilog=EXIT_CODES, short_help="Measure how fast models are on this machine.")
@click.option(
    "-m", "--model", "models", multiple=True, help="Measure this model; may be repeated.  [default: photo and flowers]"
)
@click.option(
    "--variants/--no-variants", default=True, show_default=True, help="Also measure the fp16 and int8 files beside the model."
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True,
              help="auto: every device that works.")  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1, 1024), multiple=True, help="Number of threads; may be repeated.  [default: 1, and all]"
)
@click.option("--batch", type=click.IntRange(1, 1024), multiple=True, default=[1], show_default=True,
              help="Pictures in one run of the network; may be repeated.")  # fmt: skip
@size_option
@click.option("--picture", type=click.Path(), help="Measure with this picture file instead of a generated one.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    default=12,
    show_default=True,
    help="Rounds after two warm-up rounds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object on stdout.")
def bench(
    models: tuple[str, ...], variants: bool, device: str, threads: tuple[int, ...], batch: tuple[int, ...],
    size: tuple[int, int], picture: str | None, rounds: int, as_json: bool,
) -> None:  # fmt: skip
    """Measure cold start, latency and throughput of models, devices, threads and batches on this machine.

    \b
    colorize-run bench                                     both default models and their variants: about a minute
    colorize-run bench -m photo --threads 1 --threads 2 --batch 1 --batch 8
    colorize-run bench --picture scan.tif --rounds 5 --json > bench.json

    Candidates are measured in turn, round by round. A busy machine still makes the figures noisy. Ctrl-C shows the
    figures so far.
    """
    from colorize_run.diagnostics import bench as measures

    data, suffix = _input(picture, size)
    groups = _groups(models, variants, device)
    plan = Plan(data, rounds, threads or _all_threads(), batch)
    report = measures.Report()
    try:
        subjects = [subject for group in groups for subject in group]
        report.cold_start = measures.cold_starts(subjects, data, suffix, rounds, progress)
        for group in groups:
            _measure(group, plan, report)
    except KeyboardInterrupt:
        if not as_json:
            _show(report, plan)
        raise
    if as_json:
        click.echo(json.dumps(_as_dict(report, plan)))
    else:
        _show(report, plan)


@dataclass(frozen=True)
class Plan:
    """What is measured with: a picture file's bytes, rounds, and the choices."""

    data: bytes
    rounds: int
    threads: tuple[int, ...]
    batches: tuple[int, ...]


def _all_threads() -> tuple[int, ...]:
    from colorize_run.system.hardware import available_threads

    return tuple(sorted({1, available_threads()}))


def _input(picture: str | None, size: tuple[int, int]) -> tuple[bytes, str]:
    """The picture file's bytes and its suffix; an error of its own when it is no picture."""
    from PIL import Image

    from colorize_run.diagnostics.timing import photograph
    from colorize_run.image import reader
    from colorize_run.system.files import MAX_PIXELS, printable

    Image.MAX_IMAGE_PIXELS = None  # our own limit names the way out
    if picture is None:
        return photograph(*size), ".jpg"
    try:
        reader.read(Path(picture), MAX_PIXELS)
        return Path(picture).read_bytes(), Path(picture).suffix
    except ImageFileError as error:
        raise type(error)(f"{printable(picture)} {error}") from error


def _groups(models: tuple[str, ...], variants: bool, device: str) -> "list[list[Subject]]":
    """What is compared: each model, with the variants beside it."""
    from colorize_run.diagnostics.bench import Subject
    from colorize_run.diagnostics.timing import devices
    from colorize_run.model.describe import describe
    from colorize_run.model.library import DEFAULT_COLORIZE_MODEL, DEFAULT_SEGMENT_MODEL, beside, find_model

    groups, known = [], set[Path]()
    for name in models or (DEFAULT_COLORIZE_MODEL, DEFAULT_SEGMENT_MODEL):
        original = find_model(name)
        new = [path for path in (original, *(beside(original) if variants else ())) if path not in known]
        known.update(new)
        groups.append([Subject(describe(path).contract.task, path, devices(device, path)) for path in new])
    return [group for group in groups if group]


def _measure(group: "list[Subject]", plan: Plan, report: "Report") -> None:
    from colorize_run.diagnostics import bench as measures
    from colorize_run.diagnostics.timing import WARM_UP, Candidate

    candidates = [
        Candidate(subject.task, subject.path, device, threads)
        for subject in group
        for device in subject.devices
        for threads in plan.threads
    ]
    names = ", ".join(subject.path.stem for subject in group)
    with progress(f"pictures: {names}", plan.rounds + WARM_UP) as tick:
        report.pictures += measures.pictures(candidates, plan.data, plan.rounds, tick)
    with progress(f"networks: {names}", plan.rounds + WARM_UP) as tick:
        report.network += measures.network(candidates, plan.batches, plan.rounds, tick)


def _as_dict(report: "Report", plan: Plan) -> dict[str, Any]:
    from colorize_run.diagnostics.profile import machine
    from colorize_run.version import __version__

    return {
        "machine": {"colorize-run": __version__, **machine()}, "picture": _picture(plan.data), "rounds": plan.rounds,
        **asdict(report),
    }  # fmt: skip


def _picture(data: bytes) -> dict[str, Any]:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return {"format": image.format, "width": image.width, "height": image.height, "bytes": len(data)}


def _show(report: "Report", plan: Plan) -> None:
    """The tables, for a person."""
    about = _picture(plan.data)
    picture = f"{about['width']} x {about['height']} {about['format']} of {about['bytes'] / 1e6:.1f} MB"
    _table(f"cold start: a process from its start to its first picture, {picture}", report.cold_start, lambda row: [])
    _table(
        f"picture: read, network, join, write, {picture}",
        report.pictures,
        lambda row: [
            f"{row['pictures_per_s']:.1f}/s",
            f"x{row['times_floor']:.2f} the time of reading and writing alone ({1e3 * row['floor_s']:.1f} ms)",
        ],
    )
    _table(
        "network alone, on squares of its working size",
        report.network,
        lambda row: [f"{row['pictures_per_s']:.1f}/s", f"{row['side']} x {row['side']}", f"batch {row['batch']}"],
    )


def _table(title: str, rows: "list[Row]", more: "Callable[[Row], list[str]]") -> None:
    from colorize_run.system.files import counted

    if not rows:
        return
    say(title)
    cells = [
        (
            f"  {row['model']}",
            row["device"],
            counted(row["threads"], "thread") if "threads" in row else "",
            f"median {1e3 * row['median_s']:.1f} ms",
            f"p95 {1e3 * row['p95_s']:.1f} ms",
            *more(row),
        )
        for row in rows
    ]
    for line in columns(cells):
        say(line)
