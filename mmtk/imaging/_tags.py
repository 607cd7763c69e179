"""TIFF tags: what they say about the pixels, and which files are refused. READINGS.md lists the cases."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from mmtk.errors import ImageError
from mmtk.imaging._files import CONVERT, CONVERT_DEEP, MAX_SIDE, ImageFile, damaged, take

SIGNATURES = (b"II*\0", b"MM\0*")
WIDTH, HEIGHT, BITS, PACKING, PHOTOMETRIC, FILL_ORDER, OFFSETS = 256, 257, 258, 259, 262, 266, 273
ORIENTATION, CHANNELS, ROWS, LENGTHS, PLANES, PREDICTOR = 274, 277, 278, 279, 284, 317
TILES, EXTRA, FORMAT, DEPTH = {322, 323, 324, 325}, 338, 339, 32997
SUBFILE, _ASIDE = 254, 0b101  # and its bits for a reduced-size copy and a mask
NEXT = -1  # not a tag: the offset of the next directory
PLAIN, PACKBITS = 1, 32773
WHITE_IS_ZERO = 0

_READ = frozenset({
    WIDTH, HEIGHT, BITS, PACKING, PHOTOMETRIC, FILL_ORDER, OFFSETS, ORIENTATION, CHANNELS, ROWS, LENGTHS, PLANES,
    PREDICTOR, EXTRA, FORMAT, DEPTH, *TILES,
})
_TYPES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}  # integer types, and their bytes
_FEW = 16  # most values of a tag that does not have one per strip
_PACKINGS = {2: "CCITT", 3: "fax", 4: "fax", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate", 32946: "deflate",
             34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP"}
_COLOURS = {3: "a palette", 4: "a mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_FORMATS = {2: "signed", 3: "floating", 4: "undefined"}

Tags = dict[int, tuple[int, ...]]


def read_tags(stream: IO[bytes], path: ImageFile, start: bytes, wanted: frozenset[int] = _READ) -> Tags:
    """The integer values of the wanted tags in a TIFF's first directory; no values for a tag of another type."""
    order = "<" if start[:2] == b"II" else ">"
    stream.seek(struct.unpack(order + "I", start[4:8])[0])
    (count,) = struct.unpack(order + "H", take(stream, 2, path))
    tags: Tags = {}
    entries = take(stream, 12 * count, path)
    if (place := struct.unpack(order + "I", (stream.read(4) + bytes(4))[:4])[0]) != 0:
        tags[NEXT] = (place,)
    for tag, kind, number, value in struct.iter_unpack(order + "HHI4s", entries):
        if tag in tags:  # decoders disagree about which of the two counts
            raise damaged(path, "TIFF", f"tag {tag} occurs twice")
        tags[tag] = ()
        if tag not in wanted or kind not in _TYPES or number > (MAX_SIDE if tag in (OFFSETS, LENGTHS) else _FEW):
            continue
        letter, width = _TYPES[kind]
        size = number * width
        if size > 4:
            stream.seek(struct.unpack(order + "I", value)[0])
            value = take(stream, size, path)
        tags[tag] = struct.unpack(f"{order}{number}{letter}", value[:size])
    return tags


def expect_one_page(stream: IO[bytes], path: ImageFile, tags: Tags) -> None:
    """Refuse a TIFF, given the tags of its first directory, if its second page is neither a smaller copy nor a mask."""
    if NEXT not in tags:
        return
    stream.seek(0)
    mark = stream.read(4)
    place = struct.pack(("<" if mark[:2] == b"II" else ">") + "I", *tags[NEXT])
    second = read_tags(stream, path, mark + place, frozenset({SUBFILE, WIDTH, HEIGHT}))
    smaller = all(0 < first(second, side, 0) < first(tags, side, 0) for side in (WIDTH, HEIGHT))
    if not (max(first(second, SUBFILE, 0), 0) & _ASIDE or smaller):
        raise ImageError(path, "is a TIFF with several pages", remedy="save the page you need as a separate file")


def first(tags: Tags, tag: int, default: int) -> int:
    """The value of a single-valued integer tag; -1 if it has several values or none."""
    values = tags.get(tag, (default,))
    return values[0] if len(values) == 1 else -1


def expect_plain(tags: Tags, path: ImageFile, deep: bool = False) -> tuple[int, int, int]:
    """Height, width and channels of a TIFF that all decoders read the same way; any other is refused with the reason.

    If `deep`, it must be 16-bit grey.
    """
    if reasons := ", ".join(_reasons(tags, deep)):
        expected = f"{'16-bit grey' if deep else '8-bit grey or RGB'}, uncompressed or PackBits, in strips"
        remedy = CONVERT_DEEP if deep else CONVERT
        raise ImageError(path, "is a TIFF of an unsupported kind", found=reasons, expected=expected, remedy=remedy)
    return first(tags, HEIGHT, 0), first(tags, WIDTH, 0), first(tags, CHANNELS, 1)


def _reasons(tags: Tags, deep: bool) -> Iterator[str]:
    bits, channels, packing = tags.get(BITS, (1,)), first(tags, CHANNELS, 1), first(tags, PACKING, PLAIN)
    colours, orientation, extra = first(tags, PHOTOMETRIC, -1), first(tags, ORIENTATION, 1), tags.get(EXTRA)
    if set(bits) != {16 if deep else 8}:
        yield f"{max(bits, default=0)} bits"
    if channels not in ((1,) if deep else (1, 3)):
        yield f"{channels} channels"
    elif extra is not None:
        yield "an extra channel"
    if packing not in (PLAIN, PACKBITS):
        yield f"compression {packing}" + (f" ({_PACKINGS[packing]})" if packing in _PACKINGS else "")
    if deep and NEXT in tags:  # a stack; after an 8-bit image a second page is usually a small copy
        yield "several pages"
    if PHOTOMETRIC not in tags:
        yield "no photometric interpretation"
    elif channels in (1, 3) and (channels, colours) not in ((1, 0), (1, 1), (3, 2)):
        yield f"photometric {colours}" + (f" ({_COLOURS[colours]})" if colours in _COLOURS else "")
    if TILES & tags.keys():
        yield "tiles"
    elif OFFSETS not in tags or (LENGTHS not in tags and (packing != PLAIN or len(tags[OFFSETS]) != 1)):
        yield "no strips"
    if first(tags, ROWS, 1) <= 0:
        yield "strips without rows"
    if first(tags, PLANES, 1) != 1 and (channels != 1 or first(tags, PLANES, 1) != 2):
        yield "planar channels"
    if 2 <= orientation <= 8 or orientation < 0:
        yield f"orientation {orientation}" if orientation > 0 else "an orientation of an invalid type"
    if first(tags, PREDICTOR, 1) != 1:
        yield "a predictor without a compression that uses it"
    if set(tags.get(FORMAT, (1,))) != {1}:
        kind = max(tags[FORMAT], default=0)
        yield f"{_FORMATS.get(kind, 'unknown')} samples"
    if first(tags, FILL_ORDER, 1) not in (1, 2):
        yield "an unknown fill order"
    if first(tags, DEPTH, 1) != 1:
        yield "an image depth above 1"
    if first(tags, WIDTH, -1) < 0 or first(tags, HEIGHT, -1) < 0:
        yield "no valid width and height"
