"""Read a file in a zip: no more bytes than its header states, and always with its checksum compared."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import IO

from mmtk.errors import is_of_system

_CHUNK = 1 << 20
# raised by zipfile for damaged headers and streams
_DAMAGE = (ValueError, NotImplementedError, RuntimeError, OverflowError, EOFError, struct.error, zlib.error)


class MemberReader(io.RawIOBase):
    """A zip member, read from start to end; seeking back restarts it, so that its checksum is always compared.

    zipfile decompresses as many bytes as it is asked for, whatever size the header states, and does not check the
    checksum of a stored member after a seek.

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
            raise _as_damage(error) from None

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
            raise _as_damage(error) from None
        if len(data) < wanted:
            stated = self._member.file_size
            raise zipfile.BadZipFile(f"it has {self._at + len(data)} bytes, not {stated} as its header states")
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


def _as_damage(error: Exception) -> Exception:
    """Turn any error except one of the system into BadZipFile."""
    return error if is_of_system(error) else zipfile.BadZipFile(str(error) or "damaged member")
