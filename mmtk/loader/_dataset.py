"""A map-style dataset for any PyTorch DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader._data import Data, data_of
from mmtk.loader._ring import Ring
from mmtk.loader._torch import MapDataset, import_torch


class Item(tuple[Any, Any]):
    """(image, label); the type lets torch's default collate function recognise `Items`."""


class Items(Sequence[Item]):
    """The items of a batch, kept as two tensors whose rows they are."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Items(self.images[index], self.labels[index])
        return Item((self.images[index], self.labels[index]))

    def __iter__(self) -> Iterator[Item]:
        return map(Item, zip(self.images.unbind(), self.labels.unbind(), strict=True))


@cache
def _register_collate() -> None:
    """Register `Items` with torch's default collate function, so that it takes them without another copy."""
    from torch.utils.data._utils.collate import collate, default_collate_fn_map

    def batch(items: Any, *, collate_fn_map: Any = None) -> list[Any]:
        if isinstance(items, Items):
            return [items.images, items.labels]
        return [collate(column, collate_fn_map=collate_fn_map) for column in zip(*items, strict=True)]

    default_collate_fn_map[Item] = batch


class SplitDataset(MapDataset[Any]):
    """A split of a store as a map-style dataset.

    It is pickled as its path; the receiving process opens the store when it first needs an item, and forked workers
    share the mapping. Items are copies: writing into them changes nothing else. A DataLoader gets each batch gathered
    at once, by its default collate function (as a list) or by the dataset's own (as a tuple)::

        DataLoader(dataset, 128, shuffle=True, collate_fn=dataset.collate)

    A slice, ``dataset[2:5]``, is a ``torch.utils.data.Subset``, and ``dataset + other`` a ``ConcatDataset``, as for any
    torch dataset. `labels` and `targets` are read-only; use `target_transform` to change labels.

    Parameters
    ----------
    path : path
        The store.
    split : {"train", "val", "test"}
    transform : callable, optional
        Called with the image, a ``(c, h, w)`` uint8 tensor, or ``(1, d, h, w)`` for volumes.
    target_transform : callable, optional
        Called with the label: an int64 scalar tensor, or ``(l,)`` float32 for multi-label tasks.

    Attributes
    ----------
    labels : (n, l) uint8
        Labels as in the store.
    targets : (n,) int64, or (n, l) float32 for multi-label tasks
        Labels of the items, before `target_transform`.
    classes : tuple of str
        Names of the classes, or labels.

    Raises
    ------
    ArgumentError
        If the split is unknown or empty.
    StoreError
        If the store cannot be opened, or has been replaced by another one when it is reopened.
    MmtkError
        If torch is not installed.

    Examples
    --------
    >>> import mmtk
    >>> dataset = mmtk.loader.SplitDataset("stores/breastmnist_28.h5", "train")
    >>> image, label = dataset[0]
    >>> tuple(image.shape), image.dtype, label.dtype
    ((1, 28, 28), torch.uint8, torch.int64)
    """

    def __init__(
        self, path: str | Path, split: str, transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if split not in store.SPLITS:
            raise ArgumentError("split", expected=" or ".join(store.SPLITS), found=repr(split))
        import_torch()
        _register_collate()
        self.path, self.split = Path(path).absolute(), split
        self.transform, self.target_transform = transform, target_transform
        opened: store.Split = getattr(store.open(self.path), split)
        self._data: Data | None = data_of(opened)
        self._identity = (opened.store_digest, len(opened))
        self._ring: tuple[int, Ring] | None = None

    def _open(self) -> Data:
        if self._data is None:
            _register_collate()  # in this process too
            opened: store.Split = getattr(store.open(self.path), self.split)
            if (opened.store_digest, len(opened)) != self._identity:
                problem = "has been replaced by another store since the dataset was created"
                raise StoreError(self.path, problem, remedy="create the dataset again")
            self._data = data_of(opened)
        return self._data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None, "_ring": None}

    def __len__(self) -> int:
        return self._identity[1]

    @property
    def labels(self) -> NDArray[np.uint8]:
        labels = self._open().parts[0].labels.view()
        labels.flags.writeable = False
        return labels

    @property
    def targets(self) -> NDArray[Any]:
        return self._open().targets

    @property
    def classes(self) -> tuple[str, ...]:
        return self._open().parts[0].info.classes

    def __getitem__(self, index: int | slice) -> Any:
        """An image with its label, or a subset for a slice.

        Raises
        ------
        IndexError
            If the index is out of range.
        """
        if isinstance(index, slice):
            return self._part(index)
        image, label = self.__getitems__([index])[0]
        return image, label

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """The items of a batch, a sequence of (image, label) whose pixels are gathered at once.

        Raises
        ------
        IndexError
            If an index is out of range.
        """
        torch = import_torch()
        data = self._open()
        rows = self._rows(indices)
        out = self._buffer(len(rows))
        data.take(rows, out)
        *edges, channels = data.row_shape
        pixels = out.reshape(len(rows), 1, *edges) if channels == 1 else out.transpose(data.channels_first)
        items = Items(torch.from_numpy(pixels), torch.from_numpy(data.targets[rows]))
        if self.transform is None and self.target_transform is None:
            return items
        return [
            (
                self.transform(image) if self.transform else image,
                self.target_transform(label) if self.target_transform else label,
            )
            for image, label in items
        ]

    def _buffer(self, count: int) -> NDArray[np.uint8]:
        """Memory for a batch; reused once nothing refers to it, as fresh memory costs more than the copy."""
        if self._ring is None or self._ring[0] < count:
            shape = (count, *self._open().row_shape)
            self._ring = (count, Ring(lambda: np.empty(shape, np.uint8)))
        most, ring = self._ring
        return ring.take()[:count] if 2 * count > most else np.empty((count, *self._open().row_shape), np.uint8)

    def _rows(self, indices: Sequence[int]) -> NDArray[np.int64]:
        given = np.asarray(indices)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and len(given)):
            raise TypeError(f"indices: found {given.dtype} of shape {given.shape}, expected a list of integers")
        rows, n = np.ascontiguousarray(given, np.int64), len(self)
        if not len(rows) or rows.view(np.uint64).max() < n:
            return rows
        wrong = given[(given >= n) | (given < -n if given.dtype.kind == "i" else False)]
        if len(wrong):
            raise IndexError(f"{self.path} {self.split}: index {wrong[0]} is out of range; expected {-n} to {n - 1}")
        return np.where(rows < 0, rows + n, rows)

    @staticmethod
    def collate(items: Any) -> Any:
        """Combine items into a batch; without transforms this makes no further copy."""
        if isinstance(items, Items):
            return items.images, items.labels
        from torch.utils.data import default_collate

        return default_collate(items)
