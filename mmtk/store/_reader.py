"""Read a store: check it, then map each split's images as one array, copy-on-write."""

from __future__ import annotations

import hashlib
import mmap
import stat
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from mmtk.errors import MmtkError, StoreError
from mmtk.store._chunks import COMPRESSIONS, ChunkedImages, Images, chunked
from mmtk.store._format import FORMAT, SPLITS, VERSION, StoreInfo, check_arrays, chunk_rows
from mmtk.store._writer import blocks, find_region

Array = np.ndarray[Any, Any]
_Result = TypeVar("_Result")
_REBUILD = "build or import it again"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a store.

    Attributes
    ----------
    images : (n, h, w) or (n, h, w, 3) uint8
        Mapped from the file; writing into it changes neither file nor other readers. Of a compressed store a
        `ChunkedImages`, which unpacks what is indexed; of a copy that other software scattered or filtered, in memory.
    labels : (n, l) uint8
    records : (n,) structured
        Fields ``source``, ``subject``, ``height``, ``width``, ``top``, ``left``, ``side``; of CT also ``plane`` and
        ``slice``.
    """

    name: str
    store_path: Path
    info: StoreInfo
    images: Images
    labels: Array
    records: Array
    _mapping: mmap.mmap | None = field(default=None, repr=False)

    def check_whole(self) -> None:
        """See that the mapped file has not been cut short: reading behind its end would kill the process.

        A file that is cut while a batch is being read still does that; no reader can prevent it. One that was replaced
        or deleted stays readable as it was.

        Raises
        ------
        StoreError
            If it has been.
        """
        if self._mapping is not None and self._mapping.size() < len(self._mapping):
            raise StoreError(
                self.store_path, expected="the file as it was opened", found="one cut short since", remedy=_REBUILD
            )

    @property
    def chunk_rows(self) -> int:
        """Images in a chunk of the file: those that lie together on disk."""
        row_bytes = int(np.prod(self.images.shape[1:]))
        return self.images.chunk_rows if isinstance(self.images, ChunkedImages) else chunk_rows(len(self), row_bytes)

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({self.info.flag} {self.name}, {len(self)} images of {self.info.size} px)"


@dataclass(frozen=True, eq=False)
class Store:
    """An opened store; its arrays stay readable even when the file is replaced on disk.

    There is nothing to close: no HDF5 file stays open, and a mapping ends with its last array. ``with`` works all the
    same.
    """

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
                for block in blocks(array):
                    digest.update(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

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
    return _guarded(path, lambda: _compare(path))


def _compare(path: Path) -> list[str]:
    """Compare checksums through HDF5, which reads also filtered copies, and reports a disk that cannot be read."""
    import h5py

    problems: list[str] = []
    with h5py.File(path, "r", locking=False) as file:
        for key in (f"{split}/{name}" for split in SPLITS for name in ("images", "labels", "records")):
            dataset, expected = file[key], file[f"checksums/{key}"][()].tolist()
            row_bytes = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
            step = chunk_rows(len(dataset), row_bytes) if key.endswith("images") else max(1, len(dataset))
            starts = range(0, len(dataset), step)
            if len(expected) != len(starts):
                problems.append(f"{path}: {key}: expected {len(starts)} checksums, found {len(expected)}")
                continue
            for chunk, (start, wanted) in enumerate(zip(starts, expected, strict=True)):
                found = zlib.crc32(dataset[start : start + step].tobytes())
                if found != wanted:
                    rows = f"rows {start} to {min(start + step, len(dataset)) - 1}"
                    sums = f"expected checksum {wanted:08x}, found {found:08x}"
                    problems.append(f"{path}: {key} chunk {chunk} ({rows}): {sums}")
    return problems


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
    except _DAMAGE as error:
        reason = str(error).strip("'\"") or type(error).__name__
        found = "a file cut short" if "truncated file" in reason else f"a damaged one ({reason})"
        raise StoreError(path, expected="a whole store", found=found, remedy=_REBUILD) from None


# what HDF5, h5py, JSON and NumPy raise on damaged or hostile bytes
_DAMAGE = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
)


def already_there(path: Path, plan_hash: str, force: bool) -> bool:
    """Whether a store of this plan is at `path`.

    Raises
    ------
    StoreError
        If something else is there, unless `force` allows it to be replaced.
    """
    if not path.exists():
        return False
    try:
        there = open(path).info.plan_hash == plan_hash
        found = "one of another plan"
    except StoreError as error:
        there, found = False, str(error)
    if not there and not force:
        remedy = "add --force to replace it, or choose another --out"
        raise StoreError(path, expected="a store of this plan or none", found=found, remedy=remedy)
    return there


def _open(path: Path) -> Store:
    import h5py

    with path.open("rb") as raw:
        start = raw.read(len(_SIGNATURE))
    if start != _SIGNATURE:
        zipped = start.startswith(b"PK")
        found = "a zip archive" if zipped else "another kind of file" if start else "an empty file"
        remedy = "mmtk import reads .npz files" if zipped else ""
        raise StoreError(path, expected="a store (an HDF5 file)", found=found, remedy=remedy)
    with h5py.File(path, "r", locking=False) as file:
        info = _check_head(path, file)
        _refuse_foreign(path, file)
        if file["complete"].shape != (1,) or int(file["complete"][0]) != 1:
            raise StoreError(path, expected="a complete store", found="an unfinished one", remedy=_REBUILD)
        splits = {name: _read_split(path, file, info, name) for name in SPLITS}
    return Store(path, info, **splits)


def _check_head(path: Path, file: Any) -> StoreInfo:
    if _text(file.attrs.get("format")) != FORMAT:
        raise StoreError(path, expected="a store", found="an HDF5 file of another kind")
    version = int(file.attrs["version"])
    if version > VERSION:
        raise StoreError(
            path, expected=f"format version {VERSION} or older", found=f"version {version}", remedy="upgrade mmtk"
        )
    info = StoreInfo.from_json(_text(file.attrs["info"]))
    plain = file.attrs["ndim"] == 2 and _text(file.attrs["dtype"]) == "uint8"
    if not plain or info.channels not in (1, 3) or info.size < 1:
        raise StoreError(path, expected="2D images of 1 or 3 channels of uint8", found="others", remedy="upgrade mmtk")
    return info


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _refuse_foreign(path: Path, group: Any, depth: int = 3) -> None:
    """Refuse what could reach outside the file or run code: a store may come from a stranger."""
    import h5py

    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StoreError(
                path, expected="no links", found=f"a link at {group.name}/{name}", remedy="do not trust this file"
            )
        item = group[name]
        if isinstance(item, h5py.Group):
            if depth == 1:  # or groups that hold each other
                raise StoreError(path, expected="the groups of FORMAT.md", found=f"{item.name}", remedy=_REBUILD)
            _refuse_foreign(path, item, depth - 1)
        elif not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise StoreError(
                path, expected="data inside the file", found=f"{name} elsewhere", remedy="do not trust this file"
            )
        elif item.dtype.hasobject:
            raise StoreError(
                path, expected="plain numbers", found=f"objects in {name}", remedy="do not trust this file"
            )
        elif not _is_allocated(item):
            raise StoreError(path, expected="a whole store", found=f"{item.name} in part", remedy=_REBUILD)


def _is_allocated(dataset: Any) -> bool:
    """Whether all of a dataset is in the file: HDF5 makes up what is not, and a few bytes could claim terabytes."""
    if dataset.chunks is None:
        return bool(dataset.id.get_storage_size() >= dataset.nbytes)
    return bool(dataset.id.get_num_chunks() * int(np.prod(dataset.chunks)) >= dataset.size)


def _read_split(path: Path, file: Any, info: StoreInfo, name: str) -> Split:
    group = file[name]
    images, labels, records = group["images"], group["labels"][()], group["records"][()]
    if images.dtype != np.uint8:
        raise StoreError(path, expected="uint8 images", found=f"{images.dtype} in {name}")
    check_arrays(f"{path} {name}", info, images.shape, labels, records)
    if not len(labels):
        return Split(name, path, info, np.empty(images.shape, np.uint8), labels, records)
    region = find_region(images)
    if region is None:
        return Split(name, path, info, chunked(path, file, images) or _read_whole(path, images), labels, records)
    # of the very file that was checked, whatever may have taken its name since
    view = mmap.mmap(file.id.get_vfd_handle(), region.offset + region.length, access=mmap.ACCESS_COPY)
    mapped = np.frombuffer(view, np.uint8, region.length, region.offset).reshape(images.shape)
    return Split(name, path, info, mapped, labels, records, view)


def _read_whole(path: Path, images: Any) -> Array:
    """Read images through HDF5, where its plugins for their filters are here."""
    import h5py

    plist = images.id.get_create_plist()
    for number in (plist.get_filter(i)[0] for i in range(plist.get_nfilters())):
        if not h5py.h5z.filter_avail(number):
            name = next((name for name, known in COMPRESSIONS.items() if known == number), f"filter {number}")
            remedy = "pip install 'mmtk[zstd]'"
            raise StoreError(path, expected="packages that unpack it", found=f"{name} images", remedy=remedy)
    whole: Array = images[()]
    return whole
