"""A map-style dataset for any PyTorch DataLoader."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import index as to_int
from pathlib import Path
from typing import Any

from mmtk import store
from mmtk.errors import ArgumentError
from mmtk.loader._torch import import_torch, target_labels


class SplitDataset:
    """One split of a store as a map-style dataset.

    It holds a path, opens the store when first asked in each process, and so pickles, forks and spawns.

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
        If the store cannot be opened.
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
        self.path, self.split = Path(path).absolute(), split
        self.transform, self.target_transform = transform, target_transform
        self._pid, self._images, self._labels = -1, None, None
        self._length = len(self._open()[0])

    def _open(self) -> tuple[Any, Any]:
        if self._pid != os.getpid():
            torch = import_torch()
            split = getattr(store.open(self.path), self.split)
            images = torch.from_numpy(split.images)
            self._images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
            self._labels = torch.from_numpy(target_labels(split))
            self._pid = os.getpid()
        return self._images, self._labels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pid": -1, "_images": None, "_labels": None}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        images, labels = self._open()
        row = to_int(index)
        if not -self._length <= row < self._length:
            raise IndexError(f"row {row} of a split of {self._length} images")
        image, label = images[row], labels[row]
        return (
            self.transform(image) if self.transform else image,
            self.target_transform(label) if self.target_transform else label,
        )

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        return [self[index] for index in indices]
