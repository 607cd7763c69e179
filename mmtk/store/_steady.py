"""A file for HDF5 to write to whose errors come afterwards: HDF5 cannot close a file that it cannot flush."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmtk.store._format import LIBVER


class SteadyFile(io.RawIOBase):
    """An open file for h5py's driver of file objects; what the disk refuses is kept in memory, and the error for later.

    Parameters
    ----------
    handle : int
        The open file, empty.
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
        """Raise the error of the disk, if there was one."""
        if self.error is not None:
            raise OSError(self.error.errno, self.error.strerror, str(path)) from None


@contextmanager
def hdf5_to_write(path: str | Path) -> Iterator[tuple[Any, SteadyFile]]:
    """Make a file an HDF5 file; give it with the file below it, which knows of errors before the end.

    Raises
    ------
    OSError
        Once HDF5 has closed it, if the disk was full or failed.
    """
    import h5py

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        steady = SteadyFile(handle)
        with h5py.File(steady, "w", libver=LIBVER) as file:
            yield file, steady
        steady.check(path)
    finally:
        os.close(handle)


def write_at(file: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls the system takes for it."""
    view = memoryview(data).cast("B")
    while view:
        done = os.pwrite(file, view, offset)
        view, offset = view[done:], offset + done
