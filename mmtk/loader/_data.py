"""The data behind batches: images and labels of a split, or of several combined."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError
from mmtk.loader._gather import gather
from mmtk.store import Split


@dataclass(frozen=True, eq=False)
class Data:
    """Images and targets, as accepted by `Batches`; its pickle is as small as those of its splits.

    Attributes
    ----------
    name : str
        Name for error messages.
    key : str
        Equal for equal data; the saved state of an iteration must have the same.
    images : array of uint8, (n, h, w) or (n, h, w, c), for volumes (n, d, h, w)
        Or an object of such a shape that is read by rows: ``read(rows, out)``.
    targets : (n,) int64, or (n, l)
        Targets for the loss. Those of a split, or of joined splits, are read-only, since changes would be lost when
        unpickled; use ``dataclasses.replace(data, targets=...)`` for other targets.
    parts : tuple of Split
    remake : (callable, arguments), None
        Recreates the data when unpickled. The arrays are pickled instead if it is None, as after `replace`, or if it
        would give other targets.
    """

    name: str
    key: str
    images: Any
    targets: NDArray[Any]
    parts: tuple[Split, ...]
    remake: tuple[Callable[..., Data], tuple[Any, ...]] | None = field(default=None, init=False, repr=False)

    def remade_by(self, make: Callable[..., Data], *arguments: Any) -> Data:
        """Let the data be pickled as a call that recreates it, and make its targets read-only."""
        self.targets.flags.writeable = False
        object.__setattr__(self, "remake", (make, arguments))
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.remake:
            make, arguments = self.remake
            again = make(*arguments).targets  # labels may have been modified since
            if np.array_equal(again, self.targets, equal_nan=True):
                return self.remake
        return Data, (self.name, self.key, self.images, self.targets, self.parts)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Height, width and channels; for volumes depth, height, width and 1."""
        shape = tuple(map(int, self.images.shape[1:]))
        return shape if len(shape) > self.ndim else (*shape, 1)

    @property
    def ndim(self) -> int:
        """2 for images, 3 for volumes."""
        return self.parts[0].info.ndim if self.parts else 2

    @cached_property
    def channels_first(self) -> tuple[int, ...]:
        """The axes of a batch ``(b, h, w, c)``, or ``(b, d, h, w, c)``, in torch's order."""
        return (0, self.ndim + 1, *range(1, self.ndim + 1))

    @cached_property
    def mapped(self) -> NDArray[np.uint8] | None:
        """The images as an array in memory, None if they are read by rows."""
        if not isinstance(self.images, np.ndarray):
            return None
        return self.images if self.images.ndim > 1 + self.ndim else self.images[..., None]

    @property
    def chunk_rows(self) -> int:
        """Images that lie together on disk."""
        return min(part.chunk_rows for part in self.parts)

    def check_whole(self) -> None:
        """Check that no file has been truncated."""
        for part in self.parts:
            part.check_whole()

    def take(self, rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Write images into `out`, (b, h, w, c) or (b, d, h, w, c); see `gather`."""
        self.check_whole()
        mapped = self.mapped
        if mapped is not None:
            gather(mapped, rows, out)
            return
        pixels = out if out.dtype == np.uint8 else np.empty(out.shape, np.uint8)
        self.images.read(rows, pixels.reshape(len(rows), *self.images.shape[1:]))
        if pixels is not out:
            gather(pixels, np.arange(len(rows)), out)


def data_of(split: Split | Data, ordinal: bool = False) -> Data:
    """A split as data; data is returned as it is.

    Targets of a split without labels, as methods get it for testing, are -1, or NaN if they are floats.

    Raises
    ------
    ArgumentError
        If the split is empty, or ordinal targets are requested for labels without an order.
    """
    if isinstance(split, Data):
        if ordinal:
            raise ArgumentError("ordinal", "is not available for joined splits")
        return split
    name = f"{split.store_path} {split.name}"
    if not len(split):
        raise ArgumentError(name, f"has no {split.info.kind}")
    if ordinal and split.info.task != Task.ORDINAL:
        problem = "is available for ordinal tasks only"
        raise ArgumentError("ordinal", problem, expected=str(Task.ORDINAL), found=str(split.info.task))
    if "labels" not in split.arrays:
        targets = _unknown(split, ordinal)
    elif ordinal:
        targets = (split.labels > np.arange(len(split.info.classes) - 1)).astype(np.float32)
    else:
        targets = target_labels(split.info.task, split.labels)
    return Data(name, _key(split), split.images, targets, (split,)).remade_by(data_of, split, ordinal)


def _unknown(split: Split, ordinal: bool) -> NDArray[Any]:
    if ordinal or split.info.task == Task.MULTILABEL:
        columns = len(split.info.classes) - 1 if ordinal else split.info.labels
        return np.full((len(split), columns), np.nan, np.float32)
    return np.full(len(split), -1, np.int64)


def _key(split: Split) -> str:
    return f"{split.info.flag}_{split.info.size}/{split.name}/{split.info.plan_hash[:16]}"


def target_labels(task: str, labels: NDArray[np.uint8]) -> NDArray[Any]:
    """Convert labels ``(n, l)`` to targets for a loss: ``(n,)`` int64, or ``(n, l)`` float32 for multi-label tasks."""
    return labels.astype(np.float32) if task == Task.MULTILABEL else labels[:, 0].astype(np.int64)


class _Joined:
    """Images of several splits with consecutive row numbers; grey images become RGB if others are."""

    def __init__(self, parts: Sequence[Split]) -> None:
        self._sources = [data_of(part) for part in parts]
        self._starts = np.cumsum([0, *map(len, parts)])
        edges = self._sources[0].row_shape[:-1]
        self.shape = (int(self._starts[-1]), *edges, max(source.row_shape[-1] for source in self._sources))

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        which = np.searchsorted(self._starts, rows, "right") - 1
        for number, source in enumerate(self._sources):
            places = np.flatnonzero(which == number)
            if len(places):
                taken = np.empty((len(places), *source.row_shape), np.uint8)
                source.take(rows[places] - self._starts[number], taken)
                out[places] = taken  # broadcasts grey to all channels


def join(splits: Sequence[Split], labels: str = "offset") -> Data:
    """Combine several splits, for training on many datasets; pass the result to `Batches` instead of a split.

    An epoch visits every image once, shuffled across all datasets; with weights from `interleaved` datasets are drawn
    in any ratio. Grey images get three equal channels if another split is RGB.

    Parameters
    ----------
    splits : sequence of Split
        Splits of the same size, all of images or all of volumes.
    labels : {"offset", "task"}
        "offset": an int64 class per image; the classes of each split are numbered after those of the one before.
        "task": an int64 row ``(task, label...)`` per image, padded with -1 to the largest number of labels.

    Returns
    -------
    Data

    Raises
    ------
    ArgumentError
        If there are no splits, sizes differ, images and volumes are mixed, a split is empty, or "offset" is used with a
        multi-label task.

    Examples
    --------
    >>> import mmtk
    >>> breast, derma = (mmtk.open(f"stores/{flag}_28.h5").train for flag in ("breastmnist", "dermamnist"))
    >>> data = mmtk.loader.join([breast, derma])
    >>> data.row_shape, len(data) == len(breast) + len(derma)
    ((28, 28, 3), True)
    """
    if not splits:
        raise ArgumentError("splits", "is empty", remedy="give at least one split")
    sizes = {split.info.size for split in splits}
    if len(sizes) > 1:
        raise ArgumentError("splits", f"sizes differ: {', '.join(map(str, sorted(sizes)))} px")
    if len({split.info.ndim for split in splits}) > 1:
        mixed = ", ".join(f"{split.info.flag} is {split.info.ndim}D" for split in splits)
        raise ArgumentError("splits", f"images and volumes cannot be joined: {mixed}")
    if labels not in ("offset", "task"):
        raise ArgumentError("labels", expected="offset or task", found=repr(labels))
    images = _Joined(splits)
    if labels == "offset":
        several = [split.info.flag for split in splits if split.labels.shape[1] != 1]
        if several:
            raise ArgumentError(several[0], "has several labels per image", remedy="use labels='task'")
        firsts = np.cumsum([0, *(len(split.info.classes) for split in splits)])
        targets = np.concatenate([split.labels[:, 0] + first for split, first in zip(splits, firsts, strict=False)])
    else:
        targets = np.full((images.shape[0], 1 + max(split.labels.shape[1] for split in splits)), -1, np.int64)
        start = 0
        for task, split in enumerate(splits):
            rows = slice(start, start := start + len(split))
            targets[rows, 0] = task
            targets[rows, 1 : 1 + split.labels.shape[1]] = split.labels
    name = " + ".join(f"{split.info.flag} {split.name}" for split in splits)
    key = hashlib.sha256("\n".join([labels, *map(_key, splits)]).encode()).hexdigest()[:16]
    return Data(name, key, images, targets, tuple(splits)).remade_by(join, tuple(splits), labels)


def interleaved(data: Data, weights: ArrayLike) -> NDArray[np.float64]:
    """Row weights for ``Batches(sampling=...)`` that draw the parts of joined data in a given ratio.

    Parameters
    ----------
    data : Data
        The result of `join`.
    weights : (number of parts,) array
        The share of each part; they need not add up to 1.

    Returns
    -------
    (n,) float64

    Raises
    ------
    ArgumentError
        If the number of weights is not that of the parts.

    Examples
    --------
    >>> import mmtk
    >>> parts = [mmtk.open(f"stores/{flag}_28.h5").train for flag in ("breastmnist", "dermamnist")]
    >>> data = mmtk.loader.join(parts)
    >>> weights = mmtk.loader.interleaved(data, [3, 1])
    >>> round(float(weights[: len(parts[0])].sum() / weights.sum()), 6)
    0.75
    """
    shares, sizes = np.array(weights, np.float64), [len(part) for part in data.parts]
    if shares.shape != (len(sizes),):
        problem = "there must be one per part"
        raise ArgumentError("weights", problem, expected=f"shape {(len(sizes),)}", found=f"shape {shares.shape}")
    return np.repeat(shares / sizes, sizes)


def labels_of(data: Data) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels and class names of the data of a single split.

    Raises
    ------
    ArgumentError
        If it is the data of joined splits.
    """
    if len(data.parts) != 1:
        remedy = "give a weight per image, as made by mmtk.loader.interleaved"
        raise ArgumentError("sampling", "'balanced' is not available for joined splits", remedy=remedy)
    return data.parts[0].labels, data.parts[0].info.classes
