"""Read a store: check it, then map each split's images as one array, copy-on-write."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmtk.errors import MmtkError, StoreError
from mmtk.store._format import FORMAT, SPLITS, VERSION, StoreInfo, check_arrays, record_dtype
from mmtk.store._writer import Layout, read_layout

Array = np.ndarray[Any, Any]
_Result = TypeVar("_Result")
_REBUILD = "build or import it again"


@dataclass(frozen=True)
class Split:
    """One split of a store.

    Attributes
    ----------
    images : (n, h, w) or (n, h, w, 3) uint8
        Mapped from the file where the store allows, else read. Writing into it changes neither file nor other readers.
    labels : (n, l) uint8
    records : (n,) structured
        Fields ``source``, ``subject``, ``height``, ``width``, ``top``, ``left``, ``side``.
    """

    name: str
    store_path: Path
    info: StoreInfo
    images: Array
    labels: Array
    records: Array

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({self.info.flag} {self.name}, {len(self)} images of {self.info.size} px)"


@dataclass(frozen=True)
class Store:
    """An opened store; the file stays readable through its arrays even when it is replaced on disk."""

    path: Path
    info: StoreInfo
    train: Split
    val: Split
    test: Split

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.train, self.val, self.test

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split."""
        return {split.name: len(split) for split in self.splits}

    def content_digest(self) -> str:
        """SHA-256 over facts and arrays, as hex: the same whatever HDF5 version wrote the file."""
        digest = hashlib.sha256(self.info.to_json().encode())
        for split in self.splits:
            for array in (split.images, split.labels, split.records):
                digest.update(f"{split.name}{array.shape}{array.dtype.descr}".encode())
                for row in range(0, len(array), 4096):
                    digest.update(np.ascontiguousarray(array[row : row + 4096]).tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        marks = f" {self.info.marks}" if self.info.marks else ""
        counts = ", ".join(f"{name} {n}" for name, n in self.counts.items())
        return f"Store({self.info.flag} {self.info.size} px{marks}: {counts})"


def open(path: str | Path) -> Store:
    """Open a store.

    Parameters
    ----------
    path : path of an ``.h5`` file that mmtk wrote

    Returns
    -------
    Store

    Raises
    ------
    StoreError
        If the file is missing, no store, incomplete, cut short, of a newer version, or holds links, external storage or
        object types.
    """
    path = Path(path)
    return _guarded(path, lambda: _open(path))


def verify(path: str | Path) -> list[str]:
    """Recompute a store's checksums.

    Returns
    -------
    list of str
        What is wrong, empty if nothing is.

    Raises
    ------
    StoreError
        If the file cannot be opened as a store.
    """
    path = Path(path)
    open(path)

    def compare() -> list[str]:
        layout = read_layout(path)
        problems: list[str] = []
        with path.open("rb") as file:
            for key, region in layout.regions.items():
                found = region.checksums(file.fileno())
                table = layout.tables[key]
                expected = np.frombuffer(os.pread(file.fileno(), table.length, table.offset), "<u4")
                bad = [i for i, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
                problems += [
                    f"{path}: {key} chunk {i}: expected checksum {expected[i]:08x}, found {found[i]:08x}" for i in bad
                ]
        return problems

    return _guarded(path, compare)


def _guarded(path: Path, read: Callable[[], _Result]) -> _Result:
    """Say in one line what HDF5 and NumPy say of a damaged file in many ways."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StoreError(path, expected="a store", found=error.strerror or str(error)) from None
    if not stat.S_ISREG(mode):
        raise StoreError(path, expected="a store", found="no regular file")
    try:
        return read()
    except MmtkError:
        raise
    except PermissionError as error:
        raise StoreError(path, expected="a readable store", found=error.strerror or str(error)) from None
    except (OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = str(error).strip("'\"") or type(error).__name__
        raise StoreError(path, expected="a whole store", found=f"a damaged one ({reason})", remedy=_REBUILD) from None


def _open(path: Path) -> Store:
    import h5py

    if not h5py.is_hdf5(path):
        raise StoreError(path, expected="a store (an HDF5 file)", found="another kind of file")
    with h5py.File(path, "r") as file:
        info = _check_head(path, file)
        _refuse_foreign(path, file)
        layout = read_layout(path) if _is_flat(file) else None
        if file["complete"].shape != (1,) or int(file["complete"][0]) != 1:
            raise StoreError(path, expected="a complete store", found="an unfinished one", remedy=_REBUILD)
        splits = {name: _read_split(path, file, info, name, layout) for name in SPLITS}
    return Store(path, info, **splits)


def _check_head(path: Path, file: Any) -> StoreInfo:
    if file.attrs.get("format") != FORMAT:
        raise StoreError(
            path, expected="a store", found="an HDF5 file of another kind", remedy="mmtk import reads .npz files"
        )
    version = int(file.attrs["version"])
    if version > VERSION:
        raise StoreError(
            path, expected=f"format version {VERSION} or older", found=f"version {version}", remedy="upgrade mmtk"
        )
    info = StoreInfo.from_json(str(file.attrs["info"]))
    if file.attrs["ndim"] != 2 or file.attrs["dtype"] != "uint8" or info.channels not in (1, 3) or info.size < 1:
        raise StoreError(path, expected="2D images of 1 or 3 channels of uint8", found="others", remedy="upgrade mmtk")
    return info


def _refuse_foreign(path: Path, group: Any) -> None:
    """Refuse what could reach outside the file or run code: a store may come from a stranger."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StoreError(
                path, expected="no links", found=f"a link at {group.name}/{name}", remedy="do not trust this file"
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            _refuse_foreign(path, item)
        elif not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise StoreError(
                path, expected="data inside the file", found=f"{name} elsewhere", remedy="do not trust this file"
            )
        elif item.dtype.hasobject or h5py.check_dtype(ref=item.dtype) is not None:
            raise StoreError(
                path, expected="plain numbers", found=f"objects in {name}", remedy="do not trust this file"
            )


def _is_flat(file: Any) -> bool:
    """Whether every dataset of the store is unfiltered, so that its bytes can be mapped."""
    datasets = (file[f"{split}/{name}"] for split in SPLITS for name in ("images", "labels", "records"))
    return all(dataset.id.get_create_plist().get_nfilters() == 0 for dataset in datasets)


def _read_split(path: Path, file: Any, info: StoreInfo, name: str, layout: Layout | None) -> Split:
    group = file[name]
    images, labels, records = group["images"], group["labels"][()], group["records"][()]
    if images.dtype != np.uint8 or labels.dtype != np.uint8:
        raise StoreError(path, expected="uint8 images and labels", found=f"{images.dtype} and {labels.dtype} in {name}")
    check_arrays(f"{path} {name}", info, images.shape, labels)
    widths = [records.dtype[field].itemsize for field in ("source", "subject")]
    if records.dtype != record_dtype(*widths) or records.shape != (len(labels),):
        raise StoreError(path, expected="one record an image", found=f"{records.dtype} {records.shape} in {name}")
    if layout is None or not len(labels):
        return Split(name, path, info, images[()], labels, records)
    region = layout.regions[f"{name}/images"]
    if region.offset + region.length > path.stat().st_size:
        raise StoreError(path, expected="a whole store", found="a file cut short", remedy=_REBUILD)
    mapped = np.memmap(path, np.uint8, "c", region.offset, images.shape)
    return Split(name, path, info, np.asarray(mapped), labels, records)
