"""Images of a compressed store: chunks are read at their place in the file and unpacked outside HDF5 and its lock.

Several chunks are unpacked at once, by libraries that let the interpreter go on, and the last ones are kept.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import StoreError

CACHE_BYTES = 256 << 20  # of unpacked chunks that are kept of a split
_MOST_BYTES = 64 << 20  # of an unpacked chunk; a store with larger ones is read whole
_REBUILD = "build or import it again"

# HDF5's numbers of filters
_DEFLATE, _SHUFFLE, _LZF, _BLOSC, _ZSTD = 1, 2, 32000, 32001, 32015
COMPRESSIONS = {"gzip": _DEFLATE, "lzf": _LZF, "zstd": _ZSTD, "blosc": _BLOSC}

Unpack = Callable[[bytes, int], Any]


def unpacker(number: int) -> Unpack | None:
    """What unpacks a filter's bytes to a known length, if it is here."""
    try:
        if number == _DEFLATE:
            import deflate

            return deflate.zlib_decompress  # type: ignore[no-any-return]
        if number == _LZF:
            from mmtk._native import unpack_lzf

            return unpack_lzf
        if number in (_BLOSC, _ZSTD):
            from numcodecs.blosc import decompress as unpack_blosc
            from numcodecs.zstd import decompress as unpack_zstd

            unpack = unpack_blosc if number == _BLOSC else unpack_zstd
            return lambda packed, length: unpack(packed, np.empty(length, np.uint8))
    except ImportError:
        pass
    return None


@dataclass(frozen=True)
class _Chunk:
    """Where a chunk lies, and whether it was left as it is for not getting smaller."""

    offset: int
    length: int
    plain: bool


class ChunkedImages:
    """Images of a split, unpacked when asked for: indexed by rows and taken for an array like one in memory.

    Parameters
    ----------
    path : path
        The store, for errors.
    handle : int
        Its open file, which is this object's from now on.
    shape : tuple of int
        (n, h, w) or (n, h, w, 3).
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
        self.path, self.shape, self.chunk_rows = path, shape, rows
        self._handle, self._chunks, self._unpack = handle, chunks, unpack
        self._begin()

    def _begin(self) -> None:
        """What a process has of its own: threads do not survive a fork."""
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[NDArray[np.uint8]]] = OrderedDict()
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="mmtk-unpack")

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            os.close(self._handle)

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
        """Rows as NumPy indexes them: a number, a slice, numbers or a mask, and what is further picked of them."""
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) and key else (key, ())
        picked = np.arange(len(self))[first]
        rows = np.atleast_1d(picked).ravel()
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        self.read(rows, out)
        whole = out.reshape(*np.shape(picked), *self.shape[1:])
        return whole[(*(slice(None),) * np.ndim(picked), *rest)] if rest else whole

    def read(self, rows: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Unpack the images of `rows` into `out`, shape (b, h, w[, 3]).

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
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            most = max(2, CACHE_BYTES // (self.chunk_rows * int(np.prod(self.shape[1:]))))
            for number in numbers:
                if number not in self._kept:
                    self._kept[number] = self._pool.submit(self._read, number)
                self._kept.move_to_end(number)
            wanted = [self._kept[number] for number in numbers]
            while len(self._kept) > most:
                self._kept.popitem(last=False)
        try:
            return [future.result() for future in wanted]
        except StoreError:
            with self._lock:
                for number in numbers:
                    self._kept.pop(number, None)
            raise

    def _read(self, number: int) -> NDArray[np.uint8]:
        chunk, row = self._chunks[number], int(np.prod(self.shape[1:]))
        length = self.chunk_rows * row
        packed = os.pread(self._handle, chunk.length, chunk.offset)
        if len(packed) < chunk.length:
            raise StoreError(self.path, expected="a whole store", found="a file cut short", remedy=_REBUILD)
        try:
            content = np.frombuffer(packed if chunk.plain else self._unpack(packed, length), np.uint8)
        except Exception as error:  # each library has its own
            content, reason = np.empty(0, np.uint8), str(error)
        else:
            reason = f"{len(content)} bytes"
        if len(content) != length:
            rows = f"rows {number * self.chunk_rows} to {min((number + 1) * self.chunk_rows, len(self)) - 1}"
            raise StoreError(
                self.path, expected=f"a whole chunk of {rows}", found=f"a damaged one ({reason})", remedy=_REBUILD
            )
        return content.reshape(self.chunk_rows, *self.shape[1:])


Images = np.ndarray[Any, Any] | ChunkedImages


def chunked(path: Path, file: Any, dataset: Any) -> ChunkedImages | None:
    """Images of an HDF5 dataset whose one filter can be undone here, else None.

    Parameters
    ----------
    path : path
        The store.
    file : h5py.File
        Opened; its file handle is doubled and outlives it.
    dataset : h5py.Dataset
    """
    plist = dataset.id.get_create_plist()
    # shuffling bytes of one-byte numbers moves nothing
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    bits = [i for i, number in enumerate(filters) if number != _SHUFFLE]
    if dataset.chunks is None or dataset.chunks[1:] != dataset.shape[1:] or len(bits) != 1:
        return None
    unpack = unpacker(filters[bits[0]])
    if unpack is None or int(np.prod(dataset.chunks)) > _MOST_BYTES:
        return None
    places: dict[int, _Chunk] = {}

    def note(info: Any) -> None:
        plain = bool(info.filter_mask >> bits[0] & 1)
        places[info.chunk_offset[0]] = _Chunk(info.byte_offset, info.size, plain)

    dataset.id.chunk_iter(note)
    rows = dataset.chunks[0]
    starts = range(0, dataset.shape[0], rows)
    if any(start not in places for start in starts):
        raise StoreError(path, expected="a whole store", found=f"{dataset.name} in part", remedy=_REBUILD)
    handle = os.dup(file.id.get_vfd_handle())
    return ChunkedImages(path, handle, dataset.shape, rows, [places[start] for start in starts], unpack)


def plain_chunks(path: Path, handle: int, offset: int, shape: tuple[int, ...], rows: int) -> ChunkedImages:
    raise NotImplementedError
