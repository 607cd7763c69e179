"""What batches are made of: the images and labels of a split, or of several as one."""

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
    """Images and targets, as `Batches` takes them. It pickles as small as its splits do.

    Attributes
    ----------
    name : str
        For errors.
    key : str
        Equal for equal data: what a state of an iteration must agree on.
    images : array of uint8, (n, h, w) or (n, h, w, c), or (n, d, h, w) of volumes
        Or an object of such a shape that is read by rows: ``read(rows, out)``.
    targets : (n,) int64, or (n, l)
        As the loss wants them. Those of a split, or of several joined, are read-only: what is written there would be
        lost where the data is unpickled. Others are given by ``dataclasses.replace(data, targets=...)``, which are.
    parts : tuple of Split
    remake : (callable, arguments), None
        What makes it again where it is unpickled. Its arrays are pickled where it is None, as in what `replace` gives,
        or where that would give other targets by now.
    """

    name: str
    key: str
    images: Any
    targets: NDArray[Any]
    parts: tuple[Split, ...]
    remake: tuple[Callable[..., Data], tuple[Any, ...]] | None = field(default=None, init=False, repr=False)

    def remade_by(self, make: Callable[..., Data], *arguments: Any) -> Data:
        """The same data, which pickles as what makes it: nobody can write into its targets from here on."""
        self.targets.flags.writeable = False
        object.__setattr__(self, "remake", (make, arguments))
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.remake:
            make, arguments = self.remake
            again = make(*arguments).targets  # labels may have been written into since
            if np.array_equal(again, self.targets, equal_nan=True):
                return self.remake
        return Data, (self.name, self.key, self.images, self.targets, self.parts)

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def row_shape(self) -> tuple[int, ...]:
        """Height, width and channels; of volumes depth, height, width and 1."""
        shape = tuple(map(int, self.images.shape[1:]))
        return shape if len(shape) > self.ndim else (*shape, 1)

    @property
    def ndim(self) -> int:
        """2 of images, 3 of volumes."""
        return self.parts[0].info.ndim if self.parts else 2

    @cached_property
    def channels_first(self) -> tuple[int, ...]:
        """The axes of a batch ``(b, h, w, c)``, or ``(b, d, h, w, c)``, in torch's order."""
        return (0, self.ndim + 1, *range(1, self.ndim + 1))

    @cached_property
    def mapped(self) -> NDArray[np.uint8] | None:
        """The images as one array in memory, where they are that."""
        if not isinstance(self.images, np.ndarray):
            return None
        return self.images if self.images.ndim > 1 + self.ndim else self.images[..., None]

    @property
    def chunk_rows(self) -> int:
        """Images that lie together on disk."""
        return min(part.chunk_rows for part in self.parts)

    def check_whole(self) -> None:
        """See that no file has been cut short."""
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
    """A split as data; data is left as it is.

    Targets of a split without labels, as a method is given it to test on, are -1, or NaN where they are floats.

    Raises
    ------
    ArgumentError
        If the split is empty, or ordinal targets are asked for of labels that have no order.
    """
    if isinstance(split, Data):
        if ordinal:
            raise ArgumentError("ordinal", expected="a split", found="several joined")
        return split
    name = f"{split.store_path} {split.name}"
    if not len(split):
        raise ArgumentError(name, expected="images", found="an empty split")
    if ordinal and split.info.task != Task.ORDINAL:
        raise ArgumentError("ordinal", expected=f"a task of {Task.ORDINAL}", found=str(split.info.task))
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
    """Labels ``(n, l)`` as a loss wants them: ``(n,)`` int64, or ``(n, l)`` float32 for multi-label tasks."""
    return labels.astype(np.float32) if task == Task.MULTILABEL else labels[:, 0].astype(np.int64)


class _Joined:
    """Images of several splits, their rows numbered through; grey ones become RGB where others are."""

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
                out[places] = taken  # a grey value goes to all channels


def join(splits: Sequence[Split], labels: str = "offset") -> Data:
    """Several splits as one, for training on many datasets; give it to `Batches` in place of a split.

    An epoch takes every image once, shuffled among all; with `interleaved` weights it draws the datasets in any ratio.
    Images of grey sets get three equal channels where another set is RGB.

    Parameters
    ----------
    splits : sequence of Split
        Of one size, all of images or all of volumes.
    labels : {"offset", "task"}
        "offset": one int64 class an image, the classes of the second split numbered after those of the first, and so
        on. "task": an int64 row ``(task, label...)`` an image, as long as the longest, -1 where a task has fewer
        labels.

    Raises
    ------
    ArgumentError
        If there is none, sizes differ, images and volumes are mixed, one is empty, or classes are to be numbered
        through and a task has several labels an image.
    """
    if not splits:
        raise ArgumentError("splits", expected="at least one", found="none")
    sizes = {split.info.size for split in splits}
    if len(sizes) > 1:
        raise ArgumentError("splits", expected="images of one size", found=", ".join(map(str, sorted(sizes))) + " px")
    if len({split.info.ndim for split in splits}) > 1:
        found = ", ".join(f"{split.info.flag} of {split.info.ndim}D" for split in splits)
        raise ArgumentError("splits", expected="images alone or volumes alone", found=found)
    if labels not in ("offset", "task"):
        raise ArgumentError("labels", expected="offset, task", found=repr(labels))
    images = _Joined(splits)
    if labels == "offset":
        several = [split.info.flag for split in splits if split.labels.shape[1] != 1]
        if several:
            remedy = "use labels='task'"
            raise ArgumentError(several[0], expected="one class an image", found="several labels", remedy=remedy)
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
    """Weights of rows by which the parts of joined data are drawn in a given ratio, for ``Batches(sampling=...)``.

    Parameters
    ----------
    data : Data
        What `join` gave.
    weights : (number of parts,) array
        The share of each part; they need not add up to 1.

    Raises
    ------
    ArgumentError
        If there is not one for each part.
    """
    shares, sizes = np.array(weights, np.float64), [len(part) for part in data.parts]
    if shares.shape != (len(sizes),):
        raise ArgumentError("weights", expected=f"one for each of {len(sizes)} parts", found=f"shape {shares.shape}")
    return np.repeat(shares / sizes, sizes)


def labels_of(data: Data) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Labels and class names of data that is one split.

    Raises
    ------
    ArgumentError
        If it is several joined.
    """
    if len(data.parts) != 1:
        remedy = "give a weight for each image, such as mmtk.loader.interleaved makes"
        raise ArgumentError("sampling", expected="one split", found="several joined", remedy=remedy)
    return data.parts[0].labels, data.parts[0].info.classes
