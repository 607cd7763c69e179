"""Compressed copies of a store, for archiving: the same facts and arrays, images compressed chunk by chunk."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, StoreError
from mmtk.files import clear_leftovers, publish, writing
from mmtk.store._chunks import COMPRESSIONS
from mmtk.store._digest import CHECKSUM, array_checksums, digest_of
from mmtk.store._format import chunk_rows, store_path
from mmtk.store._reader import Split, Store, already_there
from mmtk.store._steady import DeferredErrorFile, create_hdf5
from mmtk.store._writer import write_head


def compress(store: Store, out: str | Path, compression: str = "zstd", force: bool = False) -> Path:
    """Write a copy of a store with compressed images; it has the same digest.

    Parameters
    ----------
    store : Store
    out : path
        Folder of the copy, created if needed; the file name is the store's.
    compression : {"gzip", "zstd"}
        "zstd" needs the extra ``zstd``, to write and to read.
    force : bool
        Overwrite an existing file; without it, a store of the same plan is kept and any other file is an error.

    Returns
    -------
    Path
        ``out/{flag}_{size}.h5``.

    Raises
    ------
    ArgumentError
        If the compression is unknown.
    StoreError
        If another file exists there, the store is corrupt, the package for the compression is missing, or the disk is
        full.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import compress
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> copy = mmtk.open(compress(store, "archive", "gzip"))
    >>> copy.digest == store.digest
    True
    """
    if compression not in COMPRESSIONS:
        raise ArgumentError("compression", expected=" or ".join(COMPRESSIONS), found=repr(compression))
    final = store_path(out, store.info.flag, store.info.size)
    if final.exists() and final.samefile(store.path):
        raise StoreError(final, "would overwrite the store it is a copy of", remedy="choose another folder")
    clear_leftovers(final)
    if already_there(final, store.info.plan_hash, force) and not force:
        return final
    options = _options(final, compression)
    with writing(final) as temporary:
        with create_hdf5(temporary) as (file, below):
            write_head(file, store.info)
            arrays: dict[str, tuple[Any, NDArray[np.uint8]]] = {}
            for split in store.splits:
                arrays |= _copy(file, split, options, below)
            digest = digest_of(store.info, arrays)
            _plain(file, "digest", np.frombuffer(digest, np.uint8))
            _plain(file, "complete", np.ones(1, np.uint8))
        store.expect(digest.hex())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        publish(temporary, final)
    return final


def _options(path: Path, compression: str) -> Mapping[str, Any]:
    """h5py's options for a compression."""
    if compression == "gzip":
        return {"compression": compression}
    try:
        import hdf5plugin
    except ImportError:
        raise StoreError.not_installed(path, "hdf5plugin", "zstd") from None
    return dict(hdf5plugin.Zstd())


def _copy(
    file: Any, split: Split, options: Mapping[str, Any], below: DeferredErrorFile
) -> dict[str, tuple[Any, NDArray[np.uint8]]]:
    """Copy a split; return its arrays with their checksums, by key."""
    images, n = split.images, len(split)
    row_bytes = int(np.prod(images.shape[1:]))
    step = chunk_rows(n, row_bytes) if n else 1
    chunks = {"chunks": (step, *images.shape[1:]), **options} if n else {}
    target = file.create_dataset(f"{split.name}/images", images.shape, "u1", track_times=False, **chunks)
    sums = []
    for start in range(0, n, step):
        block = np.ascontiguousarray(images[start : start + step])
        target[start : start + step] = block
        sums.append(hashlib.sha256(block.data).digest())
        if below.error:
            break  # writes are buffered in memory from here on
    hashed: dict[str, tuple[Any, NDArray[np.uint8]]] = {
        f"{split.name}/images": (images, np.frombuffer(b"".join(sums), np.uint8).reshape(-1, CHECKSUM))
    }
    for name, values in (("labels", split.labels), ("records", split.records)):
        key = f"{split.name}/{name}"
        _plain(file, key, values)
        hashed[key] = values, array_checksums(key, values)
    for key, (_, table) in hashed.items():
        _plain(file, f"checksums/{key}", table)
    return hashed


def _plain(file: Any, name: str, values: np.ndarray[Any, Any]) -> None:
    file.create_dataset(name, data=values, track_times=False)
