"""The bytes of a file in a zip: no more of them than its header says, and none past its checksum."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import IO

from mmtk.errors import is_of_system

_CHUNK = 1 << 20
# what zipfile raises where a header or a stream was damaged
_DAMAGE = (ValueError, NotImplementedError, RuntimeError, OverflowError, EOFError, struct.error, zlib.error)


class MemberReader(io.RawIOBase):
    """A member, read from front to end; a step back begins anew, so that its checksum is compared in any case.

    zipfile unpacks as much at a time as it is asked for, whatever the header says of the size, and drops the checksum
    of a stored member in which somebody seeks.

    Raises
    ------
    OSError
        If the system fails.
    zipfile.BadZipFile
        If the member is damaged.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        super().__init__()
        self._archive = archive
        self._member = archive.getinfo(name)
        self._stream: IO[bytes] | None = None
        self._begin()

    def _begin(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._at = 0
        try:
            self._stream = self._archive.open(self._member)
        except zipfile.BadZipFile:
            raise
        except (OSError, *_DAMAGE) as error:
            raise _sorted_out(error) from None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence not in (os.SEEK_SET, os.SEEK_CUR):
            raise io.UnsupportedOperation("seek from the end of a file in a zip")
        target = offset if whence == os.SEEK_SET else self._at + offset
        if target < self._at:
            self._begin()
        while self._at < target and self.read(min(_CHUNK, target - self._at)):
            pass
        return self._at

    def read(self, count: int | None = -1) -> bytes:
        left = self._member.file_size - self._at
        wanted = left if count is None or count < 0 else min(count, left)
        assert self._stream is not None
        try:
            data = self._stream.read(wanted)
        except zipfile.BadZipFile:
            raise
        except (OSError, *_DAMAGE) as error:
            raise _sorted_out(error) from None
        if len(data) < wanted:
            raise zipfile.BadZipFile(f"{self._at + len(data)} bytes where its header says {self._member.file_size}")
        self._at += len(data)
        return data

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()


def _sorted_out(error: Exception) -> Exception:
    """An error of the system as it is, any other as damage."""
    return error if is_of_system(error) else zipfile.BadZipFile(str(error) or "a damaged member")
