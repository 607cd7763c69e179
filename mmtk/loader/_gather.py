"""Gather rows of a split into a buffer, raw or normalised."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 17  # values normalised at a time without the C kernel: half a MiB, which stays in the cache


def gather(images: NDArray[np.uint8], rows: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Write rows of `images` into `out`.

    Normalised values are ``x / 127.5 - 1`` in float32, which has the same bits as ``(x / 255 - 0.5) / 0.5``, since
    scaling by two is exact; for bfloat16 they are rounded to nearest, ties to even.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w, c), or (n, d, h, w, c) for volumes
    rows : ndarray of int64, shape (b,)
        Row numbers from 0 to n - 1.
    out : ndarray, shape (b, h, w, c), or (b, d, h, w, c)
        Contiguous, not overlapping the inputs; uint8, or for normalised values float32, or uint16 holding the bits of
        bfloat16.

    Raises
    ------
    IndexError
        If a row number is out of range.
    ValueError
        If `out` overlaps the images or the rows, or types and shapes do not match.
    """
    _kernel()(images, np.ascontiguousarray(rows), out)


@cache
def _kernel() -> Callable[..., None]:
    try:
        from mmtk._native import gather as native
    except ImportError:
        return _gather_plain
    return native


def _gather_plain(images: NDArray[np.uint8], rows: NDArray[np.int64], out: NDArray[Any]) -> None:
    if np.may_share_memory(images, out) or np.may_share_memory(rows, out):
        raise ValueError("out: expected a memory of its own, which overlaps neither images nor rows")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(images)):  # as the C kernel says it
        wrong = int(np.flatnonzero((rows < 0) | (rows >= len(images)))[0])
        raise IndexError(f"rows[{wrong}]: expected 0 to {len(images) - 1}")
    if out.dtype == np.uint8:
        np.take(images, rows, axis=0, out=out, mode="clip")  # the one mode that fills `out` directly
        return
    step = max(1, _BLOCK // max(1, images[0].size))
    for start in range(0, len(rows), step):
        exact: NDArray[Any] = images[rows[start : start + step]] / np.float32(127.5) - np.float32(1)
        if out.dtype == np.uint16:
            bits = exact.view(np.uint32)
            tie = bits >> np.uint32(16) & np.uint32(1)
            exact = (bits + np.uint32(0x7FFF) + tie) >> np.uint32(16)
        out[start : start + step] = exact
