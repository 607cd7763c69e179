"""Read a store's file as untrusted input: nothing is used before it has been checked."""

from __future__ import annotations

import errno
import math
import mmap
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.datasets.base import SPLITS
from mmtk.errors import StoreError
from mmtk.store._chunks import ChunkedImages, Images, chunked, plain_chunks
from mmtk.store._digest import CHECKSUM, KEYS, NAMES, checksum_rows, digest_of
from mmtk.store._format import FORMAT, VERSIONS, Array, StoreInfo, check_labels, check_shapes
from mmtk.store._guard import DISTRUST, REBUILD
from mmtk.store._unpack import COMPRESSIONS, FORMER
from mmtk.store._writer import find_region

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ARRAYS = {name.encode() for name in NAMES}
_SPLITS = {split.encode() for split in SPLITS}
_MEMBERS = {"/": {b"complete", b"digest", b"checksums", *_SPLITS}, "/checksums": _SPLITS} | {
    f"{place}/{split}": _ARRAYS for place in ("", "/checksums") for split in SPLITS
}
_MAX_FACTS = 1 << 20  # bytes of an attribute
# without it a writable private mapping is charged against memory in full, although nothing of it has been read
_NO_RESERVE = 0x4000 if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64", "riscv64") else 0


@dataclass(frozen=True)
class Content:
    """Facts, digest, the images, labels and records of each split, and the mapping that holds the images."""

    info: StoreInfo
    digest: str
    arrays: dict[str, tuple[Images, Array, Array]]
    mapping: mmap.mmap | None


@dataclass(frozen=True)
class CheckedFile:
    """A store's open file, checked to hold what FORMAT.md names, with facts and checksums that match its digest."""

    file: Any
    info: StoreInfo
    digest: str
    datasets: dict[str, Any]  # by name, such as "train/images" or "checksums/train/images"


@contextmanager
def checked(path: Path, digest: str | None = None) -> Iterator[CheckedFile]:
    """Open a store's file and check everything but its pixels.

    Raises
    ------
    StoreError
        If it is not a store, its facts and checksums do not match its digest, or the digest is not the requested one.
        Corrupt files also raise other errors; see `guarded`.
    """
    import h5py

    _expect_hdf5(path)
    with h5py.File(path, "r", locking=False) as file:
        info = _read_head(path, file)
        datasets = _check_tree(path, file)
        if datasets["complete"].shape != (1,) or int(datasets["complete"][0]) != 1:
            raise StoreError(path, "store is incomplete: it was never finished", remedy=REBUILD)
        for split in SPLITS:
            check_shapes(f"{path} {split}", info, *(datasets[f"{split}/{name}"] for name in NAMES))
        stored = _check_digest(path, datasets, info)
        if digest is not None and stored != digest:
            raise StoreError(path, "is another store", found=f"digest {stored}", expected=digest)
        yield CheckedFile(file, info, stored, datasets)


def read_content(path: Path, digest: str | None = None) -> Content:
    """Read a store; its pixels are memory-mapped. Raises what `checked` raises."""
    with checked(path, digest) as store:
        mapping, images = _map_images(path, store.file, store.datasets)
        arrays = {}
        for split in SPLITS:
            labels, records = (store.datasets[f"{split}/{name}"][()] for name in ("labels", "records"))
            check_labels(f"{path} {split}", store.info, labels)
            arrays[split] = images[split], labels, records
    return Content(store.info, store.digest, arrays, mapping)


def _expect_hdf5(path: Path) -> None:
    with path.open("rb") as raw:
        start = raw.read(len(_SIGNATURE))
    if start != _SIGNATURE:
        zipped = start.startswith(b"PK")
        what = "but a zip archive" if zipped else "or any other HDF5 file" if start else "but an empty file"
        remedy = "use mmtk import for .npz files" if zipped else ""
        raise StoreError(path, f"is not a store {what}", remedy=remedy)


def _read_head(path: Path, file: Any) -> StoreInfo:
    if _attribute(path, file, "format") != FORMAT:
        raise StoreError(path, "is not a store but another kind of HDF5 file")
    version = int(_attribute(path, file, "version"))
    if version not in VERSIONS:
        remedy = "upgrade mmtk" if version > VERSIONS[-1] else REBUILD
        expected = f"{', '.join(map(str, VERSIONS[:-1]))} or {VERSIONS[-1]}"
        actual = f"version {version}"
        raise StoreError(path, "unsupported format version", expected=expected, found=actual, remedy=remedy)
    info = StoreInfo.from_json(_attribute(path, file, "info"))
    if version != info.version:
        problem = f"store is corrupt: format version {version}, but its facts are those of version {info.version}"
        raise StoreError(path, problem, remedy=REBUILD)
    plain = _attribute(path, file, "ndim") == info.ndim and _attribute(path, file, "dtype") == "uint8"
    if not plain or info.size < 1:
        problem = f"its images are not uint8 arrays with {info.ndim} axes, as its facts say"
        raise StoreError(path, problem, remedy="upgrade mmtk")
    return info


def _attribute(path: Path, file: Any, name: str) -> Any:
    import h5py

    if not h5py.h5a.exists(file.id, name.encode()):
        return None
    size = h5py.h5a.open(file.id, name.encode()).get_storage_size()
    if size > _MAX_FACTS:
        problem = f"attribute {name} is too large"
        raise StoreError(path, problem, expected=f"at most {_MAX_FACTS}", found=f"{size} bytes", remedy=DISTRUST)
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else value


def _check_tree(path: Path, file: Any) -> dict[str, Any]:
    """Refuse anything but the groups and datasets of FORMAT.md, each a separate object; return the datasets by name."""
    import h5py

    addresses: set[int] = set()
    datasets: dict[str, Any] = {}
    for place, names in _MEMBERS.items():
        group = h5py.h5o.open(file.id, place.encode())
        if not isinstance(group, h5py.h5g.GroupID) or group.get_num_objs() != len(names) or set(group) != names:
            raise StoreError(path, f"the members of {place} are not those of a store (see FORMAT.md)", remedy=DISTRUST)
        for name in sorted(names):
            what = f"{place.rstrip('/')}/{name.decode()}"
            link = group.links.get_info(name)
            if link.type != h5py.h5l.TYPE_HARD:
                raise StoreError(path, f"{what} is a link, which a store must not have", remedy=DISTRUST)
            if link.u in addresses:
                raise StoreError(path, f"{what} is a link to another object of the store", remedy=DISTRUST)
            addresses.add(link.u)
            if what not in _MEMBERS:
                datasets[what[1:]] = _check_dataset(path, what, h5py.h5o.open(group, name))
    return datasets


def _check_dataset(path: Path, name: str, item: Any) -> Any:
    """Refuse a dataset that could reach outside the file, run code, or claim more than the file holds."""
    import h5py

    plist = item.get_create_plist() if isinstance(item, h5py.h5d.DatasetID) else None
    if plist is None or plist.get_external_count() or plist.get_layout() not in (h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED):
        raise StoreError(path, f"{name} is not stored inside the file", remedy=DISTRUST)
    dataset = h5py.Dataset(item)
    if dataset.dtype.hasobject:
        raise StoreError(path, f"{name} holds objects, not plain numbers", remedy=DISTRUST)
    # HDF5 would convert the values on reading
    if item.get_type() != h5py.h5t.py_create(dataset.dtype, logical=True):
        raise StoreError(path, f"{name} is not stored as plain {dataset.dtype}", remedy=DISTRUST)
    if plist.get_nfilters() and (not name.endswith("/images") or name.startswith("/checksums")):
        raise StoreError(path, f"{name} has a filter, which only images may have", remedy=DISTRUST)
    chunks = plist.get_chunk() if plist.get_layout() == h5py.h5d.CHUNKED else None
    if chunks and chunks[0] > max(1, item.shape[0]):
        problem = f"{name} has chunks of {chunks[0]} rows, but only {item.shape[0]} rows"
        raise StoreError(path, problem, remedy=DISTRUST)
    # HDF5 fills in what is missing from the file, and a few bytes could claim terabytes
    wanted = math.prod(item.shape)
    if chunks:
        whole = item.get_num_chunks() * math.prod(chunks) >= wanted
    else:
        whole = item.get_storage_size() >= wanted * dataset.dtype.itemsize
    if not whole:
        raise StoreError(path, f"store is incomplete: parts of {name} are missing", remedy=REBUILD)
    return dataset


def _check_digest(path: Path, datasets: dict[str, Any], info: StoreInfo) -> str:
    """Check facts, shapes and checksums against the digest, and return it."""
    arrays = {}
    for key in KEYS:
        array, table = datasets[key], datasets[f"checksums/{key}"]
        chunks = -(-array.shape[0] // checksum_rows(key, array))
        if table.dtype != np.uint8 or table.shape != (chunks, CHECKSUM):
            expected, actual = f"uint8 {(chunks, CHECKSUM)}", f"{table.dtype} {table.shape}"
            what = f"{path} {key}"
            raise StoreError(what, "checksums have the wrong shape", expected=expected, found=actual, remedy=REBUILD)
        arrays[key] = array, table[()]
    stored = datasets["digest"]
    if stored.dtype != np.uint8 or stored.shape != (CHECKSUM,):
        expected, actual = f"{CHECKSUM} bytes", f"{stored.dtype} {stored.shape}"
        raise StoreError(path, "digest has the wrong shape", expected=expected, found=actual)
    digest = stored[()].tobytes()
    if digest != digest_of(info, arrays):
        problem = "store is corrupt: it was changed after it was written (facts and checksums do not match its digest)"
        raise StoreError(path, problem, remedy=REBUILD)
    return bytes(digest).hex()


def _map_images(path: Path, file: Any, datasets: dict[str, Any]) -> tuple[mmap.mmap | None, dict[str, Images]]:
    """Images of each split; uncompressed ones lie in one mapping of the open file, even if its name has been reused."""
    datasets = {split: datasets[f"{split}/images"] for split in SPLITS}
    regions = {split: find_region(dataset) for split, dataset in datasets.items()}
    end = max((region.end for region in regions.values() if region is not None), default=0)
    handle = file.id.get_vfd_handle()
    mapping = _map(handle, end) if end else None
    images: dict[str, Images] = {}
    for split, dataset in datasets.items():
        region = regions[split]
        if region is None:
            images[split] = read_packed(path, file, dataset)
        elif not region.rows:
            images[split] = np.empty(dataset.shape, np.uint8)
        elif mapping is None:
            rows = checksum_rows(f"{split}/images", dataset)
            images[split] = plain_chunks(path, os.dup(handle), region.offset, dataset.shape, rows)
        else:
            flat = np.frombuffer(mapping, np.uint8, region.rows * region.row_bytes, region.offset)
            images[split] = flat.reshape(dataset.shape)
    return mapping, images


def _map(handle: int, length: int) -> mmap.mmap | None:
    """Map a file copy-on-write, or read-only if memory is too short for that; None if it cannot be mapped at all."""
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(handle, length, access=mmap.ACCESS_COPY)
    both = mmap.PROT_READ | mmap.PROT_WRITE
    try:
        return mmap.mmap(handle, length, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=both)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENOTSUP):
            return None
        if error.errno != errno.ENOMEM:
            raise
    return mmap.mmap(handle, length, access=mmap.ACCESS_READ)


def read_packed(path: Path, file: Any, dataset: Any) -> ChunkedImages | Array:
    """Images that are compressed, or scattered over the file."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not filters:
        places: dict[int, int] = {}
        dataset.id.chunk_iter(lambda chunk: places.__setitem__(chunk.byte_offset, chunk.size))
        if sum(places.values()) < dataset.nbytes or max(a + n for a, n in places.items()) > os.fstat(
            file.id.get_vfd_handle()
        ).st_size:
            raise StoreError(path, f"store is incomplete: parts of {dataset.name} are missing", remedy=DISTRUST)
        whole: Array = dataset[()]
        return whole
    packed = chunked(path, file, dataset)
    if packed is None:
        known = {number: name for name, number in (COMPRESSIONS | FORMER).items()}
        names = [known.get(number, f"filter {number}") for number in filters]
        filtered = f"{' and '.join(names)}, chunks of {'x'.join(map(str, dataset.chunks))}"
        problem = f"its images cannot be decompressed ({filtered})"
        remedy = "pip install 'mmtk[zstd]'" if "zstd" in names else REBUILD
        if FORMER.keys() & set(names):
            remedy = f"{REBUILD}, or export it as gzip with the mmtk version that wrote it"
        raise StoreError(path, problem, remedy=remedy)
    return packed
