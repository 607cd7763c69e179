"""Work out which rows an index selects, so that only those are read and NumPy does the rest."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RowIndex:
    """An index, split into the rows to read and what is then selected from them.

    Attributes
    ----------
    rows : range or (r,) int64 array
        Rows that have to be read.
    key : tuple
        The index that selects from those rows what the original index selects from all rows.
    rows_only : bool
        Whether only rows are indexed, and whole rows are selected: `shape` then replaces the row axis.
    shape : tuple of int
    basic : bool
        Whether it is a basic index in NumPy's sense, with a slice of rows.
    axis : int
        The row axis of the result, for a basic index.
    """

    rows: range | NDArray[np.int64]
    key: tuple[Any, ...]
    rows_only: bool
    shape: tuple[int, ...]
    basic: bool = False
    axis: int = 0


def split_index(key: Any, shape: tuple[int, ...]) -> RowIndex:
    """Split an index of an array of `shape`, interpreted as NumPy does.

    Raises
    ------
    IndexError
        Where NumPy raises it for the rows, the number of indices or their types.
    """
    parts = [_normalised(part) for part in (key if isinstance(key, tuple) else (key,))]
    axes = [_axes(part) for part in parts]
    rest = len(shape) - sum(axes)
    dots, new_axes = ([i for i, part in enumerate(parts) if part is kind] for kind in (Ellipsis, None))
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if rest < 0:
        raise IndexError(f"too many indices: {len(shape)} axes, but {sum(axes)} were indexed")
    simple = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
    if simple:
        # raises for indices out of range before anything is read; takes no memory, as all items are the same one
        np.broadcast_to(np.uint8(0), shape)[tuple(parts)]
    at = next((i for i, part in enumerate(parts) if axes[i] or (part is Ellipsis and rest)), len(parts))
    before = sum(i < at for i in new_axes)
    first = parts[at] if at < len(parts) else Ellipsis
    if first is Ellipsis:
        return RowIndex(range(shape[0]), tuple(parts), len(parts) == len(dots), (shape[0],), simple, before)
    single = len(parts) == 1
    if isinstance(first, slice):
        rows = range(shape[0])[first]
        return RowIndex(rows, _with(parts, at, slice(None)), single, (len(rows),), simple, before)
    if isinstance(first, int):
        row = range(shape[0])[first]
        return RowIndex(range(row, row + 1), _with(parts, at, 0), single, ())
    if first.dtype == np.bool_:
        if first.shape != shape[: first.ndim]:
            raise IndexError(f"boolean index of shape {first.shape} did not match {shape[: first.ndim]}")
        numbers, *others = first.nonzero()
        parts[at:] = [numbers, *others, *parts[at + 1 :]]  # NumPy's meaning of a mask
    else:
        numbers = np.arange(shape[0])[first]
    if len(parts) == 1:
        return RowIndex(numbers.ravel(), (), True, numbers.shape)
    rows_read, places = np.unique(numbers, return_inverse=True)
    return RowIndex(rows_read, _with(parts, at, places.reshape(numbers.shape)), False, ())


def _with(parts: list[Any], at: int, part: Any) -> tuple[Any, ...]:
    return (*parts[:at], part, *parts[at + 1 :])


def _normalised(part: Any) -> Any:
    """A part of an index as None, Ellipsis, a slice, an integer, or an array of booleans or integers."""
    if part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, int) and not isinstance(part, bool):
        return part
    array = np.asarray(part)
    if not array.size and not isinstance(part, np.ndarray):
        array = array.astype(np.intp)  # an empty list has no type
    if array.ndim == 0 and array.dtype != np.bool_:
        try:
            return operator.index(part)
        except TypeError:
            raise IndexError(f"{part!r} is not an index; use slices, integers or arrays of integers") from None
    if array.dtype.kind not in "iub":
        raise IndexError(f"arrays used as indices must be of integer (or boolean) type, not {array.dtype}")
    return array


def _axes(part: Any) -> int:
    """How many axes a part of an index consumes."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == np.bool_ else 1
