"""Walk the elements of a DICOM file strictly: in order, with known VRs, and none beyond the end of the file.

pydicom and GDCM tolerate most of what is refused here: see docs/decisions.md. Values that are not asked for are skipped
unread, so that no patient's name is ever in memory.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import IO, NamedTuple

from mmtk.errors import ImageError
from mmtk.imaging._files import ImageFile, damaged

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = 0x7FE00010
EXPAND = "decompress it with `gdcmconv --raw IN OUT`"
_SHORT = frozenset((  # VRs with 16-bit lengths
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
))
LONG = frozenset((  # VRs with 32-bit lengths, after two reserved bytes
    "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV",
))
_DEEPEST = 16  # nested sequences
_MOST_VALUE = 1 << 18  # bytes of the longest value that is read


class Encoding(NamedTuple):
    """How elements are encoded: whether their VRs are explicit, and the byte order as a `struct` character."""

    explicit: bool
    order: str


META = Encoding(True, "<")
IMPLICIT = Encoding(False, "<")


class Element(NamedTuple):
    """An element's tag, its VR (empty with implicit encoding), and the offset and length of its value."""

    tag: int
    vr: str
    at: int
    length: int


class Elements:
    """The elements of an open DICOM file; `size` is the length of the file, None if unknown."""

    def __init__(self, stream: IO[bytes], path: ImageFile, size: int | None) -> None:
        self.stream, self.path, self.size = stream, path, size

    def take(self, count: int) -> bytes:
        data = self.stream.read(count)
        if len(data) < count:
            raise self.cut()
        return data

    def value(self, element: Element) -> bytes:
        """The value of the element that the walk has just reached."""
        if element.length > _MOST_VALUE:
            raise self.damage(f"element {name(element.tag)} is {element.length} bytes long")
        self.stream.seek(element.at)
        return self.take(element.length)

    def cut(self) -> ImageError:
        return self.damage("it is cut off")

    def damage(self, problem: str) -> ImageError:
        return damaged(self.path, "DICOM file", problem)

    def walk(self, encoding: Encoding, end: int | None = None, depth: int = 0) -> Iterator[Element]:
        """Yield every element from here to `end`, to the end of an item, or to the end of the file.

        The caller may move the stream meanwhile. The walk ends at encapsulated pixels, whose fragments the caller must
        read with `items`.
        """
        last = -1
        while True:
            start = self.stream.tell()
            if start == end:
                return
            head = self.stream.read(8)
            if not head and end is None and depth == 0:
                return
            if len(head) < 8:
                raise self.cut()
            high, low = struct.unpack(encoding.order + "HH", head[:4])
            tag = high << 16 | low
            if tag == ITEM_END and end is None and depth:
                if head[4:] != b"\0\0\0\0":
                    raise self.damage("an item delimiter has a length")
                return
            if tag <= last:
                raise self.damage(f"element {name(tag)} follows {name(last)}")
            last = tag
            vr, length = self._vr(tag, head[4:], encoding)
            element = Element(tag, vr, self.stream.tell(), length)
            if length != UNDEFINED:
                self._expect_inside(element.at + length, end)
            yield element
            self.stream.seek(element.at)
            if length != UNDEFINED:
                self._skip(length)
            elif tag == PIXELS and depth == 0:
                return
            else:
                self._pass_items(element, encoding, depth + 1)

    def _vr(self, tag: int, rest: bytes, encoding: Encoding) -> tuple[str, int]:
        """VR and length of an element, from the last four bytes of its header."""
        if not encoding.explicit:
            return "", int(struct.unpack(encoding.order + "I", rest)[0])
        vr = rest[:2].decode("latin-1")
        if vr in _SHORT:
            return vr, int(struct.unpack(encoding.order + "H", rest[2:])[0])
        if vr not in LONG or rest[2:] != b"\0\0":
            raise self.damage(f"element {name(tag)} has the unknown VR {vr!a}")
        return vr, int(struct.unpack(encoding.order + "I", self.take(4))[0])

    def _expect_inside(self, to: int, end: int | None) -> None:
        if to > (end or to):
            raise self.damage("an element extends beyond the end of its item")
        if self.size is not None and to > self.size:
            raise self.cut()

    def _skip(self, count: int) -> None:
        if count:  # read the last byte, since seeking beyond the end of a file succeeds
            self.stream.seek(count - 1, os.SEEK_CUR)
            self.take(1)

    def _pass_items(self, element: Element, encoding: Encoding, depth: int) -> None:
        if element.vr not in ("SQ", "UN", ""):
            raise self.damage(f"element {name(element.tag)} has no length")
        for item in self.items(element, encoding):
            if item.length == UNDEFINED:
                if depth >= _DEEPEST:
                    raise self.damage(f"more than {_DEEPEST} nested sequences")
                inner = IMPLICIT if element.vr == "UN" else encoding  # required by the standard
                for _ in self.walk(inner, depth=depth):
                    pass

    def items(self, element: Element, encoding: Encoding) -> Iterator[Element]:
        """Yield the items of a sequence, or the fragments of encapsulated pixels.

        If an item has no length, the caller must walk its elements before asking for the next item.
        """
        end = None if element.length == UNDEFINED else element.at + element.length
        self.stream.seek(element.at)
        while self.stream.tell() != end:
            high, low, length = struct.unpack(encoding.order + "HHI", self.take(8))
            tag = high << 16 | low
            if tag == SEQUENCE_END and end is None and length == 0:
                return
            if tag != ITEM:
                raise self.damage(f"unexpected {name(tag)} among the items of element {name(element.tag)}")
            item = Element(tag, "", self.stream.tell(), length)
            if length != UNDEFINED:
                self._expect_inside(item.at + length, end)
            yield item
            if length != UNDEFINED:
                self.stream.seek(item.at)
                self._skip(length)


def name(tag: int) -> str:
    """A tag as DICOM writes it, such as (0028,0010)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
