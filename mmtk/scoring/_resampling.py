"""The loop that gives the AUC of resamples, loaded only on use."""

from __future__ import annotations

import numpy as np
from numba import types

from mmtk.compiling import compiled

_flags = types.Array(types.bool_, 2, "C", readonly=True)


@compiled(types.void(
    types.Array(types.int32, 2, "A", readonly=True), types.Array(types.int32, 2, "C", readonly=True), _flags, _flags,
    types.Array(types.float64, 2, "A"),
))
def areas(counts, order, new, positive, out):  # type: ignore[no-untyped-def]
    """AUC of each column in each resample.

    Parameters
    ----------
    counts : (resamples, n) int32
        How often each row comes.
    order : (columns, n) int32
        Rows from the lowest score up.
    new : (columns, n) bool
        Where a score is above the one before it.
    positive : (columns, n) bool
    out : (resamples, columns) float64
        Filled; NaN where a column has lost a class.
    """
    for b in range(counts.shape[0]):
        times = counts[b]
        for column in range(order.shape[0]):
            twice = np.int64(0)  # the area in half pairs, whole numbers throughout
            below = np.int64(0)
            ones = np.int64(0)
            tied_ones = np.int64(0)
            tied_zeros = np.int64(0)
            for at in range(order.shape[1]):
                if new[column, at]:
                    twice += tied_ones * (2 * below + tied_zeros)
                    below += tied_zeros
                    ones += tied_ones
                    tied_ones = np.int64(0)
                    tied_zeros = np.int64(0)
                weight = np.int64(times[order[column, at]])
                if positive[column, at]:
                    tied_ones += weight
                else:
                    tied_zeros += weight
            twice += tied_ones * (2 * below + tied_zeros)
            below += tied_zeros
            ones += tied_ones
            out[b, column] = twice / (2.0 * ones * below) if ones > 0 and below > 0 else np.nan
