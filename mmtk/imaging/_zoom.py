"""The cubic spline zoom of a CT box, to the voxel as scipy computes it, an axis at a time in C.

scipy sums 64 products for each voxel, and its result is the definition here. Sampling commutes with filtering along
another axis, so the C kernel does one axis after the other with four products each. Its last bits differ; where a value
lies so near a half that they could turn its rounding, scipy computes the box once more, and without the kernel,
or with ``MMTK_KERNELS=numba``, it computes every one.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError
from mmtk.imaging._resizer import LARGEST, integers, kernels_in_use

BORDERS = ("zero", "edge")
_TAPS = 4
_GAIN = 6 * (2 - math.sqrt(3))  # of the two recursions that make spline coefficients, in mmtk._native


def _coordinates(n: int, u: int) -> NDArray[np.float64]:
    """Where along `n` voxels each of `u` is sampled; the last one may lie a last bit beyond n - 1."""
    return np.arange(u, dtype=np.float64) * ((n - 1) / (u - 1) if u > 1 else 1.0)


@lru_cache(maxsize=256)
def _table(n: int, u: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """First tap and four weights of each output, taps beyond an end turned back inside."""
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
    """Bring a box of a CT volume to another grid by a cubic spline, to the voxel as OrganMNIST was made.

    Parameters
    ----------
    volume : ndarray of int16, shape (nx, ny, nz)
        Of any strides, read-only or not, and taken without a copy; fastest where voxels lie side by side along x.
    shape : (ux, uy, uz)
        Voxels of the grid along each axis.
    border : {"zero", "edge"}
        What becomes of samples beyond the last voxel, see the notes.

    Returns
    -------
    ndarray of int16, shape (ux, uy, uz)
        New; an axial plane ``[:, :, k]`` is C-contiguous.

    Raises
    ------
    ArgumentError
        If `volume` is not int16 of three axes, if a side of it or of `shape` is below 1 or above 32768, or if `border`
        is unknown.

    Notes
    -----
    Along each axis sample k lies at ``x = k * ((n - 1) / (u - 1))`` in double, at 0 where u is 1. Its value is the
    interpolating cubic B-spline's at that place,

    .. math:: f(x) = \\sum_i c_i \\beta^3(x - i), \\qquad f(i) = v_i,

    voxels mirrored at the ends without repeating them, the product of the three axes taken, rounded with halves away
    from zero and clipped to int16. This is ``scipy.ndimage.zoom(volume, factors, order=3)`` for all factors whose
    product with the box's sides rounds to `shape`, and equal to it in every voxel.

    Where rounding puts the last x beyond n - 1, which for many sizes happens by a last bit, scipy samples outside the
    box and gives 0. So do the official OrganMNIST pixels, and ``border="zero"``: there the last of an axis is 0 HU.
    ``border="edge"`` samples at n - 1 instead; then the grid is that of ``scipy.ndimage.map_coordinates`` with
    ``order=3, mode="mirror"`` at ``min(x, n - 1)``, and the same in all other voxels.

    The prefilter is that of Unser, Aldroubi and Eden, "B-spline signal processing", IEEE Trans. Signal Processing 41
    (1993). That OrganMNIST was made this way, from each organ's box with factors 0.7031 / 2, 0.7031 / 2 and 2.5, was
    recovered from its official pixels: those of LiTS volume 44 are met bit for bit.
    """
    volume = np.asarray(volume)
    if volume.dtype != np.int16 or volume.ndim != 3:
        found = f"{volume.dtype} of shape {volume.shape}"
        raise ArgumentError("volume", expected="int16 of shape (x, y, z)", found=found)
    if border not in BORDERS:
        raise ArgumentError("border", expected=" or ".join(BORDERS), found=repr(border))
    ux, uy, uz = integers("shape", shape, "three integers (x, y, z)", 3)
    for what, sides in (("volume", volume.shape), ("shape", (ux, uy, uz))):
        if min(sides) < 1 or max(sides) > LARGEST:
            raise ArgumentError(what, expected=f"1 to {LARGEST} voxels a side", found=f"(x, y, z) = {sides}")
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
            if _coordinates(n, u)[-1] > n - 1:  # by a last bit
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
