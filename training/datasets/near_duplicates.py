"""Groups of near-duplicate pictures, by difference hashes and without comparing every pair of pictures."""

import itertools
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import numpy.typing as npt

_DISTANCE = 4  # copies of one picture differ in at most this many of 64 bits of their hashes


def difference_hash(image: npt.NDArray[np.uint8]) -> int:
    """Difference hash of a picture (H, W, 3): 8 x 8 bits, each 1 where the grey grows from left to right."""
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")


def near_duplicates(images: Iterable[npt.NDArray[np.uint8]]) -> npt.NDArray[np.int64]:
    """`groups_of` pictures (H, W, 3)."""
    return groups_of(np.array([difference_hash(image) for image in images], np.uint64))


def groups_of(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Group of each picture: the smallest index among the pictures to which near-duplicates link it.

    ``hashes`` (N,): two pictures are near-duplicates when their hashes differ in at most four bits. Such hashes are equal
    in at least one of five bands of bits, so only pictures with an equal band are compared.
    """
    parents = list(range(len(hashes)))
    for bucket in _buckets(hashes):
        values = hashes[bucket]
        for k in range(1, len(bucket)):
            near = bucket[:k][np.bitwise_count(values[:k] ^ values[k]) <= _DISTANCE]
            for other in near.tolist():
                low, high = sorted((_root(parents, other), _root(parents, int(bucket[k]))))
                parents[high] = low
    return np.array([_root(parents, i) for i in range(len(hashes))], np.int64)


def _buckets(hashes: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.int64]]:
    """Indices of the pictures, two or more, that agree in a band of bits: for each band and each of its values."""
    edges = [64 * band // (_DISTANCE + 1) for band in range(_DISTANCE + 2)]
    for start, stop in itertools.pairwise(edges):
        band = (hashes >> np.uint64(start)) & np.uint64((1 << (stop - start)) - 1)
        order = np.argsort(band, kind="stable")
        changes = np.flatnonzero(np.diff(band[order])) + 1
        yield from (bucket for bucket in np.split(order, changes) if len(bucket) > 1)


def _root(parents: list[int], index: int) -> int:
    """The first picture of the group of ``index``; shortens the way to it."""
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
