"""Shared by all packages: the type of progress callbacks, one-line texts, file digests, inflating, versions."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from io import BufferedIOBase
from pathlib import Path

Progress = Callable[[int, int], None]  # called with the work done and in total


def one_line(text: str, longest: int) -> str:
    """A text as one line of printable characters, cut after `longest` of them."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in " ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest]}..."


def md5_of(path: Path) -> str:
    """MD5 of a file, as hex."""
    with path.open("rb") as file:
        return md5_in(file)


def md5_in(file: BufferedIOBase) -> str:
    """MD5 of an open file from its current position, as hex."""
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inflate(packed: bytes | memoryview, length: int) -> bytes | bytearray:
    """Inflate zlib's format, by libdeflate if it is installed, which is twice as fast.

    Raises
    ------
    ValueError
        If the stream is damaged, does not end with the data, or is longer than `length`.
    """
    try:
        from deflate import DeflateError, zlib_decompress
    except ImportError:
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(packed, length + 1)
        except zlib.error as error:
            raise ValueError(str(error)) from None
        if not stream.eof or len(content) > length:  # the checksum at the end has not been compared yet
            reason = "more bytes than expected" if len(content) > length else "the stream ends early"
            raise ValueError(reason) from None
        return content
    try:
        unpacked: bytearray = zlib_decompress(packed, length)
    except DeflateError as error:
        raise ValueError(str(error)) from None
    return unpacked


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed, by name."""
    installed = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed
