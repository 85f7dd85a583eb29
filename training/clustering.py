"""Palettes computed by k-means. Apart from `training.palette`: scikit-learn takes seconds to import."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans

from training import plots
from training.conventions import FROM_256THS
from training.datasets.cifar import load_split
from training.files import check_writable, replacing
from training.progress import working


def _cluster(
    points: npt.NDArray[np.float32], count: int, seed: int, task: str, weights: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float32]:
    """Centres (``count``, D) of k-means over ``points`` (M, D); ``task`` describes it in the log."""
    kmeans = MiniBatchKMeans(count, random_state=seed, batch_size=10_000, n_init=3)
    with working(task):
        kmeans.fit(points, sample_weight=weights)
    centres: npt.NDArray[np.float32] = kmeans.cluster_centers_.astype(np.float32)
    return centres


def kmeans_palette(images: npt.NDArray[np.uint8], num_colours: int, seed: int) -> npt.NDArray[np.float32]:
    """Cluster the pixels of ``images`` (N, H, W, 3) into ``num_colours`` colours: (K, 3) float32, byte / 256."""
    pixels = images.reshape(-1, 3)
    chosen = np.random.default_rng(seed).choice(len(pixels), size=min(len(pixels), 500_000), replace=False)
    task = f"Clustering pixels of {len(images)} pictures into {num_colours} colours"
    return _cluster(pixels[chosen].astype(np.float32) / np.float32(256), num_colours, seed, task)


def kmeans_chroma(ab: npt.NDArray[np.float32], num_colours: int, seed: int) -> npt.NDArray[np.float32]:
    """Cluster chroma (M, 2), a*, b*, into a palette (K, 2) float32.

    A pixel's weight is the inverse square root of the number of pixels in its square of 5 x 5: photographs are mostly
    nearly grey, and plain k-means would use nearly all of its colours for greys.
    """
    _squares, inverse, counts = np.unique(np.floor(ab / 5), axis=0, return_inverse=True, return_counts=True)
    task = f"Clustering the chroma of {len(ab)} pixels into {num_colours} colours"
    colours = _cluster(ab, num_colours, seed, task, 1 / np.sqrt(counts[inverse.reshape(-1)]))
    return colours[np.lexsort(colours.T)]


def save_palette(path: Path, data_dir: Path, classes: tuple[str, ...], num_colours: int, seed: int) -> None:
    """Cluster the CIFAR-10 training pictures of ``classes`` into a palette, ordered by brightness.

    Writes it to ``path``, .npy, and a picture of it beside that file, .png. Errors: TrainingError.
    """
    for output in (path, path.with_suffix(".png")):
        check_writable(output)
    palette = kmeans_palette(load_split(data_dir, "train", classes, 0), num_colours, seed)
    palette = palette[palette.sum(axis=1).argsort()]
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, palette)
    plots.save_picture(np.repeat(palette[None], 2, axis=0) * np.float32(FROM_256THS), path.with_suffix(".png"), scale=24)
