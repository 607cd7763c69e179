"""Cubic spline zoom of a CT box: every voxel as computed by scipy, but one axis at a time in C.

scipy sums 64 products per voxel, and its result is the definition here. Sampling commutes with filtering along another
axis, so the C kernel handles one axis after the other with four products each. Its last bits differ; if a value is so
close to a half that they could change its rounding, scipy computes the box again. Without the kernel, or with
``MMTK_KERNELS=numba``, scipy computes every box.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, UnknownNameError
from mmtk.imaging._resizer import LARGEST, integers, kernels_in_use

BORDERS = ("zero", "edge")
_TAPS = 4
_GAIN = 6 * (2 - math.sqrt(3))  # of the two recursions for the spline coefficients in mmtk._native


def _coordinates(n: int, u: int) -> NDArray[np.float64]:
    """The positions along `n` voxels at which the `u` samples are taken; the last may exceed n - 1 by one ulp."""
    return np.arange(u, dtype=np.float64) * ((n - 1) / (u - 1) if u > 1 else 1.0)


@lru_cache(maxsize=256)
def _table(n: int, u: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """First tap and four weights of each output; taps beyond an end are mirrored."""
    at = np.minimum(_coordinates(n, u), n - 1)
    floor = np.floor(at)
    y = at - floor
    z = 1 - y
    cubic = np.stack([z**3 / 6, (y * y * (y - 2) * 3 + 4) / 6, (z * z * (z - 2) * 3 + 4) / 6, y**3 / 6], axis=1)
    tap = floor.astype(np.int64)[:, None] + np.arange(-1, 3)
    period = max(2 * n - 2, 1)
    tap %= period
    tap = np.minimum(tap, period - tap) if n > 1 else tap
    first = np.clip(floor.astype(np.int64) - 1, 0, max(n - _TAPS, 0))
    weights = np.zeros((u, _TAPS))
    np.add.at(weights, (np.arange(u)[:, None], tap - first[:, None]), cubic)
    if n > 1:
        weights *= _GAIN
    tables = first.astype(np.int32), weights
    for table in tables:
        table.flags.writeable = False
    return tables


def zoom(volume: NDArray[np.int16], shape: tuple[int, int, int], border: str = "zero") -> NDArray[np.int16]:
    """Resample a box of a CT volume to another grid with a cubic spline, voxel for voxel as for OrganMNIST.

    Parameters
    ----------
    volume : ndarray of int16, shape (nx, ny, nz)
        Hounsfield units. Any strides, read-only or not, without a copy; fastest if voxels are contiguous along x.
    shape : (ux, uy, uz)
        Number of grid points along each axis.
    border : {"zero", "edge"}
        Value of samples beyond the last voxel; see Notes.

    Returns
    -------
    ndarray of int16, shape (ux, uy, uz)
        New; an axial plane ``[:, :, k]`` is C-contiguous.

    Raises
    ------
    ArgumentError
        If `volume` is not int16 with three axes, if a side of it or of `shape` is below 1 or above 32768, or if
        `border` is unknown.

    Notes
    -----
    Along each axis sample k is taken at ``x = k * ((n - 1) / (u - 1))`` in double, or at 0 if u is 1. Its value is that
    of the interpolating cubic B-spline,

    .. math:: f(x) = \\sum_i c_i \\beta^3(x - i), \\qquad f(i) = v_i,

    with voxels mirrored at the ends without repetition, as a tensor product over the three axes, rounded with halves
    away from zero and clipped to int16. Every voxel equals ``scipy.ndimage.zoom(volume, factors, order=3)`` for all
    factors whose product with the box's sides rounds to `shape`.

    If rounding puts the last x beyond n - 1, which happens by one ulp for many sizes, scipy samples outside the box and
    returns 0. So do the official OrganMNIST pixels, and so does ``border="zero"``: the last plane of that axis is 0 HU.
    ``border="edge"`` samples at n - 1 instead, like ``scipy.ndimage.map_coordinates`` with ``order=3, mode="mirror"``
    at ``min(x, n - 1)``; all other voxels are the same.

    The prefilter is that of Unser, Aldroubi and Eden, "B-spline signal processing", IEEE Trans. Signal Processing 41
    (1993). That OrganMNIST was made this way, from each organ's box with factors 0.7031 / 2, 0.7031 / 2 and 2.5, was
    inferred from its official pixels: those of LiTS volume 44 are reproduced bit for bit.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import zoom
    >>> zoom(np.full((10, 12, 8), 40, np.int16), (4, 4, 20)).shape
    (4, 4, 20)
    """
    volume = np.asarray(volume)
    if volume.dtype != np.int16 or volume.ndim != 3:
        actual = f"{volume.dtype} of shape {volume.shape}"
        raise ArgumentError("volume", expected="int16 of shape (x, y, z)", found=actual)
    if border not in BORDERS:
        raise UnknownNameError.among("border", border, BORDERS)
    ux, uy, uz = integers("shape", shape, "three integers (x, y, z)", 3)
    for what, sides in (("volume", volume.shape), ("shape", (ux, uy, uz))):
        if min(sides) < 1 or max(sides) > LARGEST:
            raise ArgumentError(what, found=f"(x, y, z) = {sides}", expected=f"1 to {LARGEST} voxels per side")
    path = kernels_in_use()
    if path == "numba":
        return _by_scipy(volume, (ux, uy, uz), border)
    from mmtk import _native

    if not volume.flags.aligned:
        volume = volume.copy()
    grid = np.empty((uz, ux, uy), np.int16)
    (nx, ny, nz), out = volume.shape, grid.transpose(1, 2, 0)
    if _native.zoom(path, volume, grid, *_table(nx, ux), *_table(ny, uy), *_table(nz, uz)):
        return _by_scipy(volume, (ux, uy, uz), border)
    if border == "zero":
        for axis, (n, u) in enumerate(zip(volume.shape, out.shape, strict=True)):
            if _coordinates(n, u)[-1] > n - 1:  # by one ulp
                out.swapaxes(0, axis)[-1] = 0
    return out


def _by_scipy(volume: NDArray[np.int16], shape: tuple[int, int, int], border: str) -> NDArray[np.int16]:
    from scipy import ndimage

    out = np.empty((shape[2], *shape[:2]), np.int16).transpose(1, 2, 0)
    if border == "zero":
        factors = [u / n for n, u in zip(volume.shape, shape, strict=True)]
        ndimage.zoom(volume, factors, output=out, order=3)
    else:
        lines = [np.minimum(_coordinates(n, u), n - 1) for n, u in zip(volume.shape, shape, strict=True)]
        ndimage.map_coordinates(volume, np.meshgrid(*lines, indexing="ij"), output=out, order=3, mode="mirror")
    return out
