"""Batches as NumPy arrays, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmtk.errors import ArgumentError
from mmtk.loader._data import Data
from mmtk.loader._epochs import Epochs, ahead, check_whole
from mmtk.loader._ring import Ring
from mmtk.store import Split

_DTYPES = {"uint8": np.uint8, "float32": np.float32}


class ArrayBatches(Epochs):
    """Iterate over a split in batches of NumPy arrays; each ``iter()`` is the next epoch.

    Rows and their order are those of `Batches` with the same arguments; torch is not needed. Other libraries can take
    the arrays through DLPack without a copy: ``jax.dlpack.from_dlpack(images)``.

    Parameters
    ----------
    split, batch_size, shuffle, seed, drop_last, sampling, window, rank, world_size, pad, ordinal, threads
        As for `Batches`.
    dtype : {"uint8", "float32"}
        Raw pixels, or normalised ones: ``(x / 255 - 0.5) / 0.5``.

    Yields
    ------
    images : (b, h, w, c) array, or (b, d, h, w, 1) for volumes
        A copy, not overwritten by later batches while anything refers to it.
    labels : (b,) int64 array, or (b, l) float32 for multi-label tasks

    Raises
    ------
    ArgumentError
        As for `Batches`.

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> images, labels = next(iter(mmtk.loader.ArrayBatches(store.train, 4, shuffle=True, seed=0)))
    >>> images.shape, images.dtype, labels.shape, labels.dtype
    ((4, 28, 28, 1), dtype('uint8'), (4,), dtype('int64'))
    """

    _prepared = ("_gathered",)

    def __init__(
        self, split: Split | Data, batch_size: int = 128, *, shuffle: bool = False, seed: int = 0,
        drop_last: bool = False, dtype: str = "uint8", sampling: ArrayLike | str | None = None, window: int = 0,
        rank: int = 0, world_size: int = 1, pad: bool = False, ordinal: bool = False, threads: int = 0,
    ) -> None:
        super().__init__(
            split, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, sampling=sampling, window=window,
            rank=rank, world_size=world_size, pad=pad, ordinal=ordinal,
        )
        if dtype not in _DTYPES:
            raise ArgumentError("dtype", expected=" or ".join(_DTYPES), found=repr(dtype))
        check_whole("threads", threads, 0)
        self._threads, self._dtype = threads, dtype
        self._prepare()

    def _prepare(self) -> None:
        shape = (min(self.batch_size, len(self.order)), *self.data.row_shape)
        self._gathered = Ring(lambda: np.empty(shape, _DTYPES[self._dtype]), 2 * self._threads)

    def _epoch(self, epoch: int, start: int) -> Iterable[tuple[Any, Any]]:
        order = self.order.rows(epoch)

        def make(number: int) -> tuple[Any, Any]:
            rows = order[self._part(number)]
            images = self._gathered.take()[: len(rows)]
            self.data.take(rows, images)
            return images, self.data.targets[rows]

        return ahead(make, range(start, len(self)), self._threads)
