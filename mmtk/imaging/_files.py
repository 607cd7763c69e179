"""Open image files, on disk or in an archive, and report read failures as one-line errors."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, Protocol, cast

from mmtk.errors import ImageError, SourceError, is_of_machine, is_of_system, reason_of, system_remedy

MIN_SIDE = 16  # px, short side: anything smaller is a broken download or an icon
MAX_SIDE = 10_000  # px, either side: limits the memory for one image to 300 MB
MAX_BYTES = 1 << 30  # file size: more than the largest uncompressed image
PLENTY = 1 << 26  # bytes: a file up to this size is read whole before its header is parsed
CONVERT = "convert it to an 8-bit grey or RGB image"
CONVERT_DEEP = "convert it to an 8-bit or 16-bit grey PNG"
AGAIN = "download the file again"


class ImageFile(Protocol):
    """A file on disk (a ``Path``) or in an archive."""

    def open(self, mode: Literal["rb"]) -> IO[bytes]: ...

    def __fspath__(self) -> str: ...


def as_file(path: str | os.PathLike[str]) -> ImageFile:
    """Turn a path into an object with ``open``; anything that has it already, such as a file in a zip, is returned."""
    return cast(ImageFile, path) if hasattr(path, "open") else Path(path)


@contextmanager
def open_file(path: ImageFile, kind: str, most: int = MAX_BYTES) -> Iterator[IO[bytes]]:
    """Open a file of at most `most` bytes; any failure while reading it becomes an ImageError."""
    with reading(path, kind), path.open("rb") as stream:
        expect_size(path, os.fstat(stream.fileno()).st_size if isinstance(path, Path) else 0, most)
        yield stream


@contextmanager
def open_checked(path: ImageFile, kind: str, most: int = MAX_BYTES) -> Iterator[IO[bytes]]:
    """Like `open_file`, but damage to a file in an archive takes precedence over errors in its content."""
    try:
        with open_file(path, kind, most) as stream:
            yield stream
    except ImageError:
        expect_checksum(path, kind)
        raise


def expect_checksum(path: ImageFile, kind: str) -> None:
    """Read a file in an archive to its end, unless it is very long, since its checksum is compared there."""
    if isinstance(path, Path):
        return
    with reading(path, kind), path.open("rb") as stream:
        read_on(stream)


def read_on(stream: IO[bytes]) -> None:
    """Read a stream to its end, unless it is very long, since its checksum is compared there."""
    for _ in range(PLENTY >> 20):
        if not stream.read(1 << 20):
            break


@contextmanager
def reading(path: ImageFile, kind: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if not is_of_system(error):
            raise damaged(path, f"{kind} file", reason_of(error)) from None
        error_class = SourceError if is_of_machine(error) else ImageError
        remedy = system_remedy(getattr(error, "errno", None))
        raise error_class(path, f"cannot be read: {reason_of(error)}", remedy=remedy) from None


def expect_size(path: ImageFile, size: int, most: int) -> None:
    if size > most:
        raise ImageError(path, "is too large", found=f"{size} bytes", expected=f"at most {most} bytes")


def take(stream: IO[bytes], count: int, path: ImageFile) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise damaged(path, "image", "it is cut off inside its header")
    return data


def damaged(path: ImageFile, kind: str, problem: str) -> ImageError:
    """The error for a file of a known kind whose content is corrupt or cut off."""
    return ImageError(path, f"is a damaged {kind}: {problem}", remedy=AGAIN)
