"""Write a store: the HDF5 skeleton first, then rows at known offsets, checksums, and the mark that it is complete."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import StoreError
from mmtk.files import publish, writing
from mmtk.store._format import FORMAT, LIBVER, SPLITS, VERSION, StoreInfo, check_arrays, chunk_rows, record_dtype
from mmtk.store._steady import write_at

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Region:
    """Bytes of one dataset in the file, cut into chunks of `chunk` bytes (the last one may be padded)."""

    offset: int
    length: int
    chunk: int

    def checksums(self, file: int) -> list[int]:
        """CRC-32 of each chunk, padding left out, in bounded memory."""
        return [
            zlib.crc32(_read_exactly(file, self.offset + start, min(self.chunk, self.length - start)))
            for start in range(0, self.length, self.chunk)
        ]


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a store's file."""

    regions: Mapping[str, Region]  # "train/images" -> its bytes
    tables: Mapping[str, Region]  # "train/images" -> its checksums
    complete: int
    row_bytes: int
    end: int

    def image_offset(self, split: str, row: int) -> int:
        """File offset of an image; rows of a split lie back to back."""
        return self.regions[f"{split}/images"].offset + row * self.row_bytes


def _read_exactly(file: int, offset: int, length: int) -> bytes:
    data = os.pread(file, length, offset)
    while len(data) < length:
        more = os.pread(file, length - len(data), offset + len(data))
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
    """Write a store's file with everything but its images, checksums and mark, and reserve its space.

    Parameters
    ----------
    path : path
        The file to write; it is no store until `finalize` has marked it.
    info : StoreInfo
    labels : mapping of split to (n, l) uint8
    records : mapping of split to (n,) array of `record_dtype`

    Returns
    -------
    Layout

    Raises
    ------
    StoreError
        If labels or records do not fit the facts.
    OSError
        If the disk is full or the folder cannot be written.
    """
    import h5py

    for split in SPLITS:
        shape = (len(labels[split]), *info.row_shape)
        check_arrays(f"{path} {split}", info, shape, labels[split], records[split])
    row_bytes = int(np.prod(info.row_shape))
    _reserve(path, sum(len(labels[split]) * (row_bytes + records[split].itemsize) for split in SPLITS))
    with h5py.File(path, "w", libver=LIBVER) as file:
        write_head(file, info)
        for split in SPLITS:
            group, table = file.create_group(split), file.create_group(f"checksums/{split}")
            rows = len(labels[split])
            chunk = chunk_rows(rows, row_bytes) if rows else None
            _dataset(group, "images", (rows, *info.row_shape), np.dtype("u1"), chunk)
            _dataset(table, "images", (-(-rows // chunk) if chunk else 0,), np.dtype("<u4"), None)
            for name, values in (("labels", labels[split]), ("records", records[split])):
                dataset = _dataset(group, name, values.shape, values.dtype, None)
                if rows:
                    dataset[...] = values
                _dataset(table, name, (1 if rows else 0,), np.dtype("<u4"), None)
        _dataset(file, "complete", (1,), np.dtype("u1"), None)
    layout = read_layout(path)
    _reserve(path, layout.end)
    return layout


def write_head(file: Any, info: StoreInfo) -> None:
    """Write the attributes that make an HDF5 file a store."""
    file.attrs["format"] = np.bytes_(FORMAT)
    file.attrs["version"] = VERSION
    file.attrs["ndim"] = 2
    file.attrs["dtype"] = np.bytes_("uint8")
    file.attrs["info"] = np.bytes_(info.to_json())  # of fixed length: HDF5 keeps no checksum of other texts


def _reserve(path: str | Path, size: int) -> None:
    """Make sure that the disk has the space, before HDF5, which cannot go back, meets its end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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
        If a dataset is filtered or scattered.
    """
    import h5py

    regions: dict[str, Region] = {}
    tables: dict[str, Region] = {}
    with h5py.File(path, "r", locking=False) as file:
        for split in SPLITS:
            for name in ("images", "labels", "records"):
                key = f"{split}/{name}"
                regions[key] = _solid(path, file[key])
                tables[key] = _solid(path, file[f"checksums/{key}"])
        complete = _solid(path, file["complete"]).offset
        row_bytes = int(np.prod(file["train/images"].shape[1:]))
    return Layout(regions, tables, complete, row_bytes, os.path.getsize(path))


def _solid(path: str | Path, dataset: Any) -> Region:
    region = find_region(dataset)
    if region is None:
        raise StoreError(path, expected=f"{dataset.name} as one run of bytes", found="a filtered or scattered dataset")
    return region


def find_region(dataset: Any) -> Region | None:
    """Bytes of an HDF5 dataset if they are one unfiltered run in the file, in the order of its rows."""
    size = int(dataset.dtype.itemsize)
    length = int(dataset.size) * size
    if not length:
        return Region(0, 0, 1)
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return None if offset is None else Region(int(offset), length, length)
    if dataset.chunks[1:] != dataset.shape[1:] or dataset.id.get_create_plist().get_nfilters():
        return None
    chunk = int(np.prod(dataset.chunks)) * size
    starts: dict[int, int] = {}
    dataset.id.chunk_iter(lambda info: starts.__setitem__(info.chunk_offset[0], info.byte_offset))
    first = starts.get(0, 0)
    rows = range(0, dataset.shape[0], dataset.chunks[0])
    solid = all(starts.get(row) == first + i * chunk for i, row in enumerate(rows))
    return Region(first, length, chunk) if solid else None


def finalize(path: str | Path) -> None:
    """Compute the checksums of a filled skeleton, then mark it complete, and sync it to disk."""
    layout = read_layout(path)
    handle = os.open(path, os.O_RDWR)
    try:
        for key, region in layout.regions.items():
            write_at(handle, np.array(region.checksums(handle), "<u4").tobytes(), layout.tables[key].offset)
        os.fsync(handle)
        write_at(handle, b"\x01", layout.complete)
        os.fsync(handle)
    finally:
        os.close(handle)


def empty_records(names: list[str], size: int, subjects: list[str] | None = None) -> Array:
    """Records of images that are already small squares: their names, their size, the whole as box."""
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
    """Write a whole store from arrays; it appears under `path` only when whole.

    Parameters
    ----------
    path : path
        Its folder is made if need be; a file that is there is replaced.
    info : StoreInfo
    arrays : mapping of split to (images, labels, records)
        Images ``(n, h, w[, 3])`` uint8, labels ``(n, l)`` uint8, records of `record_dtype`.

    Raises
    ------
    StoreError
        If arrays and facts do not fit, or the disk is full or cannot be written.
    """
    labels = {split: arrays[split][1] for split in SPLITS}
    records = {split: arrays[split][2] for split in SPLITS}
    for split in SPLITS:
        images = arrays[split][0]
        if images.dtype != np.uint8:
            raise StoreError(f"{path} {split}", expected="uint8 images", found=str(images.dtype))
        check_arrays(f"{path} {split}", info, images.shape, labels[split], records[split])
    return write_blocks(path, info, labels, records, lambda split: blocks(arrays[split][0]))


def write_blocks(
    path: str | Path,
    info: StoreInfo,
    labels: Mapping[str, Array],
    records: Mapping[str, Array],
    images: Callable[[str], Iterable[Array]],
) -> Path:
    """As `write_store`, with the images of a split in consecutive blocks of uint8, so that memory stays flat."""
    final = Path(path)
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
    """Cut an array, or what is indexed like one, along its rows into blocks of a few MiB."""
    step = block_rows(array.shape, array.dtype)
    return (array[row : row + step] for row in range(0, len(array), step))


def block_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Rows of an array in a block of a few MiB."""
    return max(1, (1 << 22) // max(1, int(np.prod(shape[1:])) * dtype.itemsize))
