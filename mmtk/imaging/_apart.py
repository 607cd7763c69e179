"""How far the voxels of two arrays lie apart in the patient."""

from __future__ import annotations

import itertools

import numpy as np

from mmtk.imaging._axes import Grid


def voxels_apart(grid: Grid, other: Grid) -> tuple[float, float]:
    """How far two arrays of equal shape lie apart, along the axis of the other's where they do so the most.

    Returns
    -------
    first : float
        Voxels between the first voxels of the two; 0 where one of them does not tell its place.
    corner : float
        Voxels between two corners, were the first voxels in one place: the tilt. 0 where one does not tell its steps.
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
