"""Image files, on disk or in an archive: opened, and what fails meanwhile told in one line."""

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
MAX_SIDE = 10_000  # px, either side: what one image may cost in memory is thereby 300 MB
MAX_BYTES = 1 << 30  # of a file: more than the largest image takes uncompressed
PLENTY = 1 << 26  # bytes of a file that is read whole whatever size its image has
CONVERT = "convert it to an 8-bit grey or RGB image"
CONVERT_DEEP = "convert it to an 8-bit or 16-bit grey PNG"
AGAIN = "fetch the file again"


class ImageFile(Protocol):
    """A file on disk (a ``Path``) or in an archive."""

    def open(self, mode: Literal["rb"]) -> IO[bytes]: ...

    def __fspath__(self) -> str: ...


def as_file(path: str | os.PathLike[str]) -> ImageFile:
    """A path as something to open; what opens itself already, such as a file in a zip, is left as it is."""
    return cast(ImageFile, path) if hasattr(path, "open") else Path(path)


@contextmanager
def open_file(path: ImageFile, kind: str, most: int = MAX_BYTES) -> Iterator[IO[bytes]]:
    """Open a file of at most so many bytes; whatever fails while it is read becomes an ImageError."""
    with reading(path, kind), path.open("rb") as stream:
        expect_size(path, os.fstat(stream.fileno()).st_size if isinstance(path, Path) else 0, most)
        yield stream


@contextmanager
def open_checked(path: ImageFile, kind: str, most: int = MAX_BYTES) -> Iterator[IO[bytes]]:
    """As `open_file`; that a file in an archive is damaged is said before what was read from it."""
    try:
        with open_file(path, kind, most) as stream:
            yield stream
    except ImageError:
        expect_checksum(path, kind)
        raise


def expect_checksum(path: ImageFile, kind: str) -> None:
    """Read a file in an archive whose header is refused to its end, where its checksum is compared, if that is near."""
    if isinstance(path, Path):
        return
    with reading(path, kind), path.open("rb") as stream:
        read_on(stream)


def read_on(stream: IO[bytes]) -> None:
    """Read on to the end of a file, where its checksum is compared, if that is near."""
    for _ in range(PLENTY >> 20):
        if not stream.read(1 << 20):
            break


@contextmanager
def reading(path: ImageFile, kind: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        what = SourceError if is_of_machine(error) else ImageError
        remedy = system_remedy(getattr(error, "errno", None)) if is_of_system(error) else AGAIN
        raise what(path, expected=f"a readable {kind} file", found=reason_of(error), remedy=remedy) from None


def expect_size(path: ImageFile, size: int, most: int) -> None:
    if size > most:
        raise ImageError(path, expected=f"at most {most} bytes", found=f"{size} bytes")


def take(stream: IO[bytes], count: int, path: ImageFile) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise damaged(path, "image header", "a file cut off inside it")
    return data


def damaged(path: ImageFile, kind: str, found: str) -> ImageError:
    return ImageError(path, expected=f"a whole {kind}", found=found, remedy=AGAIN)
