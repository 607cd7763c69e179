"""Import torch, or fail with a clear error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Generic, TypeVar

from mmtk.errors import MmtkError

_DATA = "torch.utils.data"


def import_torch() -> ModuleType:
    """Import torch.

    Raises
    ------
    MmtkError
        If it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MmtkError.not_installed("tensors", "torch", "train") from None
    return torch  # type: ignore[no-any-return]


def channels_last(images: Any) -> Any:
    """Images or volumes in the channels-last memory format."""
    torch = import_torch()
    return images.contiguous(memory_format=torch.channels_last if images.ndim == 4 else torch.channels_last_3d)


_Item = TypeVar("_Item", covariant=True)


class _Bare(Generic[_Item]):
    """Stands in for ``torch.utils.data.Dataset`` until torch is imported; it has the same memory layout."""

    def __add__(self, other: Any) -> Any:
        import_torch()
        from torch.utils.data import ConcatDataset

        return ConcatDataset([self, other])


class MapDataset(_Bare[_Item]):
    """A ``torch.utils.data.Dataset`` if torch is imported, before or after this class, without importing it itself.

    Lightning, skorch and others check for an instance of that class.

    Examples
    --------
    >>> import torch.utils.data
    >>> from mmtk.loader import MapDataset
    >>> issubclass(MapDataset, torch.utils.data.Dataset)
    True
    """

    def _part(self, index: slice) -> Any:
        """The items of a slice, as a ``torch.utils.data.Subset``."""
        import_torch()
        from torch.utils.data import Subset

        return Subset(self, range(*index.indices(len(self))))  # type: ignore[arg-type]


def _join_torch() -> None:
    from torch.utils.data import Dataset  # waits if another thread is importing it

    MapDataset.__bases__ = (Dataset,)


class _WhenTorchComes(MetaPathFinder):
    """Makes `MapDataset` a ``Dataset`` as soon as ``torch.utils.data`` has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == _DATA else None
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)  # first: the module may only have been looked up, or its import may fail and be repeated
            with suppress(ValueError):
                sys.meta_path.remove(self)
            _join_torch()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if _DATA in sys.modules:
    _join_torch()
else:
    sys.meta_path.insert(0, _WhenTorchComes())
