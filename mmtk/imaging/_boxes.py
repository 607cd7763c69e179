"""Bounding boxes of organs in a label map: all of them in one pass, a slab at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmtk.imaging._axes import Bounds
from mmtk.imaging._lookup import look_up

_SLAB = 1 << 20  # voxels per slab


def boxes_of(voxels: NDArray[np.int16], organs: Sequence[Sequence[int]]) -> list[Bounds | None]:
    """Compute the bounding box of each organ in a label map.

    Parameters
    ----------
    voxels : ndarray of int16, shape (nz, ny, nx)
        The label map.
    organs : sequence of sequence of int
        The label values of each organ; no value may belong to two organs.

    Returns
    -------
    list of (xmin, xmax, ymin, ymax, zmin, zmax) or None
        In voxels, upper ends exclusive; None for an organ that does not occur.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import boxes_of
    >>> voxels = np.zeros((4, 5, 6), np.int16)
    >>> voxels[1:3, 2, 3:5] = 7
    >>> boxes_of(voxels, [[7], [8, 9]])
    [(3, 5, 2, 3, 1, 3), None]
    """
    from scipy import ndimage

    numbers = np.zeros(1 << 16, np.uint16)  # organ number of each label value, 0 for none
    for number, values in enumerate(organs, 1):
        # negative values index from the end
        numbers[[value for value in values if -(1 << 15) <= value < 1 << 15]] = number
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
