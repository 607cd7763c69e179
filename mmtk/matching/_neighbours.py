"""Exact nearest neighbours among many pictures, in bounded memory.

The distance of two pictures is the sum of the squared differences of their bytes, an integer. Projected on a few
orthonormal directions, pictures become points that are never farther apart than the pictures are: the points tell which
pictures are worth a look, and prove of all others that they are too far.
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

MOST_PAIRS = 1_000_000  # beyond it pictures are alike throughout and pairs of them tell nothing
MOST_RIVALS = 64
_CANDIDATES = 8
_DIRECTIONS = 64
_SAMPLE = 2048
_GRID = 28  # larger pictures are pooled to about this edge length before they are projected
_CUBE = 9  # and volumes to this, which is about as many numbers
_BLOCK_BYTES = 1 << 24
_BLOCK_ROWS = 4096
_WORKING_MIB = 64


class Pictures:
    """Several arrays of images, their rows numbered through."""

    def __init__(self, arrays: Sequence[Images]) -> None:
        self.shape: tuple[int, ...] = arrays[0].shape[1:]
        self.width = int(np.prod(self.shape))
        self._arrays = arrays
        self._starts = np.cumsum([0, *map(len, arrays)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def take(self, numbers: Array) -> Array:
        """Copy rows out, as ``(n, width)`` uint8."""
        rows = np.empty((len(numbers), self.width), np.uint8)
        which = np.searchsorted(self._starts, numbers, "right") - 1
        for i, (array, start) in enumerate(zip(self._arrays, self._starts[:-1], strict=True)):
            mine = which == i
            rows[mine] = array[numbers[mine] - start].reshape(-1, self.width)
        return rows

    def digests(self) -> list[bytes]:
        """A key of each row; rows are equal where their keys are."""
        return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for array in self._arrays for row in array]


class Pairs(NamedTuple):
    """Queries and pictures with their squared distances, in the order of query, distance and picture."""

    queries: Array
    pictures: Array
    squared: Array


def squared_distances(queries: Pictures, rows: Array, pictures: Pictures, others: Array) -> Array:
    """Sum of squared differences of each row and the other one beside it, as int64."""
    found = np.empty(len(rows), np.int64)
    step = max(1, _BLOCK_BYTES // (4 * queries.width))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        # a byte's difference is exact in float32, and so is the sum of less than 2^37 of its squares in float64
        difference = np.subtract(queries.take(rows[block]), pictures.take(others[block]), dtype=np.float32)
        found[block] = np.einsum("ij,ij->i", difference, difference, dtype=np.float64)
    return found


class Neighbours:
    """Searches among `pictures` for what is near some of the `queries`.

    Parameters
    ----------
    pictures : Pictures
        At least one.
    queries : Pictures
        Of the same shape.
    rows : array of int
        Numbers of the queries to search for; results count along this array.
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
        # far more than float64 loses: so much may points be farther apart than the pictures are
        self._slack = 1e-5 * float(np.sqrt(max(norms))) + 1e-6

    def _project(self, pictures: Pictures, numbers: Array) -> Array:
        points = [(block - self._mean) @ self._basis for block in _pooled(pictures, numbers)]
        return np.concatenate([*points, np.zeros((0, self._basis.shape[1]))])

    def nearest(self, limit: int, progress: Progress | None = None) -> Pairs:
        """Find the nearest pictures of each query, and, if they are within a limit, those hardly farther.

        Parameters
        ----------
        limit : int
            Squared distance up to which a nearest picture has its rivals looked for.
        progress : callable, optional
            Told the queries done and their number.

        Returns
        -------
        Pairs
            Of each query the pictures at its smallest distance, and where that is at most `limit` also those at most
            10 % farther; 64 of them at most.
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
            # of the others a picture that is no candidate may be the nearest
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
        """Find every picture at most some squared distance from a query.

        Parameters
        ----------
        queries : array of int
            Positions in `rows`.
        radius : array of int
            The largest squared distance of each.
        most : int, optional
            Keep only so many nearest of each query.
        beyond : array of int, optional
            Leave out pictures up to these numbers.
        progress : callable, optional
            Told the queries done and their number.

        Raises
        ------
        MmtkError
            If there are more than a million pairs, unless `most` bounds them.
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
            at = np.repeat(np.arange(done, done + len(chosen)), [len(one) for one in chosen])
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
                what, expected = "pictures that are alike", f"at most {MOST_PAIRS} pairs"
                found = f"more in the first {done} of {len(queries)} pictures"
                raise MmtkError(what, expected=expected, found=found, remedy="give a smaller distance")
        return _join(parts)

    def _measure(self, queries: Array, pictures: Array) -> Array:
        return squared_distances(self._queries, self._rows[queries], self._pictures, pictures)


def _reach(best: Array, limit: int) -> Array:
    """Squared distance up to which pictures count, by that of the nearest: 10 % farther if it is within a limit."""
    return np.where(best <= limit, best + best * 21 // 100, best)


def _join(parts: list[Pairs]) -> Pairs:
    nothing = Pairs(*[np.zeros(0, np.int64)] * 3)
    queries, pictures, squared = (np.concatenate(column) for column in zip(nothing, *parts, strict=True))
    order = np.lexsort((pictures, squared, queries))
    return Pairs(queries[order], pictures[order], squared[order])


def _pooled(pictures: Pictures, numbers: Array) -> Iterator[Array]:
    """Rows as float64, block by block; sums over squares of pixels, scaled so that this shortens distances at most."""
    shape = pictures.shape
    axes = 3 if len(shape) == 3 and len(set(shape)) == 1 else 2  # a last one of its own is of colours
    step = max(1, min(shape[:axes]) // (_CUBE if axes == 3 else _GRID))
    counts = [edge // step for edge in shape[:axes]]
    inside = (slice(None), *(slice(count * step) for count in counts))
    apart = [number for count in counts for number in (count, step)]
    rows = max(1, _BLOCK_BYTES // (8 * pictures.width))
    for start in range(0, len(numbers), rows):
        images = pictures.take(numbers[start : start + rows]).reshape(-1, *pictures.shape)
        blocks = images[inside].astype(np.float64).reshape(len(images), *apart, *shape[axes:])
        yield blocks.sum(axis=tuple(range(2, 2 * axes + 1, 2))).reshape(len(images), -1) / step ** (axes / 2)
