"""Which small grids a BILINEAR enlargement can come from: an exact search, and what it finds in 100 official tiles.

Enlarging, each output pixel is a weighted mean of two neighbouring inputs (of one at the ends), rounded. A column of
the vertical pass is thus a chain: each pair of neighbours has to give the outputs between them. Sets of values that
are left for each cell, passed down the chain and up again, hold all exact solutions and nothing else, and so does a row
of the horizontal pass, where outputs are sets, too. A size for which a set runs empty is refuted; for one that stays,
both passes are repeated until nothing changes, and a grid is found by fixing row after row.

A side of 128 or more is not tried: 128 skips its pass, and each tile is such a grid itself.

Run as ``python -m tests.tiles <folder of the real sample files>`` from the project's folder for the full count.
"""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path

import numba
import numpy as np

from mmtk.imaging import read_image, resize
from tests import lits44, reference

SIDE = 128
MONTAGE = "tiles/organamnist_128_montage10x10.png"
_HALF = 1 << 21


def official_tiles(data):
    """The 100 tiles, row by row of the montage."""
    montage = read_image(data / MONTAGE, colour=False)
    tiles = montage.reshape(10, SIDE, 10, SIDE).swapaxes(1, 2).reshape(100, SIDE, SIDE)
    return [np.ascontiguousarray(tile) for tile in tiles]


@cache
def _table(n):
    """First tap, weights and number of taps of each output; for each pair of inputs its outputs, the steepest last."""
    taps = reference.taps(n, SIDE, "bilinear")
    first = np.array([low for low, _ in taps])
    count = np.array([len(weights) for _, weights in taps])
    weights = np.array([(*weights, 0)[:2] for _, weights in taps])
    pairs = np.zeros((n - 1, 3), np.int64)
    for i in range(n - 1):
        outputs = np.flatnonzero((first == i) & (count == 2))
        assert count.max() == 2
        assert weights[outputs].min() > 0
        pairs[i] = outputs[0], outputs[-1] + 1, outputs[weights[outputs, 1].argmax()]
    return first, count, weights, pairs


@numba.njit
def _mean(weights, o, a, b):
    return (weights[o, 0] * a + weights[o, 1] * b + _HALF) >> 22


@numba.njit
def _partners(weights, o, a, low, high):
    """From where to where (left out) the second input can lie for output `o` to be in low..high."""
    start = ((low << 22) - _HALF - weights[o, 0] * a + weights[o, 1] - 1) // weights[o, 1]
    end = ((high << 22) + _HALF - 1 - weights[o, 0] * a) // weights[o, 1] + 1
    return max(start, 0), min(end, 256)


@numba.njit
def _agree(weights, pair, a, b, outputs):
    o, end = pair[0], pair[1]
    while o < end and outputs[o, _mean(weights, o, a, b)]:
        o += 1
    return o == end


@numba.njit
def _chain(table, inputs, spans, outputs, out_spans, changed):
    """Cut the sets of `inputs` (n, 256) and `outputs` (128, 256) down to the values of exact solutions.

    A span is where a set's first value stands and its last one ends. False, with the sets in disorder, if there is no
    solution; `changed` says which outputs lost a value.
    """
    first, count, weights, pairs = table
    n = inputs.shape[0]
    for o in range(count.size):
        if count[o] == 1:
            for v in range(spans[first[o], 0], spans[first[o], 1]):
                inputs[first[o], v] &= outputs[o, _mean(weights, o, v, 0)]
    reached = np.zeros((n, 256), np.bool_)
    for v in range(spans[0, 0], spans[0, 1]):
        reached[0, v] = inputs[0, v]
    for i in range(n - 1):
        steep = pairs[i, 2]
        low, high = 256, -1
        for a in range(spans[i, 0], spans[i, 1]):
            if reached[i, a]:
                start, end = _partners(weights, steep, a, out_spans[steep, 0], out_spans[steep, 1] - 1)
                for b in range(max(start, spans[i + 1, 0]), min(end, spans[i + 1, 1])):
                    if inputs[i + 1, b] and not reached[i + 1, b] and _agree(weights, pairs[i], a, b, outputs):
                        reached[i + 1, b] = True
                        low, high = min(low, b), max(high, b)
        if high < 0:
            return False
        spans[i + 1, 0], spans[i + 1, 1] = low, high + 1
    for v in range(256):
        inputs[n - 1, v] = reached[n - 1, v]
    got = np.zeros(outputs.shape, np.bool_)
    for i in range(n - 2, -1, -1):
        steep = pairs[i, 2]
        low, high = 256, -1
        for a in range(256):
            inputs[i, a] = False
            if reached[i, a]:
                start, end = _partners(weights, steep, a, out_spans[steep, 0], out_spans[steep, 1] - 1)
                for b in range(max(start, spans[i + 1, 0]), min(end, spans[i + 1, 1])):
                    if inputs[i + 1, b] and _agree(weights, pairs[i], a, b, outputs):
                        inputs[i, a] = True
                        low, high = min(low, a), max(high, a)
                        for o in range(pairs[i, 0], pairs[i, 1]):
                            got[o, _mean(weights, o, a, b)] = True
        if high < 0:
            return False
        spans[i, 0], spans[i, 1] = low, high + 1
    for o in range(count.size):
        if count[o] == 1:
            for v in range(spans[first[o], 0], spans[first[o], 1]):
                if inputs[first[o], v]:
                    got[o, _mean(weights, o, v, 0)] = True
        low, high = 256, -1
        for v in range(out_spans[o, 0], out_spans[o, 1]):
            if outputs[o, v] and got[o, v]:
                low, high = min(low, v), max(high, v)
            elif outputs[o, v]:
                outputs[o, v] = False
                changed[o] = True
        if high < 0:
            return False
        out_spans[o, 0], out_spans[o, 1] = low, high + 1
    return True


@numba.njit
def _column(tile, table, x, between, spans, rows):
    """Cut down column `x` of the rows between the passes; `rows` says which of them lost a value."""
    outputs = np.zeros((SIDE, 256), np.bool_)
    out_spans = np.empty((SIDE, 2), np.int16)
    for y in range(SIDE):
        outputs[y, tile[y, x]] = True
        out_spans[y, 0], out_spans[y, 1] = tile[y, x], tile[y, x] + 1
    column, column_spans = np.zeros((between.shape[0], 256), np.bool_), np.empty((between.shape[0], 2), np.int16)
    for u in range(between.shape[0]):
        column_spans[u, 0], column_spans[u, 1] = spans[u, x, 0], spans[u, x, 1]
        for v in range(spans[u, x, 0], spans[u, x, 1]):
            column[u, v] = between[u, x, v]
    if not _chain(table, column, column_spans, outputs, out_spans, np.zeros(SIDE, np.bool_)):
        return False
    for u in range(column.shape[0]):
        for v in range(spans[u, x, 0], spans[u, x, 1]):
            if between[u, x, v] != column[u, v]:
                between[u, x, v] = False
                rows[u] = True
        spans[u, x, 0], spans[u, x, 1] = column_spans[u, 0], column_spans[u, 1]
    return True


@numba.njit
def _fits_down(tile, table, between, spans):
    """Fill the sets between the passes with what the tile's columns leave of them, up to the first that refuses."""
    rows = np.zeros(between.shape[0], np.bool_)
    for x in range(SIDE):
        for u in range(between.shape[0]):
            spans[u, x, 0], spans[u, x, 1] = 0, 256
            for v in range(256):
                between[u, x, v] = True
        if not _column(tile, table, x, between, spans, rows):
            return False
    return True


@numba.njit
def _fits_across(table, width, between, spans):
    changed = np.zeros(SIDE, np.bool_)
    for u in range(between.shape[0]):
        inputs, input_spans = np.ones((width, 256), np.bool_), np.zeros((width, 2), np.int16)
        input_spans[:, 1] = 256
        if not _chain(table, inputs, input_spans, between[u].copy(), spans[u].copy(), changed):
            return False
    return True


@numba.njit
def _settle(tile, down, across, between, between_spans, grid, grid_spans, rows, columns):
    """Repeat both passes over the `rows` and `columns` in which something changed, until nothing does."""
    while columns.any() or rows.any():
        for x in range(SIDE):
            if columns[x]:
                columns[x] = False
                if not _column(tile, down, x, between, between_spans, rows):
                    return False
        for u in range(rows.size):
            if rows[u]:
                rows[u] = False
                if not _chain(across, grid[u], grid_spans[u], between[u], between_spans[u], columns):
                    return False
    return True


@numba.njit
def _walk(table, inputs, outputs, chances):
    """One solution of a row whose sets `_chain` has cut down; `chances` choose among the values that are left."""
    row, left = np.empty(inputs.shape[0], np.int64), np.empty(256, np.int64)
    for i in range(row.size):
        found = 0
        for v in range(256):
            if inputs[i, v] and (i == 0 or _agree(table[2], table[3][i - 1], row[i - 1], v, outputs)):
                left[found] = v
                found += 1
        row[i] = left[int(chances[i] * found)]
    return row


def _everything(*shape):
    spans = np.zeros((*shape, 2), np.int16)
    spans[..., 1] = 256
    return np.ones((*shape, 256), np.bool_), spans


def sizes(tile):
    """Sizes of grids, 2 to 127 a side, that one run of both passes does not refute."""
    found = []
    for height in range(2, SIDE):
        between, spans = np.empty((height, SIDE, 256), np.bool_), np.empty((height, SIDE, 2), np.int16)
        if _fits_down(tile, _table(height), between, spans):
            widths = [n for n in range(2, SIDE) if _fits_across(_table(n), n, between, spans)]
            found += [(height, width) for width in widths]
    return found


def _sets(tile, size, small=None):
    """What the two passes leave of the sets between them and of the grid's, with their spans; None if refuted."""
    between, grid = _everything(size[0], SIDE), _everything(*size)
    if small is not None:
        picked = np.ix_(*(reference.nearest_taps(n, 28) for n in size))
        grid[0][picked] = np.arange(256) == small[..., None]
    todo = np.ones(size[0], np.bool_), np.ones(SIDE, np.bool_)
    return (*between, *grid) if _settle(tile, *map(_table, size), *between, *grid, *todo) else None


def values(tile, size):
    """For each cell of a grid of this size the values it can have, (height, width, 256) of bool; None if refuted."""
    sets = _sets(tile, size)
    return None if sets is None else sets[2]


def grid(tile, size, small=None, tries=50):
    """A grid of this size whose enlargement is the tile, to the last pixel; None if none was found.

    It also gives the image `small` of 28 px by NEAREST, if there is one.
    """
    sets = _sets(tile, size, small)
    if sets is None:
        return None
    random = np.random.default_rng(0)
    across = _table(size[1])
    for u in range(size[0]):
        for attempt in range(tries if (sets[2][u].sum(axis=1) > 1).any() else 0):
            trial = tuple(array.copy() for array in sets)
            chances = random.random(size[1]) if attempt else np.full(size[1], 0.5)
            row = _walk(across, trial[2][u], trial[0][u], chances)
            trial[2][u] = np.arange(256) == row[:, None]
            trial[3][u] = np.stack([row, row + 1], axis=1)
            rows = np.arange(size[0]) == u
            if _settle(tile, *map(_table, size), *trial, rows, np.zeros(SIDE, np.bool_)):
                sets = trial
                break
        else:
            if (sets[2][u].sum(axis=1) > 1).any():
                return None
    return sets[2].argmax(axis=2).astype(np.uint8)


def rows_of(cells, images):
    """Which of the official `images` of 28 px NEAREST can make of a grid with these values left for its cells."""
    picked = cells[reference.nearest_taps(cells.shape[0], 28)][:, reference.nearest_taps(cells.shape[1], 28)]
    rows = np.arange(len(images))
    for y, x in np.random.default_rng(0).permutation([(y, x) for y in range(28) for x in range(28)]):
        rows = rows[picked[y, x][images[rows, y, x]]]
    return rows


def boxes_by_size(data):
    """Organs of the official training set (volumes 0 to 114) by the size of their axial slices' grid."""
    found = {}
    for (part, number), boxes in lits44.all_boxes(data).items():
        for organ, (x0, x1, y0, y1, _, _) in boxes.items() if part == "train" and number < 115 else ():
            size = round((x1 - x0) * 0.7031 / 2), round((y1 - y0) * 0.7031 / 2)
            found.setdefault(size, set()).add(organ)
    return found


def main():
    data = Path(sys.argv[1])
    start = time.perf_counter()
    with np.load(data / "npz/organamnist.npz") as official:
        images, labels = official["train_images"], official["train_labels"][:, 0]
    boxes = boxes_by_size(data)
    names = ("exact", "one grid for 28 and 128 px", "x, y", "x, y of its organ", "y, x", "y, x of its organ")
    totals = dict.fromkeys(names, 0)
    for number, tile in enumerate(official_tiles(data)):
        exact, both = [], False
        for size in sizes(tile):
            made = grid(tile, size)
            if made is not None and np.array_equal(resize(made, (SIDE, SIDE)), tile):
                rows = rows_of(values(tile, size), images)
                exact.append((size, rows))
                both |= any(grid(tile, size, images[row]) is not None for row in rows)
        totals["exact"] += bool(exact)
        organs = {lits44.ORGANS[labels[row]] for _, rows in exact for row in rows}
        totals["one grid for 28 and 128 px"] += both
        for name, step in (("x, y", 1), ("y, x", -1)):
            fitting = set().union(*(boxes.get(size[::step], ()) for size, _ in exact))
            totals[name] += bool(fitting)
            totals[f"{name} of its organ"] += bool(fitting & organs)
        print(number, *(f"{u}x{v}: rows {rows.tolist()}" for (u, v), rows in exact), *organs, flush=True)
    print(*(f"{name}: {total}" for name, total in totals.items()), sep="\n")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
