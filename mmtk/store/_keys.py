"""Which rows of an array an index asks for, so that only they are read and NumPy does the rest."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picked:
    """What an index picks of an array's rows.

    Attributes
    ----------
    rows : range or (r,) int64 array
        Those that have to be read.
    key : tuple
        The index that picks the same from them as the given one picks from all rows.
    whole : bool
        Whether rows are picked by one index alone, and nothing further of them: `shape` then stands in their place.
    shape : tuple of int
    basic : bool
        Whether rows are picked by a slice and the rest by slices, numbers and new axes.
    axis : int
        Where the rows then are in what is picked.
    """

    rows: range | NDArray[np.int64]
    key: tuple[Any, ...]
    whole: bool
    shape: tuple[int, ...]
    basic: bool = False
    axis: int = 0


def picked(key: Any, shape: tuple[int, ...]) -> Picked:
    """Take an index of an array of `shape` apart, as NumPy understands it.

    Raises
    ------
    IndexError
        Where NumPy raises it of the rows, the number of indices or their types.
    """
    parts = [_plain(part) for part in (key if isinstance(key, tuple) else (key,))]
    taken = [_axes(part) for part in parts]
    rest = len(shape) - sum(taken)
    dots, new_axes = ([i for i, part in enumerate(parts) if part is what] for what in (Ellipsis, None))
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if rest < 0:
        raise IndexError(f"too many indices: {len(shape)} axes, but {sum(taken)} were indexed")
    simple = all(part is None or part is Ellipsis or isinstance(part, (int, slice)) for part in parts)
    if simple:
        # refuses what is out of range before anything is read; without memory, as every item is the same one
        np.broadcast_to(np.uint8(0), shape)[tuple(parts)]
    at = next((i for i, part in enumerate(parts) if taken[i] or (part is Ellipsis and rest)), len(parts))
    before = sum(i < at for i in new_axes)
    first = parts[at] if at < len(parts) else Ellipsis
    if first is Ellipsis:
        return Picked(range(shape[0]), tuple(parts), len(parts) == len(dots), (shape[0],), simple, before)
    single = len(parts) == 1
    if isinstance(first, slice):
        rows = range(shape[0])[first]
        return Picked(rows, _with(parts, at, slice(None)), single, (len(rows),), simple, before)
    if isinstance(first, int):
        row = range(shape[0])[first]
        return Picked(range(row, row + 1), _with(parts, at, 0), single, ())
    if first.dtype == np.bool_:
        if first.shape != shape[: first.ndim]:
            raise IndexError(f"boolean index of shape {first.shape} did not match {shape[: first.ndim]}")
        numbers, *others = first.nonzero()
        parts[at:] = [numbers, *others, *parts[at + 1 :]]  # which is what a mask means
    else:
        numbers = np.arange(shape[0])[first]
    if len(parts) == 1:
        return Picked(numbers.ravel(), (), True, numbers.shape)
    rows_read, places = np.unique(numbers, return_inverse=True)
    return Picked(rows_read, _with(parts, at, places.reshape(numbers.shape)), False, ())


def _with(parts: list[Any], at: int, part: Any) -> tuple[Any, ...]:
    return (*parts[:at], part, *parts[at + 1 :])


def _plain(part: Any) -> Any:
    """A part of an index as None, Ellipsis, a slice, a whole number, or an array of truths or whole numbers."""
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
            raise IndexError(f"expected slices, whole numbers or arrays of them, found {part!r}") from None
    if array.dtype.kind not in "iub":
        raise IndexError(f"arrays used as indices must be of integer (or boolean) type, not {array.dtype}")
    return array


def _axes(part: Any) -> int:
    """How many axes a part of an index stands for."""
    if part is None or part is Ellipsis:
        return 0
    return part.ndim if isinstance(part, np.ndarray) and part.dtype == np.bool_ else 1
