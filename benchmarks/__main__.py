"""Speed and memory of the runtime on this machine: ``python -m benchmarks [--model MODEL] [--rounds N]``.

A comparison is made round by round within one run, and the median of the rounds' ratios is quoted: machines are
shared and noisy, and a ratio of neighbours is not.
"""

import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import click

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does, before NumPy is imported
os.environ["COLORIZE_RUN_PROFILE"] = ""  # what `colorize-run tune` chose here is not what is measured

import numpy as np
import numpy.typing as npt
from colorize_run import Colorizer
from colorize_run.control import Control
from colorize_run.diagnostics.timing import seconds
from colorize_run.network import Result
from PIL import Image

SAMPLES = Path(__file__).resolve().parents[1] / "docs" / "samples"


def twelve_megapixels(mode: str = "RGB") -> bytes:
    """A 4000 x 3000 JPEG of about 5 MB: an enlarged photograph with the grain of a camera.

    ``mode``: RGB for one in colour, L for a grey one, or "grey in colour" for a grey one that is coded in colour.
    """
    with Image.open(SAMPLES / "coffee.jpg") as photograph:
        large = photograph.resize((4000, 3000), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(0).normal(0, 8, (3000, 4000, 1))
    noisy = (np.asarray(large) + grain).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(noisy)
    image = image if mode == "RGB" else image.convert("L") if mode == "L" else image.convert("L").convert("RGB")
    image.save(file, "JPEG", quality=92)
    return file.getvalue()


ROADS = {  # what comes in, and what stays as it is
    "grey, its own luma": ("L", Control()),
    "grey, CIELAB's lightness": ("L", Control(lightness="cielab")),
    "grey but coded in colour, its own luma": ("grey in colour", Control()),
    "grey but coded in colour, CIELAB's lightness": ("grey in colour", Control(lightness="cielab")),
    "in colour, its own luma": ("RGB", Control()),
    "in colour, CIELAB's lightness": ("RGB", Control(lightness="cielab")),
}


def end_to_end(model: str, rounds: int) -> None:
    """12 Mpx JPEG: the whole of `Colorizer.colorize_file` against decode + encode in colour + session.run alone, in turn."""
    colorizer = Colorizer(model, "cpu")
    for name, (mode, control) in ROADS.items():
        _against_the_floor(colorizer, rounds, name, twelve_megapixels(mode), control)


def _against_the_floor(colorizer: Colorizer, rounds: int, name: str, data: bytes, control: Control) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        tables = image.quantization  # type: ignore[attr-defined]
        width, height = colorizer.contract.working_size.fit(*image.size)
        pad = colorizer.contract.working_size.pad
        grey: npt.NDArray[np.float32] = np.random.default_rng(0).random((1, 1, pad(height), pad(width)), dtype=np.float32)

        def decode() -> None:
            with Image.open(io.BytesIO(data)) as again:
                again.load()

        result = image.convert("RGB")

        def encode() -> None:
            result.save(io.BytesIO(), "JPEG", qtables=tables)

        floor, whole, ratios = [], [], []
        for i in range(rounds + 1):
            parts = [seconds(decode), seconds(encode), seconds(lambda: colorizer.model.run({"grey": grey}, ["ab"]))]
            total = seconds(lambda: colorizer.colorize_file(io.BytesIO(data), control=control))
            if i:  # the first round warms up
                floor.append(parts)
                whole.append(total)
                ratios.append(total / sum(parts))
    decode_s, encode_s, run_s = (statistics.median(column) for column in zip(*floor, strict=True))
    click.echo(
        f"12 Mpx JPEG {name}, {len(data) / 1e6:.1f} MB, {colorizer.contract.name}, {colorizer.model.threads} threads,"
        f" {rounds} rounds:"
    )
    click.echo(f"  floor: decode {1e3 * decode_s:.0f} + encode {1e3 * encode_s:.0f} + session.run {1e3 * run_s:.1f} ms")
    click.echo(f"  whole: {1e3 * statistics.median(whole):.0f} ms; ratio {statistics.median(ratios):.2f}"
               f" (from {min(ratios):.2f} to {max(ratios):.2f})")  # fmt: skip
    _, account = colorizer.colorize_file(io.BytesIO(data), control=control)
    stages = ", ".join(f"{name} {1e3 * value:.0f}" for name, value in account.seconds.items())
    click.echo(f"  stages of one run, ms: {stages}; chroma moved into gamut in {account.out_of_gamut:.2%} of the pixels")


def formats(model: str) -> None:
    """12 Mpx of other formats: where the time goes."""
    colorizer = Colorizer(model, "cpu")
    grey = Image.open(io.BytesIO(twelve_megapixels("L")))
    deep = np.asarray(grey).astype(np.uint16) * 257
    deep += np.random.default_rng(0).integers(0, 256, deep.shape, dtype=np.uint16)
    for name, image, kind, options in (
        ("PNG", grey, "PNG", {}),
        ("WebP", grey.convert("RGB"), "WEBP", {"quality": 90}),
        ("TIFF of 16 bits", Image.fromarray(deep), "TIFF", {"compression": "tiff_adobe_deflate"}),
    ):
        file = io.BytesIO()
        image.save(file, kind, **options)
        account = min((colorizer.colorize_file(io.BytesIO(file.getvalue()))[1] for _ in range(2)), key=_total)
        rest = _total(account) / sum(account.seconds[stage] for stage in ("decode", "network", "encode"))
        stages = ", ".join(f"{stage} {1e3 * value:.0f}" for stage, value in account.seconds.items())
        click.echo(f"12 Mpx {name}: {rest:.2f} times its own decode + encode + network; ms: {stages}")


def _total(account: Result) -> float:
    return sum(account.seconds.values())


def network(model: str, rounds: int) -> None:
    """The network alone, on a square of 256 pixels and at its own working size."""
    colorizer = Colorizer(model, "cpu")
    for side in (256, colorizer.contract.working_size.short_side):
        grey: npt.NDArray[np.float32] = np.random.default_rng(0).random((1, 1, side, side), dtype=np.float32)
        found = [seconds(partial(colorizer.model.run, {"grey": grey}, ["ab"])) for _ in range(rounds + 1)][1:]
        click.echo(f"network alone, {side} x {side}: median {1e3 * statistics.median(found):.1f} ms"
                   f" (from {1e3 * min(found):.1f} to {1e3 * max(found):.1f})")  # fmt: skip


def process(*arguments: str) -> tuple[float, int]:
    """Wall-clock seconds and peak memory in MB of one ``colorize-run`` process."""
    # VmHWM, unlike ru_maxrss, does not count what this process held when it forked.
    code = (
        "import sys; from colorize_run.cli import main\n"
        "try: main(sys.argv[1:], prog_name='colorize-run')\n"
        "finally: print([line for line in open('/proc/self/status') if 'VmHWM' in line][0].split()[1])"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split()[-1]) // 1024


def processes(model: str, rounds: int) -> None:
    """Whole processes: help, one small photograph, one of 12 Mpx, and that segmented."""
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder) / "large.jpg"
        large.write_bytes(twelve_megapixels())
        grey = Path(folder) / "grey.jpg"
        grey.write_bytes(twelve_megapixels("L"))
        small = str(SAMPLES / "chelsea.jpg")
        common = ["-m", model, "--device", "cpu", "--force", "--overwrite", "-o", str(Path(folder) / "out.jpg")]
        for name, arguments in (
            ("--help", ["--help"]),
            ("one photograph of 451 x 300", [small, *common]),
            ("one photograph of 4000 x 3000", [str(large), *common]),
            ("one grey photograph of 4000 x 3000", [str(grey), *common]),
            ("the same joined", [str(grey), *common, "--lightness", "cielab"]),
            *(
                (
                    f"segment --as {form} of 4000 x 3000",
                    [
                        "segment",
                        "--as",
                        form,
                        str(large),
                        "--device",
                        "cpu",
                        "--overwrite",
                        "-o",
                        str(Path(folder) / "out.png"),
                    ],
                )
                for form in ("mask", "cutout")
            ),
        ):
            found = [process(*arguments) for _ in range(rounds + 1)][1:]
            times, peaks = [1e3 * t for t, _ in found], [m for _, m in found]
            spread = f"median {statistics.median(times):.0f} ms (from {min(times):.0f} to {max(times):.0f})"
            click.echo(f"whole process, {name}: {spread}, peak {max(peaks)} MB")


@click.command(help=__doc__)
@click.option("--model", default="photo", show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True)
def main(model: str, rounds: int) -> None:
    """Measure, and print."""
    network(model, rounds)
    end_to_end(model, rounds)
    formats(model)
    processes(model, rounds)


if __name__ == "__main__":
    main()
