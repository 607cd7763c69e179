"""Images of a compressed store: chunks are read at their place in the file and unpacked outside HDF5 and its lock.

Several chunks are unpacked at once, by libraries that let the interpreter go on, and the last ones are kept. Nothing
that a file says of its chunks is believed: where they lie, how long they are and what they unpack to is checked.
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
from mmtk.store._guard import DISTRUST, REBUILD
from mmtk.store._keys import picked
from mmtk.store._unpack import COMPRESSIONS, SHUFFLE, Unpack, unpacker
from mmtk.store._writer import read_exactly

__all__ = ["CACHE_BYTES", "COMPRESSIONS", "ChunkedImages", "Images", "chunked", "plain_chunks"]

CACHE_BYTES = 256 << 20  # of unpacked chunks that are kept of a split
_MOST_BYTES = 64 << 20  # of an unpacked chunk; a store with larger ones is refused


class _Process:
    """This process: a fork makes another one, whatever its number."""


_process = _Process()
_beginning = threading.Lock()


def _after_fork() -> None:
    global _process, _beginning
    _process, _beginning = _Process(), threading.Lock()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)


class _Own:
    """What a process has of its own: threads and what they hold do not survive a fork."""

    def __init__(self) -> None:
        self.process = _process
        self.lock = threading.Lock()
        self.kept: OrderedDict[int, Future[NDArray[np.uint8]]] = OrderedDict()
        self.pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="mmtk-unpack")


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk lies, whether it was left as it is for not getting smaller, and the rows it unpacks to."""

    offset: int
    length: int
    plain: bool
    rows: int


class ChunkedImages:
    """Images of a split, read and unpacked when asked for: indexed and taken for an array like one in memory.

    Only the rows an index asks for are read. It pickles as the array it is taken for.

    Parameters
    ----------
    path : path
        The store, for errors.
    handle : int
        Its open file, which is this object's from now on.
    shape : tuple of int
        (n, h, w), (n, h, w, 3) or, of volumes, (n, d, h, w).
    rows : int
        Images in a chunk.
    chunks : list
        Where the chunks lie, in the order of their rows.
    unpack : callable
        Takes a chunk's bytes and the length they unpack to.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, path: Path, handle: int, shape: tuple[int, ...], rows: int, chunks: list[_Chunk], unpack: Unpack
    ) -> None:
        self._handle = handle
        self.path, self.shape, self.chunk_rows = path, tuple(map(int, shape)), rows
        self._chunks, self._unpack = chunks, unpack
        self._mine = _Own()

    def _own(self) -> _Own:
        own = self._mine
        if own.process is not _process:
            with _beginning:
                if self._mine.process is not _process:
                    self._mine = _Own()  # in one piece: whoever sees it can use all of it
                own = self._mine
        return own

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
            raise ValueError("a compressed split has to be unpacked")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """What an index picks, as NumPy picks it of an array in memory."""
        wanted = picked(key, self.shape)
        if wanted.whole:
            return self._rows(wanted.rows).reshape(*wanted.shape, *self.shape[1:])
        if not wanted.basic:
            return self._rows(wanted.rows)[wanted.key]  # type: ignore[no-any-return]
        step = max(1, CACHE_BYTES // 2 // int(np.prod(self.shape[1:])))
        if len(wanted.rows) <= step:
            return self._rows(wanted.rows)[wanted.key]  # type: ignore[no-any-return]
        pieces = [self._rows(wanted.rows[at : at + step])[wanted.key] for at in range(0, len(wanted.rows), step)]
        return np.concatenate(pieces, axis=wanted.axis)

    def _rows(self, rows: range | NDArray[np.int64]) -> NDArray[np.uint8]:
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        self.read(np.asarray(rows, np.int64), out)
        return out

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Unpack the images of `rows` into `out`, one after the other.

        Raises
        ------
        StoreError
            If a chunk is damaged or the file has been cut short.
        """
        chunks, places = np.divmod(rows, self.chunk_rows)
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        groups = np.split(order, starts[1:]) if len(rows) else []
        at_once = max(1, CACHE_BYTES // (self.chunk_rows * int(np.prod(self.shape[1:]))) // 2)
        for first in range(0, len(groups), at_once):
            some = groups[first : first + at_once]
            for group, chunk in zip(some, self._unpacked([int(chunks[group[0]]) for group in some]), strict=True):
                out[group] = chunk[places[group]]

    def _unpacked(self, numbers: list[int]) -> list[NDArray[np.uint8]]:
        own = self._own()
        with own.lock:
            most = max(2, CACHE_BYTES // (self.chunk_rows * int(np.prod(self.shape[1:]))))
            for number in numbers:
                if number not in own.kept:
                    own.kept[number] = own.pool.submit(self._read, number)
                own.kept.move_to_end(number)
            wanted = [own.kept[number] for number in numbers]
            while len(own.kept) > most:
                own.kept.popitem(last=False)
        try:
            return [future.result() for future in wanted]
        except BaseException:  # a disk or a memory that fails once is asked again
            with own.lock:
                for number, future in zip(numbers, wanted, strict=True):
                    if own.kept.get(number) is future and not (future.done() and future.exception() is None):
                        del own.kept[number]
            raise

    def _read(self, number: int) -> NDArray[np.uint8]:
        chunk, row = self._chunks[number], int(np.prod(self.shape[1:]))
        length = chunk.rows * row
        packed = self._packed(chunk)
        try:
            content = np.frombuffer(packed if chunk.plain else self._unpack(packed, length), np.uint8)
        except MemoryError:
            raise
        except Exception as error:  # each library has its own
            content, reason = np.empty(0, np.uint8), str(error)
        else:
            reason = f"{len(content)} bytes"
        if len(content) != length:
            rows = f"rows {number * self.chunk_rows} to {min((number + 1) * self.chunk_rows, len(self)) - 1}"
            found = f"a damaged one ({reason})"
            raise StoreError(self.path, expected=f"a whole chunk of {rows}", found=found, remedy=REBUILD)
        return content.reshape(chunk.rows, *self.shape[1:])

    def _packed(self, chunk: _Chunk) -> bytes:
        try:
            return read_exactly(self._handle, chunk.offset, chunk.length)
        except EOFError:
            raise StoreError(self.path, expected="a whole store", found="a file cut short", remedy=REBUILD) from None
        except OSError as error:
            found, remedy = reason_of(error), system_remedy(error.errno)
            raise StoreError(self.path, expected="a file that can be read", found=found, remedy=remedy) from None


Images = np.ndarray[Any, Any] | ChunkedImages


def plain_chunks(path: Path, handle: int, offset: int, shape: tuple[int, ...], rows: int) -> ChunkedImages:
    """Images that lie in a file as they are, for where they cannot be mapped.

    Parameters
    ----------
    path : path
        The store, for errors.
    handle : int
        Its open file, which is this object's from now on, and closed on errors.
    offset : int
        Where the first image starts.
    shape : tuple of int
        (n, h, w), (n, h, w, 3) or, of volumes, (n, d, h, w).
    rows : int
        Images that are read at once, from 1.

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
    """Images of an HDF5 dataset whose one filter can be undone here, else None.

    Parameters
    ----------
    path : path
        The store.
    file : h5py.File
        Opened; its file handle is doubled and outlives it.
    dataset : h5py.Dataset

    Raises
    ------
    StoreError
        If chunks are missing, lie outside the file, over each other or beyond the images, or are longer than packed
        images can be.
    """
    plist = dataset.id.get_create_plist()
    # shuffling bytes of one-byte numbers moves nothing
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    bits = [i for i, number in enumerate(filters) if number != SHUFFLE]
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or len(bits) != 1:
        return None
    unpack = unpacker(filters[bits[0]])
    length = int(np.prod(dataset.chunks, dtype=object))
    if unpack is None or length > _MOST_BYTES:
        return None
    handle = file.id.get_vfd_handle()
    chunks = _listed(path, dataset, bits[0], length)
    _check_places(path, handle, chunks)
    return ChunkedImages(path, os.dup(handle), dataset.shape, dataset.chunks[0], chunks, unpack)


def _listed(path: Path, dataset: Any, bit: int, length: int) -> list[_Chunk]:
    """The chunks of a dataset in the order of their rows, each once."""
    rows, n = dataset.chunks[0], dataset.shape[0]
    if rows > n:
        raise StoreError(path, expected=f"chunks of at most {n} images", found=f"{rows}", remedy=DISTRUST)
    starts = range(0, n, rows)
    places: dict[int, _Chunk] = {}
    wrong: list[str] = []
    longest = length + length // 64 + 4096  # of what cannot be compressed

    def note(info: Any) -> bool | None:
        start, *rest = info.chunk_offset
        plain = bool(info.filter_mask >> bit & 1)
        if start not in starts or any(rest):
            wrong.append(f"a chunk at row {start}")
        elif start in places:
            wrong.append(f"two chunks at row {start}")
        elif info.size > longest or (plain and info.size != length):
            wrong.append(f"a chunk of {info.size} bytes for {length} at row {start}")
        places[start] = _Chunk(info.byte_offset, info.size, plain, rows)
        return True if wrong else None  # which ends the search

    dataset.id.chunk_iter(note)
    if wrong:
        raise StoreError(path, expected=f"whole {dataset.name}", found=wrong[0], remedy=DISTRUST)
    if len(places) < len(starts):
        raise StoreError(path, expected="a whole store", found=f"{dataset.name} in part", remedy=REBUILD)
    return [places[start] for start in starts]


def _check_places(path: Path, handle: int, chunks: list[_Chunk]) -> None:
    """See that chunks lie inside the file, each in a place of its own."""
    end, reached = os.fstat(handle).st_size, 0
    for chunk in sorted(chunks, key=lambda chunk: chunk.offset):
        if chunk.offset < reached:
            found = f"two chunks at byte {chunk.offset}"
            raise StoreError(path, expected="each chunk in its own place", found=found, remedy=DISTRUST)
        reached = chunk.offset + chunk.length
    if reached > end:
        found = f"a file cut short: {end} bytes of {reached}"
        raise StoreError(path, expected="a whole store", found=found, remedy=REBUILD)
