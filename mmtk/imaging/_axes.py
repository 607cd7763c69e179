"""Volume orientation: the anatomical directions of an array's axes, and reoriented views of the array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # the axis perpendicular to each plane
_TOWARDS = ("RL", "AP", "SI")  # the two directions of each patient axis, positive first
Bounds = tuple[int, int, int, int, int, int]
Vector = tuple[float, float, float]
Steps = tuple[Vector, Vector, Vector]
_TURNED = "LPS"  # towards the patient's left, back and head
_FLAT = 1e-6  # a determinant below this means that the three axes are coplanar
_TIE = 1e-3  # how much closer an axis must be to one patient axis than to the next: 0.04 degrees


class Grid(NamedTuple):
    """The geometry of a voxel array ``(x, y, z)``.

    Attributes
    ----------
    shape : (nx, ny, nz)
        Number of voxels along each axis.
    spacing : (sx, sy, sz)
        Voxel size in mm.
    origin : (x, y, z) or None
        See `VolumeHeader`.
    steps : three of (x, y, z), or None
        See `VolumeHeader`.

    Examples
    --------
    >>> from mmtk.imaging import Grid
    >>> Grid((512, 512, 75), (0.7, 0.7, 5.0), None, None).shape
    (512, 512, 75)
    """

    shape: tuple[int, int, int]
    spacing: Vector
    origin: Vector | None
    steps: Steps | None


class _Oriented:
    """The reoriented geometry that `VolumeHeader` and `Volume` share."""

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
        """Geometry of the array as stored in the file."""
        return Grid(self._sides, self.spacing, self.origin, self.steps)

    @property
    def turned_shape(self) -> tuple[int, int, int]:
        """Shape of the array that `turn_volume` returns."""
        shape, (x, y, z) = self._sides, _order(self)
        return (shape[x], shape[y], shape[z])

    @property
    def turned_spacing(self) -> Vector:
        """Voxel size in mm along the axes of the array that `turn_volume` returns."""
        x, y, z = _order(self)
        return (self.spacing[x], self.spacing[y], self.spacing[z])

    @property
    def turned_grid(self) -> Grid:
        """Geometry of the array that `turn_volume` returns."""
        axes, order, sides = _known_axes(self), _order(self), self._sides
        if self.steps is None:
            return Grid(self.turned_shape, self.turned_spacing, None, None)
        steps = np.array(self.steps)
        back = [at for at in order if axes[at] not in _TURNED]  # axes that are reversed
        first = sum(((sides[at] - 1) * steps[at] for at in back), np.zeros(3))
        steps[back] *= -1
        x, y, z = (_vector(steps[at]) for at in order)
        origin = self.origin and _vector(first + self.origin)
        return Grid(self.turned_shape, self.turned_spacing, origin, (x, y, z))

    @property
    def turned_origin(self) -> Vector | None:
        """Position of the first voxel of the array that `turn_volume` returns, in mm; None if unknown."""
        return self.turned_grid.origin


@dataclass(frozen=True)
class VolumeHeader(_Oriented):
    """The header of a volume.

    Attributes
    ----------
    shape : (nx, ny, nz)
        Number of voxels along each axis of the array in the file.
    dtype : numpy dtype
        Of the stored values.
    slope, inter : float
        Values (for CT, Hounsfield units) are ``slope * stored + inter``.
    offset : int
        Byte offset of the voxels.
    signs : (sx, sy, sz)
        +1 for each axis that runs towards right, anterior or superior, -1 if it runs the other way; all 0 if the file
        does not say, or if its axes are not the body axes in this order.
    spacing : (sx, sy, sz)
        Voxel size in mm along the axes of the array in the file; all 0 if the file does not say.
    axes : str
        Three letters for the directions of the array's axes, such as "RAS", "LPS" or "SPL": right or left, anterior or
        posterior, superior or inferior; for oblique axes the nearest. Empty if the file does not say, contradicts
        itself, or two directions are equally near.
    origin : (x, y, z) or None
        Centre of the first voxel, in mm towards right, anterior and superior, as in NIfTI. None if the file does not
        say, or contradicts itself about the axes.
    steps : three of (x, y, z), or None
        Vector from a voxel to the next along each axis of the array, in mm towards right, anterior and superior. None
        under the same conditions as `origin`.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import VolumeHeader
    >>> header = VolumeHeader((512, 512, 75), np.dtype("<i2"), 1.0, 0.0, 352, (-1, -1, 1), (0.7, 0.7, 5.0), axes="LPS")
    >>> header.bytes
    39321600
    >>> header.turned_spacing
    (0.7, 0.7, 5.0)
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
        """Size of the stored voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def _sides(self) -> tuple[int, int, int]:
        return self.shape


@dataclass(frozen=True)
class Volume(_Oriented):
    """The voxels of a volume with their orientation.

    Attributes
    ----------
    voxels : ndarray, shape (nz, ny, nx)
        For CT, Hounsfield units as int16.
    signs, spacing, axes, origin, steps
        See `VolumeHeader`.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import Volume
    >>> volume = Volume(np.zeros((75, 512, 512), np.int16), spacing=(0.7, 0.7, 5.0), axes="RPI")
    >>> volume.turned_shape
    (512, 512, 75)
    """

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

    The rows of the matrix run towards right, anterior and superior. The method is nibabel's: take the nearest rotation
    and assign the most clear-cut axis first.
    """
    if not np.isfinite(matrix).all() or not matrix.any():
        return ""
    steps = matrix / np.abs(matrix).max()  # no square of it overflows
    lengths = np.sqrt((steps * steps).sum(axis=0))
    if not lengths.all():
        return ""
    left, strengths, right = np.linalg.svd(steps / lengths)
    if strengths[-1] < _FLAT:  # the axes are coplanar
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
    """Origin and steps in mm, from the matrix of `nearest_axes` and an origin; None for whichever is not valid."""
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


def orientation_of(matrix: NDArray[np.float64]) -> tuple[tuple[int, int, int], str]:
    """Signs and axes, from the matrix of `nearest_axes`; axes are empty if the two would disagree."""
    signs, axes = body_signs(matrix), nearest_axes(matrix)
    return signs, "" if 0 not in signs and axes != axes_of(signs) else axes


def axes_of(signs: tuple[int, int, int]) -> str:
    """The letters of axes that are the body axes in order, from their signs; empty for 0s."""
    return "" if 0 in signs else "".join(pair[sign < 0] for pair, sign in zip(_TOWARDS, signs, strict=True))


def _order(volume: _Oriented) -> tuple[int, ...]:
    """The array's axes that run along the patient's x, y and z."""
    axes = _known_axes(volume)
    return tuple(next(at for at, letter in enumerate(axes) if letter in pair) for pair in _TOWARDS)


def _known_axes(volume: _Oriented) -> str:
    axes = volume.axes or axes_of(volume.signs)
    if not axes:
        raise ArgumentError("volume", "cannot be reoriented: its header does not give the anatomical axes")
    return axes


def turn_volume(volume: Volume) -> NDArray[Any]:
    """Reorient a volume so that x runs to the patient's left, y to the back and z to the head (LPS).

    Parameters
    ----------
    volume : Volume

    Returns
    -------
    ndarray, shape (nx, ny, nz)
        A view of ``volume.voxels``, axes in the order x, y, z.

    Raises
    ------
    ArgumentError
        If the orientation of the volume is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import Volume, turn_volume
    >>> voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    >>> turned = turn_volume(Volume(voxels, axes="RAS"))
    >>> turned.shape, int(turned[0, 0, 0]) == int(voxels[0, 2, 3])
    ((4, 3, 2), True)
    """
    axes, order = _known_axes(volume), _order(volume)
    x, y, z = (slice(None, None, 1 if axes[at] in _TURNED else -1) for at in order)
    return volume.voxels.transpose(2, 1, 0).transpose(order)[x, y, z]


def turn_box(volume: Volume, box: Bounds) -> Bounds:
    """Convert a box in a volume's array to a box in the array that `turn_volume` returns.

    Parameters
    ----------
    volume : Volume
    box : (xmin, xmax, ymin, ymax, zmin, zmax)
        In voxels; the upper ends are exclusive.

    Returns
    -------
    (xmin, xmax, ymin, ymax, zmin, zmax)

    Raises
    ------
    ArgumentError
        If the orientation of the volume is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import Volume, turn_box
    >>> turn_box(Volume(np.zeros((2, 3, 4), np.int16), axes="RAS"), (0, 1, 0, 2, 0, 1))
    (3, 4, 1, 3, 0, 1)
    """
    axes, order, sides = _known_axes(volume), _order(volume), volume.voxels.shape[::-1]
    bounds = [box[2 * at : 2 * at + 2] for at in range(3)]
    (xmin, xmax), (ymin, ymax), (zmin, zmax) = (
        bounds[at] if axes[at] in _TURNED else (sides[at] - bounds[at][1], sides[at] - bounds[at][0]) for at in order
    )
    return xmin, xmax, ymin, ymax, zmin, zmax


def cut_plane(grid: NDArray[Any], plane: str, index: int) -> NDArray[Any]:
    """Take one slice of a grid ``(x, y, z)``: rows run along the first of the two remaining axes.

    Parameters
    ----------
    grid : ndarray, shape (ux, uy, uz)
    plane : {"axial", "coronal", "sagittal"}
        Perpendicular to z, y or x.
    index : int
        Position of the slice along that axis.

    Returns
    -------
    ndarray, shape (h, w)
        A view: ``grid[:, :, index]``, ``grid[:, index]`` or ``grid[index]``.

    Raises
    ------
    ArgumentError
        If the plane is unknown or the slice is outside the grid.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import cut_plane
    >>> cut_plane(np.zeros((4, 5, 6)), "coronal", 2).shape
    (4, 6)
    """
    if plane not in PLANES or not 0 <= index < grid.shape[PLANES[plane]]:
        expected = f"a slice ({', '.join(PLANES)}) inside a grid of {' x '.join(map(str, grid.shape))}"
        raise ArgumentError("slice", expected=expected, found=f"{plane} {index}")
    picture: NDArray[Any] = np.moveaxis(grid, PLANES[plane], 0)[index]
    return picture
