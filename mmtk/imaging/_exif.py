"""EXIF orientation: read it where all decoders agree on it, and apply it to pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_TAG = 0x0112
_NUMBERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # TIFF types that decoders accept for an orientation
UNCLEAR = 0  # decoders disagree
_Pixel = TypeVar("_Pixel", np.uint8, np.uint16)


def common_orientation(blocks: Iterable[bytes]) -> int:
    """The orientation, 1 to 8, in all EXIF blocks of a file; 1 if there are none, `UNCLEAR` if they disagree.

    Empty blocks are ignored. OpenCV uses the first block that has an orientation, Pillow always the first block.
    """
    values = {_orientation(block) for block in blocks if block}
    return values.pop() if len(values) == 1 else UNCLEAR if values else 1


def _orientation(block: bytes) -> int:
    """Orientation of a block: 1 if it has none or is damaged, `UNCLEAR` if decoders would disagree.

    OpenCV takes the first two bytes of the tag's value whatever its type and count; Pillow respects type and count, and
    skips a second "Exif" before the block.
    """
    nested = block
    while nested.startswith(b"Exif\0\0"):
        nested = nested[6:]
    if nested is not block:
        return 1 if _orientation(nested) == 1 else UNCLEAR
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", block, 4)
    if at + 2 > len(block):
        return 1
    (entries,) = struct.unpack_from(order + "H", block, at)
    for entry in range(at + 2, min(at + 2 + 12 * entries, len(block) - 1), 12):
        if struct.unpack_from(order + "H", block, entry)[0] == _TAG:
            return _value(block[entry : entry + 12], order)
    return 1


def _value(entry: bytes, order: str) -> int:
    if len(entry) < 12:  # cut off: OpenCV still takes the two bytes that it needs if they are there, Pillow does not
        return UNCLEAR if len(entry) >= 10 else 1
    _, kind, count, loose = struct.unpack_from(order + "HHIH", entry)
    letter = _NUMBERS.get(kind)
    if letter is None or count == 0:
        strict = 1
    elif count * struct.calcsize(order + letter) > 4:  # stored outside the entry, where not all decoders look
        return UNCLEAR
    else:
        (strict,) = struct.unpack_from(order + letter, entry, 8)
    first, second = (value if 1 <= value <= 8 else 1 for value in (loose, strict))
    return first if first == second else UNCLEAR


def turn(image: NDArray[_Pixel], orientation: int) -> NDArray[_Pixel]:
    """Apply an EXIF orientation to an image: pixels are moved, not changed."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(image[rows, columns])
