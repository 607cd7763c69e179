"""Write a store: first the HDF5 skeleton, then rows at known offsets, checksums, and the mark that it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import SPLITS
from mmtk.errors import StoreError
from mmtk.files import publish, read_at, writing
from mmtk.store._digest import CHECKSUM, KEYS, checksum_rows, checksums, digest_of
from mmtk.store._format import (
    FORMAT,
    Array,
    StoreInfo,
    check_facts,
    check_labels,
    check_shapes,
    chunk_rows,
    record_dtype,
)
from mmtk.store._guard import guarded
from mmtk.store._steady import create_hdf5, write_at


@dataclass(frozen=True)
class Region:
    """Rows of one dataset, back to back in the file."""

    offset: int
    rows: int
    row_bytes: int

    @property
    def end(self) -> int:
        return self.offset + self.rows * self.row_bytes

    def checksums(self, file: int, step: int) -> NDArray[np.uint8]:
        """Checksums of every `step` rows of an open file, in bounded memory."""

        def read(start: int, end: int) -> bytes:
            return read_exactly(file, self.offset + start * self.row_bytes, (end - start) * self.row_bytes)

        return checksums(read, self.rows, step, self.row_bytes)


class ArraySpec(NamedTuple):
    """Shape and type of an array, without its values."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Layout:
    """Offsets of everything in a store's file, and its facts."""

    info: StoreInfo
    arrays: Mapping[str, ArraySpec]
    regions: Mapping[str, Region]  # "train/images" -> its bytes
    tables: Mapping[str, Region]  # "train/images" -> its checksums
    digest: int
    complete: int
    row_bytes: int
    end: int

    def image_offset(self, split: str, row: int) -> int:
        """File offset of an image; rows of a split lie back to back."""
        return self.regions[f"{split}/images"].offset + row * self.row_bytes


def read_exactly(file: int, offset: int, length: int) -> bytes:
    data = read_at(file, length, offset)
    while len(data) < length:
        more = read_at(file, length - len(data), offset + len(data))
        if not more:
            raise EOFError(f"the file ends at byte {offset + len(data)}")
        data += more
    return data


def _dataset(group: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunk: int | None) -> Any:
    """Create an early-allocated dataset without fill or times; contiguous where `chunk` is None."""
    import h5py

    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)
    if chunk is not None:
        plist.set_chunk((chunk, *shape[1:]))
    kind = h5py.h5t.py_create(dtype, logical=True)
    return h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, h5py.h5s.create_simple(shape), plist))


def create_skeleton(
    path: str | Path, info: StoreInfo, labels: Mapping[str, Array], records: Mapping[str, Array]
) -> Layout:
    """Write a store's file with everything but images, checksums and mark, and reserve its space.

    Parameters
    ----------
    path : path
        The file to write; it is not a store until `finalize` has marked it.
    info : StoreInfo
    labels : mapping of split to (n, l) uint8
    records : mapping of split to (n,) array of `record_dtype`

    Returns
    -------
    Layout

    Raises
    ------
    StoreError
        If labels or records do not match the facts, or a store with such facts could not be read back.
    OSError
        If the disk is full or the folder cannot be written.
    """
    check_facts(path, info)
    for split in SPLITS:
        images = ArraySpec((len(labels[split]), *info.row_shape), np.dtype(np.uint8))
        check_shapes(f"{path} {split}", info, images, labels[split], records[split])
        check_labels(f"{path} {split}", info, labels[split])
    row_bytes = int(np.prod(info.row_shape))
    with create_hdf5(path) as (file, _):
        write_head(file, info)
        for split in SPLITS:
            group, table = file.create_group(split), file.create_group(f"checksums/{split}")
            rows = len(labels[split])
            chunk = chunk_rows(rows, row_bytes) if rows else None
            _dataset(group, "images", (rows, *info.row_shape), np.dtype("u1"), chunk)
            _dataset(table, "images", (-(-rows // chunk) if chunk else 0, CHECKSUM), np.dtype("u1"), None)
            for name, values in (("labels", labels[split]), ("records", records[split])):
                dataset = _dataset(group, name, values.shape, values.dtype, None)
                if rows:
                    dataset[...] = values
                _dataset(table, name, (1 if rows else 0, CHECKSUM), np.dtype("u1"), None)
        empty = {key: (file[key], np.zeros(file[f"checksums/{key}"].shape, np.uint8)) for key in KEYS}
        digest = _dataset(file, "digest", (CHECKSUM,), np.dtype("u1"), None)
        digest[...] = np.frombuffer(digest_of(info, empty), np.uint8)
        _dataset(file, "complete", (1,), np.dtype("u1"), None)
    layout = read_layout(path)
    _reserve(path, layout.end)
    return layout


def write_head(file: Any, info: StoreInfo) -> None:
    """Write the attributes that make an HDF5 file a store."""
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["version"] = info.version
    file.attrs["ndim"] = info.ndim
    file.attrs["dtype"] = np.bytes_("uint8")
    file.attrs["info"] = np.bytes_(info.to_json())  # fixed length: HDF5 does not checksum other text


def _reserve(path: str | Path, size: int) -> None:
    """Reserve the disk space before hours of work go into the file."""
    handle = os.open(path, os.O_RDWR)
    try:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(handle)


def read_layout(path: str | Path) -> Layout:
    """Find a skeleton's or store's offsets.

    Raises
    ------
    StoreError
        If a dataset is filtered or scattered, or the file cannot be read.
    """
    import h5py

    with guarded(Path(path)), h5py.File(path, "r", locking=False) as file:
        info = StoreInfo.from_json(file.attrs["info"].decode())
        regions = {key: _solid(path, file[key]) for key in KEYS}
        tables = {key: _solid(path, file[f"checksums/{key}"]) for key in KEYS}
        arrays = {key: ArraySpec(file[key].shape, file[key].dtype) for key in KEYS}
        digest, complete = (_solid(path, file[name]).offset for name in ("digest", "complete"))
        row_bytes = regions["train/images"].row_bytes
        return Layout(info, arrays, regions, tables, digest, complete, row_bytes, os.path.getsize(path))


def _solid(path: str | Path, dataset: Any) -> Region:
    region = find_region(dataset)
    if region is None:
        raise StoreError(path, f"{dataset.name} is filtered or scattered, not contiguous")
    return region


def find_region(dataset: Any) -> Region | None:
    """Bytes of an HDF5 dataset if they are contiguous, unfiltered and in row order, else None."""
    rows, row_bytes = dataset.shape[0], int(np.prod(dataset.shape[1:])) * int(dataset.dtype.itemsize)
    if not rows * row_bytes:
        return Region(0, rows, row_bytes)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return None if offset is None else Region(int(offset), rows, row_bytes)
    if dataset.chunks[1:] != dataset.shape[1:] or dataset.id.get_create_plist().get_nfilters():
        return None
    chunk = dataset.chunks[0] * row_bytes
    starts: dict[int, int] = {}
    dataset.id.chunk_iter(lambda info: starts.__setitem__(info.chunk_offset[0], info.byte_offset))
    first = starts.get(0, 0)
    solid = all(starts.get(row) == first + i * chunk for i, row in enumerate(range(0, rows, dataset.chunks[0])))
    return Region(first, rows, row_bytes) if solid else None


def finalize(path: str | Path) -> None:
    """Compute the checksums and digest of a filled skeleton, mark it complete and sync it to disk.

    Raises
    ------
    StoreError
        If it is not a skeleton, or cannot be read.
    OSError
        If it cannot be written.
    """
    layout = read_layout(path)
    handle = os.open(path, os.O_RDWR)
    try:
        arrays = {}
        for key, region in layout.regions.items():
            array = layout.arrays[key]
            sums = region.checksums(handle, checksum_rows(key, array))
            arrays[key] = array, sums
            write_at(handle, sums.tobytes(), layout.tables[key].offset)
        write_at(handle, digest_of(layout.info, arrays), layout.digest)
        os.fsync(handle)
        write_at(handle, b"\x01", layout.complete)
        os.fsync(handle)
    finally:
        os.close(handle)


def empty_records(names: list[str], size: int, subjects: list[str] | None = None) -> Array:
    """Records of images that are already small squares: name, size, and the whole image as crop box."""
    coded = [name.encode() for name in names]
    people = [name.encode() for name in subjects or [""] * len(names)]
    source, subject = (max(map(len, column), default=1) for column in (coded, people))
    records = np.zeros(len(coded), record_dtype(source, subject))
    records["source"] = coded
    records["subject"] = people
    for field in ("height", "width", "side"):
        records[field] = size
    return records


def write_store(path: str | Path, info: StoreInfo, arrays: Mapping[str, tuple[Array, Array, Array]]) -> Path:
    """Write a store from arrays; it appears under `path` only once complete.

    Parameters
    ----------
    path : path
        Its folder is created if needed; an existing file is overwritten.
    info : StoreInfo
        The facts of the store.
    arrays : mapping of split to (images, labels, records)
        Images ``(n, h, w[, 3])`` uint8, for volumes ``(n, d, h, w)``; labels ``(n, l)`` uint8; records ``(n,)`` of
        `record_dtype`.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StoreError
        If arrays and facts do not match, or the disk is full or cannot be written.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import write_store
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> arrays = {split.name: (split.images[:4], split.labels[:4], split.records[:4]) for split in store.splits}
    >>> mmtk.open(write_store("first_four.h5", store.info, arrays)).counts
    {'train': 4, 'val': 4, 'test': 4}
    """
    labels = {split: arrays[split][1] for split in SPLITS}
    records = {split: arrays[split][2] for split in SPLITS}
    for split in SPLITS:
        check_shapes(f"{path} {split}", info, *arrays[split])
    return write_blocks(path, info, labels, records, lambda split: blocks(arrays[split][0]))


def write_blocks(
    path: str | Path, info: StoreInfo, labels: Mapping[str, Array], records: Mapping[str, Array],
    images: Callable[[str], Iterable[Array]],
) -> Path:
    """Like `write_store`, with the images of a split in consecutive blocks of uint8, so that memory use stays flat."""
    final = Path(path)
    check_facts(final, info)
    with writing(final) as temporary:
        layout = create_skeleton(temporary, info, labels, records)
        with temporary.open("r+b") as file:
            for split in SPLITS:
                row = 0
                for block in images(split):
                    write_at(file.fileno(), block.tobytes(), layout.image_offset(split, row))
                    row += len(block)
        finalize(temporary)
        publish(temporary, final)
    return final


def blocks(array: Any) -> Iterator[Array]:
    """Cut an array, or anything indexed like one, along its rows into blocks of a few MiB."""
    step = block_rows(array.shape, array.dtype)
    return (array[row : row + step] for row in range(0, len(array), step))


def block_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Rows per block of a few MiB."""
    return max(1, (1 << 22) // max(1, int(np.prod(shape[1:])) * dtype.itemsize))
