"""Checksums of a store: SHA-256 of each chunk of rows, and one digest over these and the facts."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import SPLITS
from mmtk.store._format import FORMAT, Shaped, StoreInfo, chunk_rows

CHECKSUM = 32  # bytes
_SINGLE_THREAD = 4 << 20  # bytes; below this a second thread does not pay off
NAMES = ("images", "labels", "records")
KEYS = tuple(f"{split}/{name}" for split in SPLITS for name in NAMES)


def checksum_rows(key: str, array: Shaped) -> int:
    """Rows covered by a checksum: a chunk of images, all rows of labels or records."""
    rows = array.shape[0]
    return chunk_rows(rows, math.prod(array.shape[1:])) if key.endswith("images") else max(1, rows)


def checksums(read: Callable[[int, int], Any], rows: int, step: int, row_bytes: int) -> NDArray[np.uint8]:
    """SHA-256 of every `step` rows.

    Parameters
    ----------
    read : callable
        Returns the bytes of rows ``start`` to ``end``; called from several threads.
    rows, step, row_bytes : int

    Returns
    -------
    (ceil(rows / step), 32) uint8
    """

    def digest(start: int) -> bytes:
        return hashlib.sha256(read(start, min(start + step, rows))).digest()

    starts = range(0, rows, step)
    if rows * row_bytes <= _SINGLE_THREAD:
        parts = [digest(start) for start in starts]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(digest, starts))
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, CHECKSUM)


def array_checksums(key: str, array: Any) -> NDArray[np.uint8]:
    """Checksums of an array, or of anything that can be sliced by rows like one."""
    row_bytes = int(np.prod(array.shape[1:])) * array.dtype.itemsize

    def read(start: int, end: int) -> Any:
        return np.ascontiguousarray(array[start:end]).reshape(-1).view(np.uint8).data

    return checksums(read, len(array), checksum_rows(key, array), row_bytes)


def digest_of(info: StoreInfo, arrays: Mapping[str, tuple[Any, NDArray[np.uint8]]]) -> bytes:
    """SHA-256 over the facts and, for each array in the order of `KEYS`, its name, shape, type and checksums.

    Parameters
    ----------
    info : StoreInfo
        Its version and JSON text are hashed.
    arrays : mapping of key to (array, checksums)
        Only ``shape`` and ``dtype`` of the array are used.
    """
    digest = hashlib.sha256(f"{FORMAT} {info.version}\n{info.to_json()}\n".encode())
    for key in KEYS:
        array, sums = arrays[key]
        shape = "x".join(map(str, array.shape))
        fields = ",".join(f"{field[0]}:{field[1]}" for field in array.dtype.descr)
        digest.update(f"{key} {shape} {fields}\n".encode())
        digest.update(sums.tobytes())
    return digest.digest()
