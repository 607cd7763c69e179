"""Cubic-spline resampling of an organ's box, by SciPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def zoom(volume: NDArray[np.int16], shape: tuple[int, int, int], border: str = "zero") -> NDArray[np.int16]:
    """Resample a box to a grid of a shape."""
    from scipy.ndimage import zoom as by_scipy

    factors = tuple(u / n for u, n in zip(shape, volume.shape, strict=True))
    grid: NDArray[np.int16] = by_scipy(volume, factors, order=3, mode="constant" if border == "zero" else "nearest")
    return grid
