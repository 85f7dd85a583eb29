"""The same model file in engines that we did not write: ``python -m benchmarks.engines --checkpoint PT --data-dir …``.

PyTorch (eager, where a checkpoint is given), ONNX Runtime, OpenCV's dnn and OpenVINO, as many threads each, round by round in
turn; beside the time, in what share of the pixels of validation flowers each chooses the class that ONNX Runtime chooses.
`pip install --group bench` brings OpenVINO; what is missing is said and left out.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from colorize_run.model.library import find_model
from colorize_run.model.session import open_session
from colorize_run.system.hardware import available_threads

FloatArray = npt.NDArray[np.float32]
Engine = Callable[[FloatArray], FloatArray]  # (1, 3, H, W), 0..1 -> probabilities (1, C, H, W)


def onnx_runtime(path: Path, threads: int) -> Engine:
    """As the runtime opens it."""
    session, _ = open_session(path.read_bytes(), "cpu", threads)
    return lambda image: np.asarray(session.run(["probabilities"], {"image": image})[0])


def torch_eager(checkpoint: Path, weights: Path | None, threads: int) -> Engine:
    """The network that the file was made of."""
    import torch

    from export.signatures import SegmentSignature
    from training.checkpoint import load

    torch.set_num_threads(threads)
    module = SegmentSignature(load(checkpoint, weights=weights).build()).eval()

    def run(image: FloatArray) -> FloatArray:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(image))[0].numpy())

    return run


def opencv(path: Path, threads: int) -> Engine:
    """OpenCV's dnn module."""
    cv2.setNumThreads(threads)
    network = cv2.dnn.readNetFromONNX(str(path))

    def run(image: FloatArray) -> FloatArray:
        network.setInput(image, "image")
        return np.asarray(network.forward("probabilities"), np.float32)

    return run


def openvino(path: Path, threads: int) -> Engine:
    """OpenVINO in float32: left alone it takes bfloat16 where the processor has it."""
    from openvino import Core

    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = Core().compile_model(str(path), "CPU", options)
    return lambda image: np.asarray(compiled([image])[0], np.float32)


def inputs(side: int, data_dir: Path | None, count: int) -> list[FloatArray]:
    """Validation flowers squeezed into a square, or noise where there are none."""
    if data_dir is None:
        return [np.random.default_rng(i).random((1, 3, side, side), np.float32) for i in range(count)]
    from training.datasets.flowers import FlowerSamples, load_split

    samples = FlowerSamples(load_split(data_dir, "validation", 0)[:count], side, 0, augment=False)
    return [samples.__getitems__([i])["input"].numpy() for i in range(count)]


def measure(engines: dict[str, Engine], images: list[FloatArray], rounds: int) -> None:
    """Agreement first, then times in turn; the first round warms up."""
    first, *_ = engines
    masks = {name: [engine(image).argmax(axis=1) for image in images] for name, engine in engines.items()}
    agreement = {
        name: np.mean([(a == b).mean() for a, b in zip(found, masks[first], strict=True)]) for name, found in masks.items()
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    for i in range(rounds + 1):
        for name, engine in engines.items():
            start = time.perf_counter()
            engine(images[i % len(images)])
            times[name].append(time.perf_counter() - start)
    for name, found in times.items():
        ratio = statistics.median(a / b for a, b in zip(found[1:], times[first][1:], strict=True))
        click.echo(
            f"  {name}: median {1e3 * statistics.median(found[1:]):.0f} ms, x{ratio:.2f}, classes agree {agreement[name]:.4%}"
        )


@click.command(help=__doc__)
@click.option("--model", default="flowers", show_default=True)
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Compare with PyTorch, too.")
@click.option("--weights", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="That CHECKPOINT stands on.")
@click.option("--data-dir", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Flowers instead of noise.")
@click.option("--rounds", type=click.IntRange(1), default=7, show_default=True)
def main(model: str, checkpoint: Path | None, weights: Path | None, data_dir: Path | None, rounds: int) -> None:
    """Measure, and print."""
    path, threads = find_model(model), available_threads()
    makers: dict[str, Callable[[], Engine]] = {f"onnxruntime {ort.__version__}": lambda: onnx_runtime(path, threads)}
    if checkpoint:
        makers["PyTorch eager"] = lambda: torch_eager(checkpoint, weights, threads)
    makers[f"OpenCV {cv2.__version__}"] = lambda: opencv(path, threads)
    makers["OpenVINO, f32"] = lambda: openvino(path, threads)
    engines = {}
    for name, make in makers.items():
        try:
            engines[name] = make()
            engines[name](inputs(224, None, 1)[0])
        except (ImportError, RuntimeError, cv2.error) as error:
            engines.pop(name, None)
            click.echo(f"{name}: left out ({str(error).strip().splitlines()[-1][:200]})")
    for side in (224, 520):
        click.echo(f"{path.name}, {side} x {side}, {threads} threads, {rounds} rounds:")
        measure(engines, inputs(side, data_dir, 8), rounds)


if __name__ == "__main__":
    main()
