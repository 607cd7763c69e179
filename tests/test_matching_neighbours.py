"""The neighbour search against a brute-force reference: ties, clusters, noise, sizes and channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtk.errors import MmtkError
from mmtk.matching import _neighbours
from mmtk.matching._neighbours import Neighbours, Pictures


def squared(queries: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    flat = [array.reshape(len(array), -1).astype(np.int64) for array in (queries, pictures)]
    return np.stack([np.square(flat[1] - row).sum(axis=1) for row in flat[0]])


def as_set(pairs) -> set[tuple[int, int, int]]:
    found = list(zip(*(column.tolist() for column in pairs), strict=True))
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=lambda pair: (pair[0], pair[2], pair[1]))
    return set(found)


def draw_images(rng: np.random.Generator, rows: int, shape: tuple[int, ...], kind: str) -> np.ndarray:
    if kind == "noise":  # far from everything, so that points prove nothing
        return rng.integers(0, 256, (rows, *shape), np.uint8)
    if kind == "levels":  # ties
        return rng.integers(0, 2, (rows, *shape), np.uint8)
    if kind == "flat":
        return np.broadcast_to(rng.integers(0, 4, (rows, *[1] * len(shape)), np.uint8), (rows, *shape))
    centres = np.random.default_rng(5).integers(0, 250, (6, *shape))  # near ones of which points do prove it
    return (centres[rng.integers(0, 6, rows)] + rng.integers(0, 3, (rows, *shape))).astype(np.uint8)


@settings(max_examples=80)
@given(
    kinds=st.lists(st.sampled_from(["noise", "levels", "flat", "clusters"]), min_size=2, max_size=2),
    size=st.sampled_from([1, 2, 5, 28, 31, 59]), channels=st.sampled_from([1, 3]), seed=st.integers(0, 999),
    counts=st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 20)), rows=st.integers(0, 30),
    directions=st.sampled_from([1, 2, 64]),  # with few, candidates are the wrong ones
)
@example(["noise", "noise"], 59, 1, 0, (0, 0, 12), 1, 64)
def test_nearest_and_within_are_those_of_brute_force(kinds, size, channels, seed, counts, rows, directions):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_neighbours, "_DIRECTIONS", directions)
        compare_with_brute_force(kinds, size, channels, seed, counts, rows)


def compare_with_brute_force(kinds, size, channels, seed, counts, rows):
    rng = np.random.default_rng(seed)
    shape = (size, size) if channels == 1 else (size, size, 3)
    if not sum(counts):
        counts = (0, 1, 0)
    parts = [draw_images(rng, n, shape, kinds[0]) for n in counts]
    queries = draw_images(rng, rows + 3, shape, kinds[1])
    asked = rng.permutation(rows + 3)[: rng.integers(1, rows + 4)]
    pictures = np.concatenate(parts)
    search = Neighbours(Pictures(parts), Pictures([queries[:2], queries[2:]]), asked)
    distances = squared(queries[asked], pictures)

    limit = int(rng.choice([0, np.median(distances), distances.min(), 255**2 * distances.size]))
    best = distances.min(axis=1)
    reach = np.where(best <= limit, best + best * 21 // 100, best)
    expected = {(i, int(j), int(distances[i, j])) for i, j in np.argwhere(distances <= reach[:, None])}
    assert as_set(search.nearest(limit)) == expected

    radius = rng.integers(0, 1 + distances.max(), len(asked))
    expected = {(i, int(j), int(distances[i, j])) for i, j in np.argwhere(distances <= radius[:, None])}
    assert as_set(search.within(np.arange(len(asked)), radius)) == expected
    some = np.flatnonzero(rng.integers(0, 2, len(asked)))
    beyond = rng.integers(0, len(pictures), len(some))
    found = as_set(search.within(some, radius[some], beyond=beyond))
    after = dict(zip(some.tolist(), beyond.tolist(), strict=True))
    assert found == {(i, j, d) for i, j, d in expected if i in after and j > after[i]}

    few = as_set(search.within(np.arange(len(asked)), radius, most=2))
    for i in range(len(asked)):
        mine = sorted((d, j) for row, j, d in expected if row == i)
        assert {(d, j) for row, j, d in few if row == i} == set(mine[:2])


def test_points_settle_what_is_like_one_picture_only(monkeypatch):
    """Else every row would be searched in full, and large data take hours."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (200, 28, 28), np.uint8)
    queries = np.clip(pictures + rng.normal(0, 2, pictures.shape), 0, 255).astype(np.uint8)
    search = Neighbours(Pictures([pictures]), Pictures([queries]), np.arange(200))
    full: list[int] = []
    within = search.within
    monkeypatch.setattr(search, "within", lambda rows, *args: full.append(len(rows)) or within(rows, *args))
    assert search.nearest(784 * 64).pictures.tolist() == list(range(200))
    assert sum(full) == 0


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(1)
    pictures, queries = rng.integers(0, 9, (2, 150, 6, 6), np.uint8)

    def found():
        search = Neighbours(Pictures([pictures]), Pictures([queries]), np.arange(150))
        return as_set(search.nearest(10**6)), as_set(search.within(np.arange(150), np.full(150, 500)))

    whole = found()
    for name, value in (("_BLOCK_ROWS", 7), ("_BLOCK_BYTES", 1000), ("_WORKING_MIB", 0.01)):
        monkeypatch.setattr(_neighbours, name, value)
    done: list[tuple[int, int]] = []
    assert found() == whole
    search = Neighbours(Pictures([pictures]), Pictures([queries]), np.arange(150))
    search.nearest(10**6, lambda *progress: done.append(progress))
    assert done[0] == (7, 150)
    assert done[-1] == (150, 150)


def test_pictures_that_are_all_alike_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(_neighbours, "MOST_PAIRS", 50)
    images = np.zeros((12, 4, 4), np.uint8)
    search = Neighbours(Pictures([images]), Pictures([images]), np.arange(12))
    with pytest.raises(MmtkError, match=r"exceed 50 pairs.*smaller distance"):
        search.within(np.arange(12), np.full(12, 4))
    assert len(search.within(np.arange(12), np.full(12, 4), most=3).queries) == 36
