"""A file for HDF5 that defers write errors to the end: HDF5 cannot close a file that it cannot flush."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.store._format import LIBVER


class DeferredErrorFile(io.RawIOBase):
    """A file for h5py's file-object driver; data that cannot be written is kept in memory, and the error for later.

    Parameters
    ----------
    handle : int
        File descriptor of an empty file.
    """

    def __init__(self, handle: int) -> None:
        self.error: OSError | None = None
        self._handle, self._at, self._end = handle, 0, 0
        self._refused: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                write_at(self._handle, view, self._at)
            except OSError as error:
                self.error = error
        if self.error is not None:
            self._refused.append((self._at, bytes(view)))
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            read = os.preadv(self._handle, [view], self._at)
        except OSError as error:
            self.error, read = self.error or error, 0
        view[read:] = bytes(len(view) - read)
        for start, data in self._refused:
            low, high = max(start, self._at), min(start + len(data), self._at + len(view))
            if low < high:
                view[low - self._at : high - self._at] = data[low - start : high - start]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._handle, self._end)
            except OSError as error:
                self.error = error
        return self._end

    def check(self, path: str | Path) -> None:
        """Raise the deferred write error, if any."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(path)) from None


@contextmanager
def create_hdf5(path: str | Path) -> Iterator[tuple[Any, DeferredErrorFile]]:
    """Create an HDF5 file; yield it with the file object below it, which knows of errors before the end.

    Raises
    ------
    OSError
        Once HDF5 has closed it, if the disk was full or failed.
    """
    import h5py

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        raw = DeferredErrorFile(handle)
        with h5py.File(raw, "w", libver=LIBVER) as file:
            yield file, raw
        raw.check(path)
    finally:
        os.close(handle)


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, in as many system calls as it takes."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done
