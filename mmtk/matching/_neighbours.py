"""Exact nearest neighbours among many images, in bounded memory.

The distance between two images is the sum of squared differences of their bytes, an integer. Projected onto a few
orthonormal directions, images become points that are never farther apart than the images themselves: the points select
candidates, and prove that all other images are too far away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmtk.base import Progress
from mmtk.errors import MmtkError
from mmtk.store import Images

Array = np.ndarray[Any, Any]

MOST_PAIRS = 1_000_000  # beyond that, images are so similar that pairs are meaningless
MOST_RIVALS = 64
_CANDIDATES = 8
_DIRECTIONS = 64
_SAMPLE = 2048
_GRID = 28  # larger images are pooled to about this edge length before projection
_CUBE = 9  # and volumes to this one, which gives about as many values
_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 4096
_WORKING_MIB = 64


class Pictures:
    """Several arrays of images with consecutive row numbers."""

    def __init__(self, arrays: Sequence[Images]) -> None:
        self.shape: tuple[int, ...] = arrays[0].shape[1:]
        self.width = int(np.prod(self.shape))
        self._arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, numbers: Array) -> Array:
        """Copy rows, as uint8 of shape (n, width)."""
        rows = np.empty((len(numbers), self.width), np.uint8)
        which = np.searchsorted(self._starts, numbers, "right") - 1
        for i, (array, start) in enumerate(zip(self._arrays, self._starts[:-1], strict=True)):
            mine = which == i
            rows[mine] = array[numbers[mine] - start].reshape(-1, self.width)
        return rows

    def digests(self) -> list[bytes]:
        """A digest of each row; rows are equal if their digests are."""
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for array in self._arrays for row in array]


class Pairs(NamedTuple):
    """Queries and images with their squared distances, sorted by query, distance and image."""

    queries: Array
    pictures: Array
    squared: Array


def squared_distances(queries: Pictures, rows: Array, pictures: Pictures, others: Array) -> Array:
    """Sum of squared differences between corresponding rows of two arrays, as int64."""
    squared = np.empty(len(rows), np.int64)
    step = max(1, _BLOCK_BYTES // (4 * queries.width))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        # differences of bytes are exact in float32, sums of fewer than 2^37 of their squares in float64
        difference = np.subtract(queries.take(rows[block]), pictures.take(others[block]), dtype=np.float32)
        squared[block] = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return squared


class Neighbours:
    """Searches `pictures` for the neighbours of some `queries`.

    Parameters
    ----------
    pictures : Pictures
        At least one image.
    queries : Pictures
        Images of the same shape.
    rows : array of int
        Row numbers of the queries to search for; results refer to positions in this array.
    """

    def __init__(self, pictures: Pictures, queries: Pictures, rows: Array) -> None:
        from sklearn.utils.extmath import randomized_svd

        self._pictures, self._queries, self._rows = pictures, queries, rows
        everything = np.arange(len(pictures))
        sample = np.concatenate([
            *_pooled(pictures, everything[:: 1 + len(everything) // _SAMPLE]),
            *_pooled(queries, rows[:: 1 + len(rows) // _SAMPLE]),
        ])
        self._mean = sample.mean(axis=0)
        directions = randomized_svd(sample - self._mean, min(_DIRECTIONS, *sample.shape), random_state=0)[2]
        self._basis = np.linalg.qr(directions.T)[0]
        self._points = self._project(pictures, everything)
        self._query_points = self._project(queries, rows)
        norms = (np.square(points).sum(axis=1).max(initial=0.0) for points in (self._points, self._query_points))
        # a margin far above the rounding error by which points may be farther apart than images
        self._slack = 1e-5 * float(np.sqrt(max(norms))) + 1e-6

    def _project(self, pictures: Pictures, numbers: Array) -> Array:
        points = [(block - self._mean) @ self._basis for block in _pooled(pictures, numbers)]
        return np.concatenate([*points, np.zeros((0, self._basis.shape[1]))])

    def nearest(self, limit: int, progress: Progress | None = None) -> Pairs:
        """Find the nearest images of each query and, within a limit, those that are hardly farther away.

        Parameters
        ----------
        limit : int
            Largest squared distance of a nearest image for which rivals are searched.
        progress : callable, optional
            Called with the number of queries done and their total.

        Returns
        -------
        Pairs
            For each query, the images at the smallest distance and, if that is at most `limit`, those at most 10 %
            farther away; at most 64.
        """
        from sklearn.neighbors import NearestNeighbors

        k = min(_CANDIDATES, len(self._pictures))
        searcher = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(self._points)
        parts: list[Pairs] = []
        for start in range(0, len(self._rows), _BLOCK_ROWS):
            queries = np.arange(start, min(start + _BLOCK_ROWS, len(self._rows)))
            below, candidates = searcher.kneighbors(self._query_points[queries])
            squared = self._measure(np.repeat(queries, k), candidates.ravel()).reshape(-1, k)
            best = squared.min(axis=1)
            radius = _reach(best, limit)
            proven = (below[:, -1] - self._slack > np.sqrt(radius)) | (k == len(self._pictures))
            at, column = np.nonzero((squared <= radius[:, None]) & proven[:, None])
            parts.append(Pairs(queries[at], candidates[at, column], squared[at, column]))
            # for the other queries, the nearest image may not be among the candidates
            far = below[:, 0] - self._slack > np.sqrt(limit)
            widest = np.where(far, best, best + best * 21 // 100)
            around = self.within(queries[~proven], widest[~proven], MOST_RIVALS)
            first = np.searchsorted(around.queries, around.queries)
            kept = around.squared <= _reach(around.squared[first], limit)
            parts.append(Pairs(*(column[kept] for column in around)))
            if progress:
                progress(int(queries[-1]) + 1, len(self._rows))
        return _join(parts)

    def within(
        self, queries: Array, radius: Array, most: int | None = None, beyond: Array | None = None,
        progress: Progress | None = None,
    ) -> Pairs:
        """Find all images within a radius of each query.

        Parameters
        ----------
        queries : array of int
            Positions in `rows`.
        radius : array of int
            Largest squared distance for each query.
        most : int, optional
            Only keep this many nearest images per query.
        beyond : array of int, optional
            Only consider images with numbers above these.
        progress : callable, optional
            Called with the number of queries done and their total.

        Raises
        ------
        MmtkError
            If there are more than a million pairs and `most` is not given.
        """
        from sklearn.metrics import pairwise_distances_chunked

        if not len(queries):
            return _join([])
        reach = np.sqrt(radius) + self._slack
        first = np.zeros(len(queries), np.int64) if beyond is None else beyond + 1

        def choose(distances: Array, start: int) -> list[Array]:
            rows = range(start, start + len(distances))
            return [np.flatnonzero(d[first[i] :] <= reach[i]) + first[i] for i, d in zip(rows, distances, strict=True)]

        parts: list[Pairs] = []
        done = total = 0
        for chosen in pairwise_distances_chunked(
            self._query_points[queries], self._points, reduce_func=choose, working_memory=_WORKING_MIB
        ):
            at = np.repeat(np.arange(done, done + len(chosen)), [len(images) for images in chosen])
            pictures = np.concatenate(chosen)
            squared = self._measure(queries[at], pictures)
            near = squared <= radius[at]
            part = _join([Pairs(queries[at[near]], pictures[near], squared[near])])
            if most is not None:
                rank = np.arange(len(part.queries)) - np.searchsorted(part.queries, part.queries)
                part = Pairs(*(column[rank < most] for column in part))
            parts.append(part)
            done, total = done + len(chosen), total + len(part.queries)
            if progress:
                progress(done, len(queries))
            if most is None and total > MOST_PAIRS:
                problem = f"exceed {MOST_PAIRS:,} pairs within the first {done} of {len(queries)} images"
                raise MmtkError("near duplicates", problem, remedy="give a smaller distance")
        return _join(parts)

    def _measure(self, queries: Array, pictures: Array) -> Array:
        return squared_distances(self._queries, self._rows[queries], self._pictures, pictures)


def _reach(best: Array, limit: int) -> Array:
    """The largest squared distance that counts, given that of the nearest image: 10 % farther if within a limit."""
    return np.where(best <= limit, best + best * 21 // 100, best)


def _join(parts: list[Pairs]) -> Pairs:
    nothing = Pairs(*[np.zeros(0, np.int64)] * 3)
    queries, pictures, squared = (np.concatenate(column) for column in zip(nothing, *parts, strict=True))
    order = np.lexsort((pictures, squared, queries))
    return Pairs(queries[order], pictures[order], squared[order])


def _pooled(pictures: Pictures, numbers: Array) -> Iterator[Array]:
    """Rows as float64 in blocks: sums over squares of pixels, scaled so that distances never increase."""
    shape = pictures.shape
    axes = 3 if len(shape) == 3 and len(set(shape)) == 1 else 2  # a differing last axis is that of the colours
    step = max(1, min(shape[:axes]) // (_CUBE if axes == 3 else _GRID))
    counts = [edge // step for edge in shape[:axes]]
    inside = (slice(None), *(slice(count * step) for count in counts))
    apart = [number for count in counts for number in (count, step)]
    rows = max(1, _BLOCK_BYTES // (8 * pictures.width))
    for start in range(0, len(numbers), rows):
        images = pictures.take(numbers[start : start + rows]).reshape(-1, *pictures.shape)
        blocks = images[inside].astype(np.float64).reshape(len(images), *apart, *shape[axes:])
        yield blocks.sum(axis=tuple(range(2, 2 * axes + 1, 2))).reshape(len(images), -1) / step ** (axes / 2)
