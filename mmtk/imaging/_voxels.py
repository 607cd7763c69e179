"""Find and stream the voxels of a volume: compressed or not, after the header or in a file of their own."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from mmtk.errors import ImageError
from mmtk.imaging._axes import VolumeHeader
from mmtk.imaging._files import ImageFile, damaged, open_file, read_on, reading

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
KIND = "volume"
CONVERT = "save it as NIfTI-1 (.nii or .nii.gz)"
MAX_VOXELS = 1 << 31  # 4 GiB as int16, beyond any CT here
MAX_BYTES = 1 << 35  # file size: that many voxels as double, and headers
_LINE = 1 << 16  # bytes of a line in a text header
_LINES = 1 << 10


@dataclass(frozen=True)
class Layout:
    """A header and the location of its voxels.

    Attributes
    ----------
    header : VolumeHeader
    taken : int
        Bytes already read from the header's file; relevant if the voxels are in the same file.
    data : file or None
        The file with the voxels, if it is a separate one.
    packing : {"", "gzip", "zlib"}
        Compression of the voxels alone, from ``header.offset``.
    ends : bool
        Whether the file must end with the voxels.
    """

    header: VolumeHeader
    taken: int
    data: Path | None = None
    packing: Literal["", "gzip", "zlib"] = ""
    ends: bool = True


@contextmanager
def voxels_of(stream: IO[bytes], layout: Layout, file: ImageFile) -> Iterator[IO[bytes]]:
    """The stream of a volume's voxels, given the stream of its file after the header."""
    if layout.data is None:
        skip(stream, layout.header.offset - layout.taken, file)
        with unpacked(stream, layout.packing) as voxels:
            yield voxels
    else:
        with open_file(layout.data, KIND, MAX_BYTES) as other:
            skip(other, layout.header.offset, layout.data)
            with unpacked(other, layout.packing) as voxels:
                yield voxels


@contextmanager
def unpacked(stream: IO[bytes], packing: Literal["", "gzip", "zlib"]) -> Iterator[IO[bytes]]:
    """Decompress a stream; damage takes precedence over the errors that it causes."""
    if not packing:
        yield stream
        return
    gzipped, inflater, damage = _decompressors()
    opener = gzipped if packing == "gzip" else partial(_inflated, inflater)
    try:
        with opener(stream) as content:
            try:
                yield content
            except ImageError:
                read_on(content)  # damage explains more than a wrong header
                raise
    except (damage, zlib.error, OverflowError) as error:
        raise zlib.error(str(error)) from None


def _decompressors() -> tuple[
    Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]], Callable[[], Any], type[Exception]
]:
    """Stream decompressors for gzip and zlib, and their exception for damage: ISA-L if installed, twice as fast."""
    try:
        from isal import igzip, isal_zlib
    except ImportError:
        return gzip.open, zlib.decompressobj, zlib.error  # type: ignore[return-value]
    return igzip.open, isal_zlib.decompressobj, isal_zlib.error  # type: ignore[return-value]


def _inflated(inflater: Callable[[], Any], stream: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return io.BufferedReader(_Inflated(stream, inflater()), 1 << 20)


class _Inflated(io.RawIOBase):
    """A decompressed zlib stream; its checksum is compared at its end, and nothing may follow."""

    def __init__(self, stream: IO[bytes], inflater: Any) -> None:
        self._stream = stream
        self._inflater = inflater
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        while not self._inflater.eof:
            packed = self._left or self._stream.read(1 << 18)
            data = self._inflater.decompress(packed, len(target))
            self._left = self._inflater.unconsumed_tail
            if data:
                target[: len(data)] = data
                return len(data)
            if not packed:
                raise zlib.error("the compressed voxels are cut off")
        if self._inflater.unused_data or self._stream.read(1):
            raise zlib.error("surplus bytes follow the compressed voxels")
        return 0


def skip(stream: IO[bytes], count: int, file: ImageFile) -> None:
    while count:
        taken = len(stream.read(min(count, 1 << 20)))
        if not taken:
            raise damaged(file, KIND, "it is cut off before its voxels")
        count -= taken


def fill(stream: IO[bytes], target: memoryview, file: ImageFile) -> None:
    at = 0
    while at < len(target):
        count = stream.readinto(target[at : at + (1 << 20)])  # type: ignore[attr-defined]
        if not count:
            raise damaged(file, KIND, f"it is cut off after {at} of {len(target)} bytes of voxels")
        at += count


# ------------------------------------------------------------------- text headers

class TextHeader:
    """The fields of a text header, with typed access.

    Parameters
    ----------
    file : file
        For error messages.
    format : str
        Name of the file format.
    """

    def __init__(self, file: ImageFile, format: str) -> None:
        self.file, self.format = file, format
        self.fields: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        if name in self.fields:
            raise self.unsupported(f"has the field {name} twice", "")
        self.fields[name] = value.strip()

    def invalid(self, name: str, value: str, expected: str, remedy: str = "") -> ImageError:
        """The error for a field whose value is invalid or not supported."""
        return ImageError(self.file, found=f"{_shown(name)} {_shown(value)}", expected=expected, remedy=remedy)

    def unsupported(self, problem: str, remedy: str = CONVERT) -> ImageError:
        """The error for a header that cannot be used, whose problem may quote it."""
        return ImageError(self.file, _shown(problem), remedy=remedy)

    def get(self, name: str) -> str:
        if not self.fields.get(name):
            raise self.unsupported(f"is a {self.format} file without the field {name}", "")
        return self.fields[name]

    def choice(self, name: str, choices: dict[str, T], default: str = "") -> T:
        value = self.fields.get(name) or default or self.get(name)
        if value.lower() not in choices:
            expected = ", ".join(choices) if len(choices) < 5 else "an integer or floating-point type"
            raise self.invalid(name, value, expected, CONVERT)
        return choices[value.lower()]

    def numbers(self, name: str) -> list[float]:
        return self.parse(name, self.fields.get(name, "").split())

    def parse(self, name: str, words: list[str]) -> list[float]:
        try:
            return [float(word.replace("_", "?")) for word in words]
        except ValueError:
            raise self.invalid(name, self.fields[name], "numbers") from None

    def whole(self, name: str) -> list[int]:
        words = self.get(name).split()
        if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in words):
            raise self.invalid(name, self.fields[name], "integers")
        return [int(word) for word in words]

    def beside(self, name: str) -> Path:
        """The separate data file of a header, which must be in the same folder."""
        together = "save header and voxels as one file"
        if not isinstance(self.file, Path):
            raise self.unsupported(f"is a header in an archive whose voxels are in another file ({name})", together)
        name = name.removeprefix("./")
        if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise self.unsupported(f"has its voxels outside its own folder ({name})", together)
        return self.file.with_name(name)

    def at_end(self, data: Path, length: int) -> int:
        """The offset of the last `length` bytes of a data file."""
        with reading(data, KIND):
            size = data.stat().st_size
        if size < length:
            raise damaged(data, KIND, f"it has {size} bytes, not {length} as its header implies")
        return size - length


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:120])


def lines_of(stream: IO[bytes], first: bytes, header: TextHeader) -> Iterator[tuple[str, int]]:
    """Yield each line of a text header, and the bytes read up to its end; ``first`` was read before."""
    taken = len(first)
    for _ in range(_LINES):
        line = first + stream.readline(_LINE)
        taken += len(line) - len(first)
        if not line:
            return
        if len(line) >= _LINE:
            break
        first = b""
        yield line.decode("utf-8", "surrogateescape").rstrip("\r\n"), taken
    raise damaged(header.file, f"{header.format} file", "its header has no end")
