"""Write a store: the HDF5 skeleton first, then rows at known offsets, checksums, and the mark that it is complete."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import StoreError
from mmtk.store._format import FORMAT, LIBVER, SPLITS, VERSION, StoreInfo, check_arrays, chunk_rows, record_dtype

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


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls the system takes for it."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done


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
        If labels do not fit the facts.
    OSError
        If the disk is full or the folder cannot be written.
    """
    import h5py

    for split in SPLITS:
        check_arrays(f"{path} {split}", info, (len(records[split]), *info.row_shape), labels[split])
    row_bytes = int(np.prod(info.row_shape))
    with h5py.File(path, "w", libver=LIBVER) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.attrs["ndim"] = 2
        file.attrs["dtype"] = "uint8"
        file.attrs["info"] = info.to_json()
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
    handle = os.open(path, os.O_RDWR)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, layout.end)
    finally:
        os.close(handle)
    return layout


def read_layout(path: str | Path) -> Layout:
    """Find a skeleton's or store's offsets.

    Raises
    ------
    StoreError
        If a dataset is not where the format says: filtered, scattered or outside the file.
    """
    import h5py

    regions: dict[str, Region] = {}
    tables: dict[str, Region] = {}
    with h5py.File(path, "r") as file:
        for split in SPLITS:
            for name in ("images", "labels", "records"):
                key = f"{split}/{name}"
                regions[key] = _region(path, file[key])
                tables[key] = _region(path, file[f"checksums/{key}"])
        complete = _region(path, file["complete"]).offset
        row_bytes = int(np.prod(file["train/images"].shape[1:]))
    return Layout(regions, tables, complete, row_bytes, os.path.getsize(path))


def _region(path: str | Path, dataset: Any) -> Region:
    length = int(dataset.size) * int(dataset.dtype.itemsize)
    if not length:
        return Region(0, 0, 1)
    if dataset.chunks is None:
        return Region(int(dataset.id.get_offset()), length, length)
    chunk = int(np.prod(dataset.chunks)) * int(dataset.dtype.itemsize)
    starts: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda info: starts.append((info.chunk_offset[0], info.byte_offset)))
    starts.sort()
    first = starts[0][1]
    back_to_back = all(at == first + i * chunk for i, (_, at) in enumerate(starts))
    if dataset.chunks[1:] != dataset.shape[1:] or len(starts) != -(-length // chunk) or not back_to_back:
        raise StoreError(path, expected=f"the chunks of {dataset.name} back to back", found="scattered ones")
    return Region(first, length, chunk)


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


def publish(temporary: str | Path, final: str | Path) -> None:
    """Give a finished file its name, so that it appears whole or not at all, and sync the folder."""
    os.replace(temporary, final)
    folder = os.open(Path(final).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def empty_records(names: list[str], size: int) -> Array:
    """Records of images that are already small squares: their names, their size, the whole as box."""
    coded = [name.encode() for name in names]
    records = np.zeros(len(coded), record_dtype(max(map(len, coded), default=1), 1))
    records["source"] = coded
    for field in ("height", "width", "side"):
        records[field] = size
    return records


def write_store(path: str | Path, info: StoreInfo, arrays: Mapping[str, tuple[Array, Array, Array]]) -> Path:
    """Write a whole store from arrays; it appears under `path` only when whole.

    Parameters
    ----------
    path : path
    info : StoreInfo
    arrays : mapping of split to (images, labels, records)
        Images ``(n, h, w[, 3])`` uint8, labels ``(n, l)`` uint8, records of `record_dtype`.

    Raises
    ------
    StoreError
        If arrays and facts do not fit.
    """
    final = Path(path)
    for split in SPLITS:
        images, labels, _ = arrays[split]
        check_arrays(f"{final} {split}", info, images.shape, labels)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    try:
        layout = create_skeleton(temporary, info, {s: arrays[s][1] for s in SPLITS}, {s: arrays[s][2] for s in SPLITS})
        handle = os.open(temporary, os.O_RDWR)
        try:
            for split in SPLITS:
                images = arrays[split][0]
                step = max(1, (1 << 22) // layout.row_bytes)
                for row in range(0, len(images), step):
                    block = np.ascontiguousarray(images[row : row + step], np.uint8)
                    write_at(handle, block.tobytes(), layout.image_offset(split, row))
        finally:
            os.close(handle)
        finalize(temporary)
        publish(temporary, final)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
    return final
