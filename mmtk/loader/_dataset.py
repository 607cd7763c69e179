"""A map-style dataset for any PyTorch DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index as as_index
from pathlib import Path
from typing import Any

import numpy as np

from mmtk import store
from mmtk.errors import ArgumentError, StoreError
from mmtk.loader._torch import import_torch, target_labels


class SplitDataset:
    """One split of a store as a map-style dataset.

    It pickles as its path, and the process it is sent to opens the store when first asked for an item; forked workers
    share the mapping. Items are copies: writing into one changes nothing else.

    Parameters
    ----------
    path : path
        The store.
    split : {"train", "val", "test"}
    transform : callable, optional
        Takes the image, a ``(c, h, w)`` uint8 tensor.
    target_transform : callable, optional
        Takes the label: an int64 scalar tensor, or ``(l,)`` float32 for multi-label tasks.

    Raises
    ------
    ArgumentError
        If the split is unknown.
    StoreError
        If the store cannot be opened, or is another one when it is opened again.
    MmtkError
        If torch is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if split not in store.SPLITS:
            raise ArgumentError("split", expected=", ".join(store.SPLITS), found=repr(split))
        import_torch()
        self.path, self.split = Path(path).absolute(), split
        self.transform, self.target_transform = transform, target_transform
        self._opened: store.Split | None = getattr(store.open(self.path), split)
        self._identity = (self._opened.info, len(self._opened))

    def _open(self) -> store.Split:
        if self._opened is None:
            opened: store.Split = getattr(store.open(self.path), self.split)
            if (opened.info, len(opened)) != self._identity:
                raise StoreError(
                    self.path, expected="the store this dataset was made from", found="another one",
                    remedy="make the dataset again",
                )
            self._opened = opened
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __len__(self) -> int:
        return self._identity[1]

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """The items of a batch, their pixels gathered in one go."""
        torch = import_torch()
        split = self._open()
        rows = np.array([as_index(index) for index in indices], np.int64)
        images = torch.from_numpy(np.take(split.images, rows, axis=0))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.from_numpy(target_labels(split.info.task, np.take(split.labels, rows, axis=0)))
        return [
            (
                self.transform(image) if self.transform else image,
                self.target_transform(label) if self.target_transform else label,
            )
            for image, label in zip(images, labels, strict=True)
        ]
