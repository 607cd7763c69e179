"""CT windowing: Hounsfield units to grey levels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError


def hu_window(
    volume: NDArray[np.int16] | NDArray[np.float32], level: float = 50, width: float = 400
) -> NDArray[np.uint8]:
    """Map a window of Hounsfield units to grey levels.

    ``floor(clip((hu - (level - width / 2)) / width, 0, 1) * 255 + 0.5)``, computed in double: the lower end of the
    window becomes 0, the upper end 255, halves are rounded up. Infinities fall to the ends.

    Parameters
    ----------
    volume : ndarray of int16 or float32, any shape
        Hounsfield units.
    level, width : float
        Centre and width of the window in HU; `width` is positive.

    Returns
    -------
    ndarray of uint8
        The shape of `volume`.

    Raises
    ------
    ArgumentError
        If `volume` has another dtype or holds NaN, or if the window is not finite or not wider than 0.
    """
    hu: NDArray[Any] = np.asarray(volume)
    native = hu.dtype.newbyteorder("=")
    if native not in (np.dtype(np.int16), np.dtype(np.float32)):
        raise ArgumentError("volume", expected="Hounsfield units as int16 or float32", found=str(hu.dtype))
    if not (math.isfinite(level) and math.isfinite(width) and width > 0):
        raise ArgumentError("window", expected="a finite level and a width above 0", found=f"{level}, {width}")
    from mmtk.imaging._numba_kernels import window

    units = np.ascontiguousarray(hu, dtype=native).reshape(-1)
    out = np.empty(units.shape, np.uint8)
    if not window(units, float(level) - float(width) / 2, float(width), out):
        raise ArgumentError("volume", expected="numbers", found="NaN", remedy="replace NaN, say by -1024 (air)")
    return out.reshape(hu.shape)
