"""CT windowing: Hounsfield units to grey levels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError

_BLOCK = 1 << 16  # voxels per block, so that their table indices stay in the cache


def hu_window(
    volume: NDArray[np.int16] | NDArray[np.float32], level: float = 50, width: float = 400, rounding: str = "nearest"
) -> NDArray[np.uint8]:
    """Map a window of Hounsfield units to grey levels.

    The result is ``floor(clip((hu - (level - width / 2)) / width, 0, 1) * 255 + 0.5)``, computed in double: the lower
    end of the window becomes 0, the upper end 255, and halves are rounded up. Infinities map to the ends. With
    ``rounding="down"`` it is ``floor(clip((hu - (level - width / 2)) * 255 / width, 0, 255))``; for OrganMNIST's level
    25 and width 450 that equals ``17 * (clip(hu, -200, 250) + 200) // 30``.

    Parameters
    ----------
    volume : ndarray of int16 or float32, any shape
        Hounsfield units.
    level, width : float
        Centre and width of the window in HU; `width` is positive.
    rounding : {"nearest", "down"}
        How grey levels are rounded to integers.

    Returns
    -------
    ndarray of uint8
        Same shape and memory order as `volume`.

    Raises
    ------
    ArgumentError
        If `volume` has another dtype or contains NaN, if the window is not finite or not wider than 0, or if `rounding`
        is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import hu_window
    >>> hu_window(np.array([-1000, -150, 50, 250], np.int16), level=50, width=400).tolist()
    [0, 0, 128, 255]
    """
    hu: NDArray[Any] = np.asarray(volume)
    native = hu.dtype.newbyteorder("=")
    if native not in (np.dtype(np.int16), np.dtype(np.float32)):
        raise ArgumentError("volume", found=str(hu.dtype), expected="Hounsfield units as int16 or float32")
    if not (math.isfinite(level) and math.isfinite(width) and width > 0):
        raise ArgumentError("window", found=f"{level}, {width}", expected="a finite level and a width above 0")
    if rounding not in ("nearest", "down"):
        raise ArgumentError("rounding", expected="nearest or down", found=repr(rounding))
    out = np.empty_like(hu, np.uint8, subok=False)
    low, down = float(level) - float(width) / 2, rounding == "down"
    if native == np.int16:
        greys = _greys(low, float(width), down)
        if hu.ndim == 2:  # a slice may be strided in its volume
            rows = max(1, _BLOCK // max(1, hu.shape[1]))
            for top in range(0, hu.shape[0], rows):
                _look_up(hu[top : top + rows], greys, out[top : top + rows])
        else:
            units, levels = np.ravel(hu, "K"), np.ravel(out, "K")
            for start in range(0, units.size, _BLOCK):
                _look_up(units[start : start + _BLOCK], greys, levels[start : start + _BLOCK])
    elif not _window(np.ravel(hu, "K").astype(native, copy=False), low, float(width), down, np.ravel(out, "K")):
        raise ArgumentError("volume", "contains NaN", remedy="replace NaN, for example by -1024 (air)")
    return out


def percentile_window(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Map the range between two percentiles of measured values to grey levels, like `hu_window`.

    Parameters
    ----------
    values : ndarray of int16 or float32, any shape
    low, high : float
        The percentiles, 0 to 100, that become 0 and 255, interpolated linearly as in NumPy.

    Returns
    -------
    ndarray of uint8
        Same shape as `values`; all 0 if the two percentiles are equal.

    Raises
    ------
    ArgumentError
        As for `hu_window`.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import percentile_window
    >>> percentile_window(np.array([0, 100, 200, 4000], np.int16), 0, 75).tolist()
    [0, 22, 44, 255]
    """
    black, white = _percentiles(values, (low, high))
    if not black < white:
        return np.zeros(values.shape, np.uint8)
    return hu_window(values, (black + white) / 2, white - black)


def _percentiles(values: NDArray[Any], shares: tuple[float, float]) -> list[float]:
    """NumPy's linear percentiles; for 16-bit integers by counting, five times as fast as by sorting.

    For int16, NumPy itself takes the difference of two neighbours as int16, which can overflow.
    """
    counts, least = _counts(values)
    if counts is None:
        return [float(value) for value in np.percentile(values, shares)]
    up_to, last = np.cumsum(counts), values.size - 1
    percentiles = []
    for share in shares:
        place = share / 100 * last
        below = math.floor(place)
        first, second = (
            least + int(np.searchsorted(up_to, at, side="right")) for at in (below, min(below + 1, last))
        )
        part = place - below
        percentiles.append(
            first + (second - first) * part if part < 0.5 else second - (second - first) * (1 - part)
        )
    return percentiles


def _counts(values: NDArray[Any]) -> tuple[NDArray[np.int64] | None, int]:
    """The count of each 16-bit integer, and the least of these integers; None if there are other values."""
    flat = np.ravel(values, "K")
    signed = flat.dtype.newbyteorder("=") == np.int16
    counts = np.zeros(1 << 16, np.int64)
    for start in range(0, flat.size, _BLOCK):
        some = flat[start : start + _BLOCK]
        if signed:
            whole = some.astype(np.int16, copy=False).view(np.uint16) ^ np.uint16(1 << 15)
        else:
            with np.errstate(invalid="ignore"):
                whole = some.astype(np.uint16)
            if not (whole == some).all():
                return None, 0
        counts += np.bincount(whole, minlength=1 << 16)
    return (counts, -(1 << 15) if signed else 0) if flat.size else (None, 0)


@lru_cache(maxsize=16)
def _greys(low: float, width: float, down: bool) -> NDArray[np.uint8]:
    """The grey level of every int16: 0 to 32767, then -32768 to -1."""
    with np.errstate(over="ignore"):  # level or width may be near the limits of double
        above = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.float64) - low
        if down:  # for integers the product is exact, and so is an integer quotient
            return np.clip(above * 255.0 / width, 0.0, 255.0).astype(np.uint8)
        return (np.clip(above / width, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _look_up(units: NDArray[np.int16], greys: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Write the grey levels of `units`, which may have any strides and byte order, into `out`.

    NumPy takes 1.4 ns per voxel and a Numba loop 0.6, but importing Numba takes a second, in which NumPy windows a CT
    of 900 slices three times.
    """
    places = units.astype(np.int16, copy=False).view(np.uint16).astype(np.intp)
    np.take(greys, places, out=out, mode="clip")  # mode "raise" would buffer `out`


def _window(units: NDArray[np.float32], low: float, width: float, down: bool, out: NDArray[np.uint8]) -> bool:
    from mmtk.imaging._numba_kernels import window

    return bool(window(units, low, width, down, out))
