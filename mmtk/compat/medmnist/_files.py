"""Read the arrays of a dataset, and find them again in another process: see `mmtk.compat.medmnist`."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk import store
from mmtk.base import md5_of
from mmtk.compat.medmnist._cache import Cached
from mmtk.datasets import find_dataset
from mmtk.datasets.official import LATEST, sized_name
from mmtk.errors import MmtkError, StoreError
from mmtk.files import publish, writing

_SMALL = 2 << 20  # bytes; reading smaller files is faster than opening their store
_FIELDS = ("images", "labels")  # fields of a split that a dataset has as attributes


def checked_root(root: str | os.PathLike[str] | None) -> str | os.PathLike[str]:
    """The root, if it exists.

    Raises
    ------
    RuntimeError
        If it does not.
    """
    if root is None or not os.path.exists(root):
        raise RuntimeError(
            "Failed to setup the default `root` directory. Please specify and create the `root` directory manually."
        )
    return root


@dataclass(frozen=True, eq=False)
class Origin:
    """The split of a store from which a dataset's arrays were read.

    Attributes
    ----------
    split : Split
    place : Place, optional
        Location of the official file from which the store was imported, if the store is in the cache.
    """

    split: store.Split
    place: Place | None

    def __reduce__(self) -> tuple[Any, ...]:
        return _origin_again, (self.split.store_path, self.split.store_digest, self.split.name, self.place)

    def lightened(self, reduced: Any) -> Any:
        """The reduced form of a dataset, of any class, with unchanged arrays replaced by references to their store.

        The references become arrays again when unpickled.
        """
        if isinstance(reduced, str) or len(reduced) < 3:
            return reduced
        make, arguments, state, *rest = reduced
        changes = self.split.changes()
        unchanged = {id(getattr(self.split, name)): _Unchanged(self, name) for name in _FIELDS if name not in changes}

        def light(values: Any) -> Any:
            if not isinstance(values, dict):
                return values
            if not unchanged.keys() & set(map(id, values.values())):
                return {name: None if value is self else value for name, value in values.items()}
            return {name: unchanged.get(id(value), value) for name, value in values.items()}

        state = tuple(map(light, state)) if isinstance(state, tuple) else light(state)  # a pair with __slots__
        return make, arguments, state, *rest


@dataclass(frozen=True, eq=False)
class _Unchanged:
    """Stands for an array in a state; after pickling, or in a deep copy, it is the array."""

    origin: Origin
    field: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _array_again, (self.origin, self.field)


def _array_again(origin: Origin, field: str) -> Any:
    return getattr(origin.split, field)


def copied(reduced: Any) -> Any:
    """The result of `copy.copy` for a reduced form."""
    make, arguments, *more = reduced
    again, state = make(*arguments), more[0] if more else None
    if state is not None and hasattr(again, "__setstate__"):
        again.__setstate__(state)
    elif state is not None:
        values, slots = state if isinstance(state, tuple) else (state, None)
        again.__dict__.update(values or {})
        for name, value in (slots or {}).items():
            setattr(again, name, value)
    return again


def _origin_again(path: Path, digest: str, name: str, place: Place | None) -> Origin:
    try:
        opened = store.open(path, digest)
    except StoreError:  # the cache may have been emptied, or belong to another machine
        again = place and place.official_store()
        if not again:
            raise
        opened = again
    return Origin(getattr(opened, name), place)


@dataclass(frozen=True)
class Place:
    """A dataset of one size in a root, which is absolute, since a process may change its folder."""

    flag: str
    size: Any  # text if it was taken from the name of a result file
    root: Path

    @property
    def npz(self) -> Path:
        return self.root / f"{sized_name(self.flag, self.size)}.npz"

    @property
    def h5(self) -> Path:
        return store.store_path(self.root, self.flag, self.size)

    def expect(self) -> None:
        """Check that there is a file.

        Raises
        ------
        RuntimeError
            If there is none.
        """
        if not self.npz.exists() and not self.h5.exists():
            what = f"no {self.npz.name} or {self.h5.name} in {self.root}"
            raise RuntimeError(f"Dataset not found: {what}. You can set `download=True` to download it")

    def read(self, split: str, packed: bool = False) -> tuple[Any, Any, Origin | None]:
        """Images and labels of a split, and their origin if they were read from a store.

        Raises
        ------
        RuntimeError
            If a store cannot be opened. NumPy's errors on an ``.npz`` are passed on.
        """
        opened = self.official_store() if self.npz.exists() else self._own_store()
        if opened is None:
            return *self._loaded(f"{split}_images", f"{split}_labels"), None
        part: store.Split = getattr(opened, split)
        images = part.images if packed or isinstance(part.images, np.ndarray) else part.images[:]
        return images, part.labels, Origin(part, self if self.npz.exists() else None)

    def labels(self, split: str) -> Any:
        """Labels of a split; raises what `read` raises."""
        if self.npz.exists() or not self.h5.exists():
            return self._loaded(f"{split}_labels")[0]
        return getattr(self._own_store(), split).labels

    def _loaded(self, *names: str) -> tuple[Any, ...]:
        try:
            with np.load(self.npz) as arrays:
                return tuple(arrays[name] for name in names)
        except Exception as error:
            error.add_note(f"in {self.npz}")
            raise

    def _own_store(self) -> store.Store:
        try:
            return store.open(self.h5)
        except (MmtkError, OSError) as error:
            raise RuntimeError(str(error)) from error

    def official_store(self) -> store.Store | None:
        """The store of an official file, imported if needed; None for any other file and for small ones."""
        md5 = self._md5()
        if not md5 or self.npz.stat().st_size < _SMALL:
            return None
        return Cached(self.npz, self.flag, md5).opened(self.h5)

    def _md5(self) -> str | None:
        dataset = find_dataset(self.flag)
        return dataset.md5.get(f"{LATEST}:{self.size}") if dataset else None

    def bring(self, url: str, md5: str) -> None:
        """Provide the official file; if it cannot be downloaded, a store instead is enough.

        Raises
        ------
        RuntimeError
            If there is neither.
        """
        cached = Cached(self.npz, self.flag, md5)
        try:
            if self.npz.exists() and cached.official():
                return
            if not self.npz.exists() and self.h5.exists() and self._exported(md5):
                cached.keep(store.open(self.h5))
                return
            store.fetch_file(url, md5, self.npz)
        except (MmtkError, OSError) as error:
            if self.h5.exists() and not self.npz.exists():
                warnings.warn(f"{self.npz.name} cannot be downloaded ({error}): using {self.h5}", stacklevel=4)
                return
            raise RuntimeError(
                f"{self.npz.name} cannot be downloaded ({error}). Download it manually from {url} (MD5 {md5}) to "
                f"{self.root}"
            ) from error

    def _exported(self, md5: str) -> bool:
        """Export a store as the official file; write nothing if the result is not the official file byte for byte."""
        opened = self._own_store()
        if opened.info.synthetic or opened.info.partial:
            return False
        with writing(self.npz, folder=True) as folder:
            written = store.export_npz(opened, folder)
            if md5_of(written) != md5:
                return False
            publish(written, self.npz)
        return True
