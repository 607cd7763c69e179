"""The distance between the voxel grids of two volumes in patient space."""

from __future__ import annotations

import itertools

import numpy as np

from mmtk.imaging._axes import Grid


def voxels_apart(grid: Grid, other: Grid) -> tuple[float, float]:
    """Measure how far apart two grids of equal shape are, in voxels of `other`, along its worst axis.

    Parameters
    ----------
    grid, other : Grid
        Their shapes must be equal; see `Volume.grid` and `Volume.turned_grid`.

    Returns
    -------
    first : float
        Distance between the first voxels, in voxels; 0 if either origin is unknown.
    corner : float
        Largest distance between corresponding corners once the first voxels coincide, in voxels, which measures the
        tilt; 0 if either direction matrix is unknown.

    Examples
    --------
    >>> from mmtk.imaging import Grid, voxels_apart
    >>> steps = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 2.0))
    >>> image = Grid((4, 4, 4), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), steps)
    >>> mask = image._replace(origin=(0.0, 0.0, 1.0))
    >>> voxels_apart(mask, image)
    (0.5, 0.0)
    """
    first, corner = 0.0, 0.0
    steps = np.diag(other.spacing) if other.steps is None else np.array(other.steps).T
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt((steps * steps).sum(axis=0))
        if not lengths.all():
            return first, corner
        to_voxels = np.linalg.inv(steps / lengths) / lengths[:, None]
        if grid.origin and other.origin:
            first = _most(to_voxels @ np.subtract(grid.origin, other.origin))
        if grid.steps and other.steps:
            corners = np.array(list(itertools.product(*((0, size - 1) for size in grid.shape))))
            corner = _most(to_voxels @ np.subtract(grid.steps, other.steps).T @ corners.T)
    return first, corner


def _most(distances: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(np.nan_to_num(np.abs(distances), nan=np.inf).max())
