"""How a volume lies: which way its array's axes run in the patient, and a view of it turned by them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis that a plane lies across
_TOWARDS = ("RL", "AP", "SI")  # along a patient's three axes, those of a matrix first
Bounds = tuple[int, int, int, int, int, int]
Vector = tuple[float, float, float]
Steps = tuple[Vector, Vector, Vector]
_TURNED = "LPS"  # to the patient's left, back and head
_FLAT = 1e-6  # below which three axes are taken to lie in one plane
_TIE = 1e-3  # by which an axis is to be nearer to one of the patient's than to the next: 0.04 degrees


class Grid(NamedTuple):
    """How the voxels of an array ``(x, y, z)`` lie; origin and steps as in `VolumeHeader`."""

    shape: tuple[int, int, int]
    spacing: Vector
    origin: Vector | None
    steps: Steps | None


class _Lying:
    """What follows from how a volume lies."""

    axes: str
    signs: tuple[int, int, int]
    spacing: Vector
    origin: Vector | None
    steps: Steps | None

    @property
    def _sides(self) -> tuple[int, int, int]:
        raise NotImplementedError

    @property
    def grid(self) -> Grid:
        """Of the file's array."""
        return Grid(self._sides, self.spacing, self.origin, self.steps)

    @property
    def turned_shape(self) -> tuple[int, int, int]:
        """As `turn_volume` turns it."""
        shape, (x, y, z) = self._sides, _order(self)
        return (shape[x], shape[y], shape[z])

    @property
    def turned_spacing(self) -> Vector:
        """As `turn_volume` turns it."""
        x, y, z = _order(self)
        return (self.spacing[x], self.spacing[y], self.spacing[z])

    @property
    def turned_grid(self) -> Grid:
        """As `turn_volume` turns it."""
        axes, order, sides = _told(self), _order(self), self._sides
        if self.steps is None:
            return Grid(self.turned_shape, self.turned_spacing, None, None)
        steps = np.array(self.steps)
        back = [at for at in order if axes[at] not in _TURNED]  # axes that are turned round
        first = sum(((sides[at] - 1) * steps[at] for at in back), np.zeros(3))
        steps[back] *= -1
        x, y, z = (_vector(steps[at]) for at in order)
        origin = self.origin and _vector(first + self.origin)
        return Grid(self.turned_shape, self.turned_spacing, origin, (x, y, z))

    @property
    def turned_origin(self) -> Vector | None:
        """Where the first voxel lies after `turn_volume`."""
        return self.turned_grid.origin


@dataclass(frozen=True)
class VolumeHeader(_Lying):
    """What a volume's header says.

    Attributes
    ----------
    shape : (nx, ny, nz)
        Voxels along the axes of the file's array.
    dtype : numpy dtype
        As stored.
    slope, inter : float
        Values, for CT Hounsfield units, are ``slope * stored + inter``.
    offset : int
        Byte at which the voxels start.
    signs : (sx, sy, sz)
        Whether each axis runs towards right, anterior, superior (+1) or the other way (-1); 0s where the file does not
        say, or its axes are not, in this order, those of the body.
    spacing : (sx, sy, sz)
        Size of a voxel in mm along the axes of the file's array; 0s where the file does not say.
    axes : str
        Three letters towards which the axes of the file's array run, such as "RAS", "LPS" or "SPL": right or left,
        anterior or posterior, superior or inferior, the nearest where they run obliquely. Empty where the file does not
        say, contradicts itself, or two are as near.
    origin : (x, y, z) or None
        Where the centre of the first voxel of the file's array lies, in mm towards right, anterior and superior, as
        in NIfTI. None where the file does not say, or contradicts itself about the axes.
    steps : three of (x, y, z), or None
        From a voxel to the next along each axis of the file's array, in mm towards right, anterior and superior; their
        directions are those of the axes. None as of the origin.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float
    inter: float
    offset: int
    signs: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str = ""
    origin: Vector | None = None
    steps: Steps | None = None

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def _sides(self) -> tuple[int, int, int]:
        return self.shape


@dataclass(frozen=True)
class Volume(_Lying):
    """A volume: ``voxels`` (nz, ny, nx), of a CT Hounsfield units as int16; for the rest see `VolumeHeader`."""

    voxels: NDArray[Any]
    signs: tuple[int, int, int] = (0, 0, 0)
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: str = ""
    origin: Vector | None = None
    steps: Steps | None = None

    @property
    def _sides(self) -> tuple[int, int, int]:
        z, y, x = self.voxels.shape
        return (x, y, z)


def nearest_axes(matrix: NDArray[np.float64]) -> str:
    """The letters of `VolumeHeader.axes`, from a matrix whose columns are steps along the array's axes.

    The rows of the matrix run towards right, anterior and superior. As nibabel finds them: by the nearest rotation,
    the clearest axis first.
    """
    if not np.isfinite(matrix).all() or not matrix.any():
        return ""
    steps = matrix / np.abs(matrix).max()  # no square of it overflows
    lengths = np.sqrt((steps * steps).sum(axis=0))
    if not lengths.all():
        return ""
    left, strengths, right = np.linalg.svd(steps / lengths)
    if strengths[-1] < _FLAT:  # two axes run alike
        return ""
    rotation = left @ right
    letters = ["", "", ""]
    for axis in np.argsort(-np.abs(rotation).max(axis=0), kind="stable"):
        nearness = np.abs(rotation[:, axis])
        towards = int(nearness.argmax())
        if nearness[towards] - np.delete(nearness, towards).max() < _TIE:
            return ""
        letters[axis] = _TOWARDS[towards][int(rotation[towards, axis] < 0)]
        rotation[towards] = 0  # taken
    return "".join(letters)


def body_signs(matrix: NDArray[np.float64]) -> tuple[int, int, int]:
    """`VolumeHeader.signs`, from the matrix of `nearest_axes`."""
    if not np.isfinite(matrix).all():
        return (0, 0, 0)
    longest = np.abs(matrix).argmax(axis=0)
    if longest.tolist() != [0, 1, 2] or not all(matrix[i, i] for i in range(3)):
        return (0, 0, 0)
    x, y, z = (int(np.sign(matrix[i, i])) for i in range(3))
    return (x, y, z)


def place_of(
    matrix: NDArray[np.float64], origin: Sequence[float] | NDArray[np.float64], factor: float = 1.0
) -> tuple[Vector | None, Steps | None]:
    """Origin and steps in mm, from the matrix of `nearest_axes` and an origin; None for what is no place."""
    with np.errstate(over="ignore", invalid="ignore"):
        columns, first = matrix.T * factor, np.array(origin[:3], float) * factor
        lengths = np.sqrt((columns * columns).sum(axis=1, keepdims=True))
        whole = columns.shape == (3, 3) and bool(np.isfinite(lengths).all() and lengths.all())
        whole = whole and abs(float(np.linalg.det(columns / lengths))) > _FLAT
    x, y, z = map(_vector, columns) if whole else ((0.0, 0.0, 0.0),) * 3
    return _vector(first) if len(first) == 3 and np.isfinite(first).all() else None, (x, y, z) if whole else None


def _vector(numbers: NDArray[np.float64]) -> Vector:
    x, y, z = numbers.tolist()
    return x, y, z


def lie(matrix: NDArray[np.float64]) -> tuple[tuple[int, int, int], str]:
    """Signs and axes, from the matrix of `nearest_axes`; no axes where the two would differ."""
    signs, axes = body_signs(matrix), nearest_axes(matrix)
    return signs, "" if 0 not in signs and axes != axes_of(signs) else axes


def axes_of(signs: tuple[int, int, int]) -> str:
    """The letters of axes that are those of the body in their order; empty for 0s."""
    return "" if 0 in signs else "".join(pair[sign < 0] for pair, sign in zip(_TOWARDS, signs, strict=True))


def _order(volume: _Lying) -> tuple[int, ...]:
    """The array's axes that run along the patient's x, y and z."""
    axes = _told(volume)
    return tuple(next(at for at, letter in enumerate(axes) if letter in pair) for pair in _TOWARDS)


def _told(volume: _Lying) -> str:
    axes = volume.axes or axes_of(volume.signs)
    if not axes:
        raise ArgumentError("volume", expected="one that tells its axes", found="one that does not")
    return axes


def turn_volume(volume: Volume) -> NDArray[Any]:
    """A volume's voxels ``(x, y, z)``, turned so that x runs to the patient's left, y to the back and z upwards.

    Returns
    -------
    ndarray
        A view.

    Raises
    ------
    ArgumentError
        If the file does not tell its axes.
    """
    axes, order = _told(volume), _order(volume)
    x, y, z = (slice(None, None, 1 if axes[at] in _TURNED else -1) for at in order)
    return volume.voxels.transpose(2, 1, 0).transpose(order)[x, y, z]


def turn_box(volume: Volume, box: Bounds) -> Bounds:
    """Where a box of a volume's array lies as `turn_volume` turns it.

    Raises
    ------
    ArgumentError
        If the file does not tell its axes.
    """
    axes, order, sides = _told(volume), _order(volume), volume.voxels.shape[::-1]
    bounds = [box[2 * at : 2 * at + 2] for at in range(3)]
    (xmin, xmax), (ymin, ymax), (zmin, zmax) = (
        bounds[at] if axes[at] in _TURNED else (sides[at] - bounds[at][1], sides[at] - bounds[at][0]) for at in order
    )
    return xmin, xmax, ymin, ymax, zmin, zmax


def cut_plane(grid: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """One plane of a grid ``(x, y, z)``: rows along the lower of its two axes, columns along the higher one.

    Parameters
    ----------
    grid : ndarray, shape (ux, uy, uz)
    plane : {"axial", "coronal", "sagittal"}
        Across z, y or x.
    index : int

    Returns
    -------
    ndarray, shape (h, w)
        A view: ``grid[:, :, index]``, ``grid[:, index]`` or ``grid[index]``.

    Raises
    ------
    ArgumentError
        For another plane or a slice outside the grid.
    """
    if plane not in PLANES or not 0 <= index < grid.shape[PLANES[plane]]:
        expected = f"a slice of {', '.join(PLANES)} inside a grid of {' x '.join(map(str, grid.shape))}"
        raise ArgumentError("slice", expected=expected, found=f"{plane} {index}")
    picture: NDArray[Any] = np.moveaxis(grid, PLANES[plane], 0)[index]
    return picture
