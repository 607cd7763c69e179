"""The compiled loop that computes the AUC of resamples; imported only when used."""

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
        How often a resample contains each row.
    order : (columns, n) int32
        Rows by ascending score.
    new : (columns, n) bool
        Whether a score is above the previous one.
    positive : (columns, n) bool
    out : (resamples, columns) float64
        Output; NaN if a class is absent from a resample.
    """
    for b in range(counts.shape[0]):
        times = counts[b]
        for column in range(order.shape[0]):
            twice = np.int64(0)  # the area in half pairs, so that all numbers are integers
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
