"""The elements of a DICOM file, walked strictly: in order, each of a known kind, and none beyond the file's end.

pydicom and GDCM forgive most of what is refused here: see docs/decisions.md. Values are passed over unread unless they
are asked for, so that no patient's name is ever in memory.
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
EXPAND = "unpack it with `gdcmconv --raw IN OUT`"
_SHORT = frozenset((  # with lengths of 16 bits
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
))
LONG = frozenset((  # of 32 bits, behind two zeros
    "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV",
))
_DEEPEST = 16  # sequences inside each other
_MOST_VALUE = 1 << 18  # bytes of a value that is read


class Coding(NamedTuple):
    """How elements are written: whether they tell the kinds of their values, and struct's letter of their bytes."""

    explicit: bool
    order: str


META = Coding(True, "<")
IMPLICIT = Coding(False, "<")


class Element(NamedTuple):
    """An element's tag, the kind of its value (empty where it is not told), and where that lies."""

    tag: int
    kind: str
    at: int
    length: int


class Elements:
    """A DICOM file, or a value of one, that is walked; `size` is where it ends, None where that is not known."""

    def __init__(self, stream: IO[bytes], path: ImageFile, size: int | None) -> None:
        self.stream, self.path, self.size = stream, path, size

    def take(self, count: int) -> bytes:
        data = self.stream.read(count)
        if len(data) < count:
            raise self.cut()
        return data

    def value(self, element: Element) -> bytes:
        """The bytes of an element that the walk has just come to."""
        if element.length > _MOST_VALUE:
            raise self.damage(f"{element.length} bytes in the element {name(element.tag)}")
        self.stream.seek(element.at)
        return self.take(element.length)

    def cut(self) -> ImageError:
        return self.damage("a file cut off")

    def damage(self, what: str) -> ImageError:
        return damaged(self.path, "DICOM file", what)

    def walk(self, coding: Coding, end: int | None = None, depth: int = 0) -> Iterator[Element]:
        """Every element from here to `end`, to the end of an item, or to the file's.

        The stream may be moved meanwhile. Of encapsulated pixels the walk ends, for whoever asks must go over their
        fragments.
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
            high, low = struct.unpack(coding.order + "HH", head[:4])
            tag = high << 16 | low
            if tag == ITEM_END and end is None and depth:
                if head[4:] != b"\0\0\0\0":
                    raise self.damage("an item's end that has a length")
                return
            if tag <= last:
                raise self.damage(f"the element {name(tag)} behind {name(last)}")
            last = tag
            kind, length = self._kind(tag, head[4:], coding)
            element = Element(tag, kind, self.stream.tell(), length)
            if length != UNDEFINED:
                self._expect_inside(element.at + length, end)
            yield element
            self.stream.seek(element.at)
            if length != UNDEFINED:
                self._skip(length)
            elif tag == PIXELS and depth == 0:
                return
            else:
                self._pass_items(element, coding, depth + 1)

    def _kind(self, tag: int, rest: bytes, coding: Coding) -> tuple[str, int]:
        if not coding.explicit:
            return "", int(struct.unpack(coding.order + "I", rest)[0])
        kind = rest[:2].decode("latin-1")
        if kind in _SHORT:
            return kind, int(struct.unpack(coding.order + "H", rest[2:])[0])
        if kind not in LONG or rest[2:] != b"\0\0":
            raise self.damage(f"the unknown kind {rest[:2]!r} of the element {name(tag)}")
        return kind, int(struct.unpack(coding.order + "I", self.take(4))[0])

    def _expect_inside(self, to: int, end: int | None) -> None:
        if to > (end or to):
            raise self.damage("an element that reaches beyond the item that it is in")
        if self.size is not None and to > self.size:
            raise self.cut()

    def _skip(self, count: int) -> None:
        if count:  # the last byte is read: behind the end of a file any place can be sought
            self.stream.seek(count - 1, os.SEEK_CUR)
            self.take(1)

    def _pass_items(self, element: Element, coding: Coding, depth: int) -> None:
        if element.kind not in ("SQ", "UN", ""):
            raise self.damage(f"no length of the element {name(element.tag)}")
        for item in self.items(element, coding):
            if item.length == UNDEFINED:
                if depth >= _DEEPEST:
                    raise self.damage(f"more than {_DEEPEST} sequences inside each other")
                inner = IMPLICIT if element.kind == "UN" else coding  # as the standard has it
                for _ in self.walk(inner, depth=depth):
                    pass

    def items(self, element: Element, coding: Coding) -> Iterator[Element]:
        """The items of a sequence, or the fragments of pixels, from the start of the element's value on.

        Of an item that tells no length, whoever asks must walk its elements before asking for the next.
        """
        end = None if element.length == UNDEFINED else element.at + element.length
        self.stream.seek(element.at)
        while self.stream.tell() != end:
            high, low, length = struct.unpack(coding.order + "HHI", self.take(8))
            tag = high << 16 | low
            if tag == SEQUENCE_END and end is None and length == 0:
                return
            if tag != ITEM:
                raise self.damage(f"{name(tag)} among the items of the element {name(element.tag)}")
            item = Element(tag, "", self.stream.tell(), length)
            if length != UNDEFINED:
                self._expect_inside(item.at + length, end)
            yield item
            if length != UNDEFINED:
                self.stream.seek(item.at)
                self._skip(length)


def name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
