"""Images of a compressed store: chunks are read straight from the file and decompressed outside HDF5 and its lock.

Several chunks are decompressed at once, by libraries that release the GIL, and the most recent ones are cached. Nothing
the file claims about its chunks is trusted: their offsets, lengths and decompressed sizes are all checked.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import StoreError, reason_of, system_remedy
from mmtk.store._guard import DISTRUST, REBUILD, TRUNCATED
from mmtk.store._keys import split_index
from mmtk.store._unpack import COMPRESSIONS, SHUFFLE, Unpack, unpacker
from mmtk.store._writer import read_exactly

__all__ = ["CACHE_BYTES", "COMPRESSIONS", "ChunkedImages", "Images", "chunked", "plain_chunks"]

CACHE_BYTES = 256 << 20  # decompressed chunks cached per split
_MAX_CHUNK_BYTES = 64 << 20  # decompressed; a store with larger chunks is refused


class _Process:
    """Identifies this process: a fork gets a new instance, whatever its process id."""


_process = _Process()
_state_lock = threading.Lock()


def _after_fork() -> None:
    global _process, _state_lock
    _process, _state_lock = _Process(), threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


class _ProcessState:
    """Cache and thread pool of one process: threads and the locks they hold do not survive a fork."""

    def __init__(self) -> None:
        self.process = _process
        self.lock = threading.Lock()
        self.cache: OrderedDict[int, Future[NDArray[np.uint8]]] = OrderedDict()
        self.pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="mmtk-unpack")


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk lies, whether it is stored uncompressed (it did not get smaller), and how many rows it holds."""

    offset: int
    length: int
    plain: bool
    rows: int


class ChunkedImages:
    """Images of a split, read and decompressed on demand: indexes and converts like an array in memory.

    Only the rows selected by an index are read. It pickles as a plain array.

    Parameters
    ----------
    path : path
        The store, for error messages.
    handle : int
        Its file descriptor; this object takes ownership and closes it.
    shape : tuple of int
        (n, h, w), (n, h, w, 3) or, for volumes, (n, d, h, w).
    rows : int
        Images per chunk.
    chunks : list
        Where the chunks lie, in row order.
    unpack : callable
        Takes a chunk's bytes and their decompressed length.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, path: Path, handle: int, shape: tuple[int, ...], rows: int, chunks: list[_Chunk], unpack: Unpack
    ) -> None:
        self._handle = handle
        self.path, self.shape, self.chunk_rows = path, tuple(map(int, shape)), rows
        self._chunks, self._unpack = chunks, unpack
        self._state = _ProcessState()

    def _process_state(self) -> _ProcessState:
        state = self._state
        if state.process is not _process:
            with _state_lock:
                if self._state.process is not _process:
                    self._state = _ProcessState()  # replaced in one step, so no thread sees half of it
                state = self._state
        return state

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

    def __reduce__(self) -> Any:
        return np.asarray, (self[:],)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        return self.size

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(self), self.chunk_rows):
            yield from self[start : start + self.chunk_rows]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a compressed split cannot be viewed as an array without copying it")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Select by an index, as NumPy would from an array in memory."""
        index = split_index(key, self.shape)
        if index.rows_only:
            return self._rows(index.rows).reshape(*index.shape, *self.shape[1:])
        if not index.basic:
            return self._rows(index.rows)[index.key]  # type: ignore[no-any-return]
        step = max(1, CACHE_BYTES // 2 // int(np.prod(self.shape[1:])))
        if len(index.rows) <= step:
            return self._rows(index.rows)[index.key]  # type: ignore[no-any-return]
        pieces = [self._rows(index.rows[at : at + step])[index.key] for at in range(0, len(index.rows), step)]
        return np.concatenate(pieces, axis=index.axis)

    def _rows(self, rows: range | NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        self.read(np.asarray(rows, np.int64), out)
        return out

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Decompress the images of `rows` into `out`, in that order.

        Raises
        ------
        StoreError
            If a chunk is corrupt or the file is truncated.
        """
        chunks, places = np.divmod(rows, self.chunk_rows)
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(rows) else []
        at_once = max(1, CACHE_BYTES // (self.chunk_rows * int(np.prod(self.shape[1:]))) // 2)
        for first in range(0, len(groups), at_once):
            batch = groups[first : first + at_once]
            for group, chunk in zip(batch, self._unpacked([int(chunks[group[0]]) for group in batch]), strict=True):
                out[group] = chunk[places[group]]

    def _unpacked(self, numbers: list[int]) -> list[NDArray[np.uint8]]:
        state = self._process_state()
        with state.lock:
            capacity = max(2, CACHE_BYTES // (self.chunk_rows * int(np.prod(self.shape[1:]))))
            for number in numbers:
                if number not in state.cache:
                    state.cache[number] = state.pool.submit(self._read, number)
                state.cache.move_to_end(number)
            futures = [state.cache[number] for number in numbers]
            while len(state.cache) > capacity:
                state.cache.popitem(last=False)
        try:
            return [future.result() for future in futures]
        except BaseException:  # errors are not cached: the next access reads the chunk again
            with state.lock:
                for number, future in zip(numbers, futures, strict=True):
                    if state.cache.get(number) is future and not (future.done() and future.exception() is None):
                        del state.cache[number]
            raise

    def _read(self, number: int) -> NDArray[np.uint8]:
        chunk, row = self._chunks[number], int(np.prod(self.shape[1:]))
        length = chunk.rows * row
        packed = self._packed(chunk)
        try:
            content = np.frombuffer(packed if chunk.plain else self._unpack(packed, length), np.uint8)
        except MemoryError:
            raise
        except Exception as error:  # each library raises its own
            content, reason = np.empty(0, np.uint8), str(error)
        else:
            reason = f"{len(content)} bytes instead of {length}"
        if len(content) != length:
            rows = f"rows {number * self.chunk_rows} to {min((number + 1) * self.chunk_rows, len(self)) - 1}"
            raise StoreError(self.path, f"store is corrupt: chunk of {rows}: {reason}", remedy=REBUILD)
        return content.reshape(chunk.rows, *self.shape[1:])

    def _packed(self, chunk: _Chunk) -> bytes:
        try:
            return read_exactly(self._handle, chunk.offset, chunk.length)
        except EOFError:
            raise StoreError(self.path, TRUNCATED, remedy=REBUILD) from None
        except OSError as error:
            problem = f"cannot be read: {reason_of(error)}"
            raise StoreError(self.path, problem, remedy=system_remedy(error.errno)) from None


Images = np.ndarray[Any, Any] | ChunkedImages


def plain_chunks(path: Path, handle: int, offset: int, shape: tuple[int, ...], rows: int) -> ChunkedImages:
    """Uncompressed images of a file that cannot be memory-mapped.

    Parameters
    ----------
    path : path
        The store, for error messages.
    handle : int
        Its file descriptor; the result takes ownership, and it is closed on errors.
    offset : int
        Where the first image starts.
    shape : tuple of int
        (n, h, w), (n, h, w, 3) or, for volumes, (n, d, h, w).
    rows : int
        Images read at once, at least 1.

    Raises
    ------
    StoreError
        If the file ends before the images.
    """
    row, n = int(np.prod(shape[1:])), int(shape[0])
    chunks = [
        _Chunk(offset + start * row, min(rows, n - start) * row, True, min(rows, n - start))
        for start in range(0, n, rows)
    ]
    try:
        _check_places(path, handle, chunks)
    except BaseException:
        os.close(handle)
        raise
    return ChunkedImages(path, handle, shape, rows, chunks, _no_filter)


def _no_filter(packed: bytes, length: int) -> bytes:
    return packed


def chunked(path: Path, file: Any, dataset: Any) -> ChunkedImages | None:
    """Images of an HDF5 dataset with a single supported filter, else None.

    Parameters
    ----------
    path : path
        The store.
    file : h5py.File
        Open; its file descriptor is duplicated and outlives it.
    dataset : h5py.Dataset

    Raises
    ------
    StoreError
        If chunks are missing, lie outside the file, overlap or hold rows beyond the last image, or are longer than
        compressed images can be.
    """
    plist = dataset.id.get_create_plist()
    # shuffling one-byte numbers moves nothing
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    bits = [i for i, number in enumerate(filters) if number != SHUFFLE]
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or len(bits) != 1:
        return None
    unpack = unpacker(filters[bits[0]])
    length = int(np.prod(dataset.chunks, dtype=object))
    if unpack is None or length > _MAX_CHUNK_BYTES:
        return None
    handle = file.id.get_vfd_handle()
    chunks = _list_chunks(path, dataset, bits[0], length)
    _check_places(path, handle, chunks)
    return ChunkedImages(path, os.dup(handle), dataset.shape, dataset.chunks[0], chunks, unpack)


def _list_chunks(path: Path, dataset: Any, bit: int, length: int) -> list[_Chunk]:
    """The chunks of a dataset in row order, each exactly once."""
    rows, n = dataset.chunks[0], dataset.shape[0]
    if rows > n:
        raise StoreError(path, f"chunks of {rows} images in a split of {n}", remedy=DISTRUST)
    starts = range(0, n, rows)
    places: dict[int, _Chunk] = {}
    wrong: list[str] = []
    longest = length + length // 64 + 4096  # incompressible data

    def note(info: Any) -> bool | None:
        start, *rest = info.chunk_offset
        plain = bool(info.filter_mask >> bit & 1)
        if start not in starts or any(rest):
            wrong.append(f"an unexpected chunk at row {start}")
        elif start in places:
            wrong.append(f"two chunks at row {start}")
        elif info.size > longest or (plain and info.size != length):
            wrong.append(f"a chunk of {info.size} bytes for {length} at row {start}")
        places[start] = _Chunk(info.byte_offset, info.size, plain, rows)
        return True if wrong else None  # True ends the iteration

    dataset.id.chunk_iter(note)
    if wrong:
        raise StoreError(path, f"store is corrupt: {dataset.name} has {wrong[0]}", remedy=DISTRUST)
    if len(places) < len(starts):
        problem = f"store is incomplete: {dataset.name} has {len(places)} of {len(starts)} chunks"
        raise StoreError(path, problem, remedy=REBUILD)
    return [places[start] for start in starts]


def _check_places(path: Path, handle: int, chunks: list[_Chunk]) -> None:
    """Check that chunks lie inside the file and do not overlap."""
    end, reached = os.fstat(handle).st_size, 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
        if chunk.offset < reached:
            raise StoreError(path, f"store is corrupt: chunks overlap at byte {chunk.offset}", remedy=DISTRUST)
        reached = chunk.offset + chunk.length
    if reached > end:
        raise StoreError(path, f"{TRUNCATED}: {end} of {reached} bytes", remedy=REBUILD)
