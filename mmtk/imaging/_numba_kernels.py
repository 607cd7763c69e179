"""Numba equivalents of the C kernels, imported on demand: scalar, GIL-free, compiled once and cached on disk."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from mmtk.compiling import compiled

_HALF = 1 << 21
# A single signature per kernel, so that one compilation serves crops, flips and read-only arrays.
_image = types.Array(types.uint8, 3, "A", readonly=True)
_target = types.Array(types.uint8, 3, "C")
_table = types.Array(types.int32, 2, "C", readonly=True)
_bytes = types.Array(types.uint8, 1, "C", readonly=True)


@numba.njit(types.uint8(types.int64), inline="always")
def _clip8(total):  # type: ignore[no-untyped-def]
    return np.uint8(min(max(total >> 22, 0), 255))


@compiled(types.void(_image, _table, _table, types.int64, _target))
def _horizontal(src, bounds, weights, first_row, out):  # type: ignore[no-untyped-def]
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            start, count = bounds[x, 0], bounds[x, 1]
            for channel in range(out.shape[2]):
                total = np.int64(_HALF)
                for k in range(count):
                    total += weights[x, k] * np.int64(src[first_row + y, start + k, channel])
                out[y, x, channel] = _clip8(total)


@compiled(types.void(_image, _table, _table, types.int64, _target))
def _vertical(src, bounds, weights, first_row, out):  # type: ignore[no-untyped-def]
    totals = np.empty((out.shape[1], out.shape[2]), np.int64)
    for y in range(out.shape[0]):
        totals[:] = _HALF
        start = bounds[y, 0] - first_row
        for k in range(bounds[y, 1]):
            weight = np.int64(weights[y, k])
            for x in range(out.shape[1]):
                for channel in range(out.shape[2]):
                    totals[x, channel] += weight * src[start + k, x, channel]
        for x in range(out.shape[1]):
            for channel in range(out.shape[2]):
                out[y, x, channel] = _clip8(totals[x, channel])


def resize(src: NDArray[np.uint8], targets: tuple[tuple[Any, ...], ...]) -> None:
    """Resize `src` into every target like ``mmtk._native.resize``, but without checking the tables."""
    image: NDArray[Any] = src if src.ndim == 3 else src[:, :, None]
    for dst, *tables in targets:
        _resize_one(image, dst.reshape(*dst.shape[:2], -1), *tables)


def _resize_one(
    image: NDArray[Any], out: NDArray[Any], x_bounds: Any, x_weights: Any, y_bounds: Any, y_weights: Any
) -> None:
    first, end = (y_bounds[0, 0], y_bounds[-1].sum()) if y_bounds is not None else (0, len(image))
    if x_bounds is not None:
        between = out if y_bounds is None else np.empty((end - first, *out.shape[1:]), np.uint8)
        _horizontal(image, x_bounds, x_weights, first, between)
        image = between
    else:
        first = 0
    if y_bounds is not None:
        _vertical(image, y_bounds, y_weights, first, out)
    elif x_bounds is None:
        out[:] = image


@compiled(types.UniTuple(types.int64, 2)(
    _bytes, types.Array(types.int64, 2, "C", readonly=True), types.int64, types.Array(types.uint8, 1, "C")
))
def unpack_strips(data, spans, step, dst):  # type: ignore[no-untyped-def]
    """Decompress PackBits strips of `step` bytes into `dst`.

    Returns the number and length of the first strip of another length (-1 if it ends inside a run), or the number of
    strips and 0.
    """
    for strip in range(len(spans)):
        packed = data[spans[strip, 0] : spans[strip, 0] + spans[strip, 1]]
        room = dst[strip * step : (strip + 1) * step]
        at = total = 0
        while at < packed.size:
            head = int(packed[at])
            at += 1
            if head == 128:
                continue
            count, taken = (head + 1, head + 1) if head < 128 else (257 - head, 1)
            if taken > packed.size - at:
                return strip, -1
            if count <= room.size - total:
                for i in range(count):
                    room[total + i] = packed[at + (i if head < 128 else 0)]
            at += taken
            total += count
        if total != room.size:
            return strip, total
    return len(spans), 0


@compiled(types.boolean(
    types.Array(types.float32, 1, "C", readonly=True), types.float64, types.float64, types.boolean,
    types.Array(types.uint8, 1, "C"),
))
def window(units, low, width, down, out):  # type: ignore[no-untyped-def]
    """Window `units` into `out`; False if there was a NaN."""
    clean = True
    for i in range(units.size):
        above = np.float64(units[i]) - low
        clean &= above == above
        if down:  # for integers the product is exact, and so is an integer quotient
            out[i] = np.uint8(min(max(above * 255.0 / width, 0.0), 255.0))
        else:
            out[i] = np.uint8(min(max(above / width, 0.0), 1.0) * 255.0 + 0.5)
    return clean
