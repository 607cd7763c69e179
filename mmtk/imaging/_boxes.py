"""Where organs lie in a label map: all of their boxes in one pass, a slab at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmtk.imaging._axes import Bounds
from mmtk.imaging._lookup import look_up

_SLAB = 1 << 20  # voxels looked at together


def boxes_of(voxels: NDArray[np.int16], organs: Sequence[Sequence[int]]) -> list[Bounds | None]:
    """The box of each organ.

    Parameters
    ----------
    voxels : ndarray of int16, shape (nz, ny, nx)
    organs : sequence of sequence of int
        The values of each, no value in two of them.

    Returns
    -------
    list of (xmin, xmax, ymin, ymax, zmin, zmax) or None
        The second of each pair lies behind the last voxel; None of an organ that is not there.
    """
    from scipy import ndimage

    numbers = np.zeros(1 << 16, np.uint16)  # by value, 0 of what is no organ
    for number, values in enumerate(organs, 1):
        numbers[[value for value in values if -(1 << 15) <= value < 1 << 15]] = number  # negative ones from the end
    lows, highs = np.full((len(organs), 3), 1 << 31), np.zeros((len(organs), 3), np.int64)
    planes = max(1, _SLAB // (voxels.shape[1] * voxels.shape[2]))
    for start in range(0, len(voxels), planes):
        slab = look_up(numbers, np.ascontiguousarray(voxels[start : start + planes]).view(np.uint16))
        for organ, spans in enumerate(ndimage.find_objects(slab, len(organs))):
            if spans is not None:
                z, y, x = spans
                low = (x.start, y.start, z.start + start)
                lows[organ] = np.minimum(lows[organ], low)
                highs[organ] = np.maximum(highs[organ], (x.stop, y.stop, z.stop + start))
    return [
        (int(low[0]), int(high[0]), int(low[1]), int(high[1]), int(low[2]), int(high[2])) if high.any() else None
        for low, high in zip(lows, highs, strict=True)
    ]
