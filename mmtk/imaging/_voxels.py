"""Where a volume's voxels lie, by its header, and the stream of them: packed or not, behind the header or beside it."""

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
from mmtk.imaging._files import AGAIN, ImageFile, damaged, open_file, read_on, reading

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

T = TypeVar("T")
KIND = "volume"
CONVERT = "save it as NIfTI-1 (.nii or .nii.gz)"
MAX_VOXELS = 1 << 31  # of a volume: 4 GiB as int16, beyond any CT here
MAX_BYTES = 1 << 35  # of its file: that many voxels as double, and headers
_LINE = 1 << 16  # bytes of a line of a header in text
_LINES = 1 << 10


@dataclass(frozen=True)
class Layout:
    """A header and where its voxels lie.

    Attributes
    ----------
    header : VolumeHeader
    taken : int
        Bytes of the header's file that were read; they count where the voxels are in it too.
    data : file or None
        The file of the voxels, where it is another one.
    packing : {"", "gzip", "zlib"}
        Of the voxels alone, from ``header.offset`` on.
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
    """The stream of a volume's voxels, from that of its file behind the header."""
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
    """What a stream holds from here on; damage is told before what it leads to."""
    if not packing:
        yield stream
        return
    gzipped, inflater, damage = _ways()
    opener = gzipped if packing == "gzip" else partial(_inflated, inflater)
    try:
        with opener(stream) as content:
            try:
                yield content
            except ImageError:
                read_on(content)  # a damaged file is a better reason than a wrong header
                raise
    except (damage, zlib.error, OverflowError) as error:
        raise zlib.error(str(error)) from None


def _ways() -> tuple[Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]], Callable[[], Any], type[Exception]]:
    """What unpacks gzip and zlib as streams, and what they raise for damage: ISA-L, twice as fast as zlib."""
    try:
        from isal import igzip, isal_zlib
    except ImportError:
        return gzip.open, zlib.decompressobj, zlib.error  # type: ignore[return-value]
    return igzip.open, isal_zlib.decompressobj, isal_zlib.error  # type: ignore[return-value]


def _inflated(inflater: Callable[[], Any], stream: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    return io.BufferedReader(_Inflated(stream, inflater()), 1 << 20)


class _Inflated(io.RawIOBase):
    """A zlib stream, unpacked; its checksum is compared at its end, behind which nothing may stand."""

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
                raise zlib.error("the packed voxels are cut off")
        if self._inflater.unused_data or self._stream.read(1):
            raise zlib.error("bytes behind the packed voxels")
        return 0


def skip(stream: IO[bytes], count: int, file: ImageFile) -> None:
    while count:
        taken = len(stream.read(min(count, 1 << 20)))
        if not taken:
            raise damaged(file, KIND, "a file cut off before its voxels")
        count -= taken


def fill(stream: IO[bytes], target: memoryview, file: ImageFile) -> None:
    at = 0
    while at < len(target):
        count = stream.readinto(target[at : at + (1 << 20)])  # type: ignore[attr-defined]
        if not count:
            raise damaged(file, KIND, f"a file cut off after {at} of {len(target)} bytes of voxels")
        at += count


# ------------------------------------------------------------------- headers in text

class TextHeader:
    """The fields of a header in text, each read as what it is to be.

    Parameters
    ----------
    file : file
        For messages.
    kind : str
        What it is the header of.
    """

    def __init__(self, file: ImageFile, kind: str) -> None:
        self.file, self.kind = file, kind
        self.fields: dict[str, str] = {}

    def add(self, name: str, value: str) -> None:
        if name in self.fields:
            raise self.wrong(f"{name} once", "it twice")
        self.fields[name] = value.strip()

    def wrong(self, expected: str, found: str, remedy: str = "") -> ImageError:
        shown = "".join(letter if letter.isprintable() else "?" for letter in found[:80])
        return ImageError(self.file, expected=expected, found=shown, remedy=remedy)

    def get(self, name: str, expected: str) -> str:
        if not self.fields.get(name):
            raise self.wrong(f"a header of {self.kind} with {name} ({expected})", "none")
        return self.fields[name]

    def choice(self, name: str, choices: dict[str, T], default: str = "") -> T:
        listed = ", ".join(choices) if len(choices) < 5 else "a type of whole or floating numbers"
        value = self.fields.get(name) or default or self.get(name, listed)
        if value.lower() not in choices:
            raise self.wrong(f"{name} as {listed}", value, CONVERT)
        return choices[value.lower()]

    def numbers(self, name: str) -> list[float]:
        return self.parse(name, self.fields.get(name, "").split())

    def parse(self, name: str, words: list[str]) -> list[float]:
        try:
            return [float(word.replace("_", "?")) for word in words]
        except ValueError:
            raise self.wrong(f"numbers as {name}", self.fields[name]) from None

    def whole(self, name: str) -> list[int]:
        words = self.get(name, "whole numbers").split()
        if not all(re.fullmatch(r"[+-]?[0-9]{1,18}", word) for word in words):
            raise self.wrong(f"whole numbers as {name}", self.fields[name])
        return [int(word) for word in words]

    def beside(self, name: str) -> Path:
        """The data file of a header that lies apart from it: in the same folder, and nowhere else."""
        together = "save header and voxels as one file"
        if not isinstance(self.file, Path):
            raise self.wrong("header and voxels in one file of an archive", f"a header for {name}", together)
        name = name.removeprefix("./")
        if name in ("", ".", "..") or re.search(r"[/\\\0]", name):
            raise self.wrong("a data file beside its header", name, together)
        return self.file.with_name(name)

    def at_end(self, data: Path, length: int) -> int:
        """The byte of a data file from which on it is so long."""
        with reading(data, KIND):
            size = data.stat().st_size
        if size < length:
            raise damaged(data, KIND, f"{size} bytes where its header says {length}")
        return size - length


def lines_of(stream: IO[bytes], first: bytes, header: TextHeader) -> Iterator[tuple[str, int]]:
    """Each line of a header in text, and the bytes read with it; ``first`` is what was read before."""
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
    raise header.wrong(f"an {header.kind} header", "one without an end", AGAIN)
