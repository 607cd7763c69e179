"""TIFF: every strip is checked to unpack to its very length, then OpenCV decodes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._headers import ImageFile, tiff_tags
from mmtk.imaging._png import decode_cv2

_PACKBITS = 32773


def decode_tiff(data: bytes, path: ImageFile, colour: bool) -> NDArray[np.uint8]:
    """Pixels of a TIFF whose header was accepted; see `mmtk.imaging.read_image`."""
    _check_strips(data, path)
    return decode_cv2(data, path, colour)


def _check_strips(data: bytes, path: ImageFile) -> None:
    """Refuse strips that lie outside the file or do not give their rows: libtiff fills those up with what it has."""
    tags = tiff_tags(io.BytesIO(data), path, data[:8])
    width, height, channels = tags[256][0], tags[257][0], tags.get(277, (1,))[0]
    rows = min(tags.get(278, (height,))[0], height) or height
    offsets, lengths = tags[273], tags[279]
    if len(offsets) != len(lengths) or len(offsets) != -(-height // rows):
        raise _damaged(path, f"{len(offsets)} strips for {height} rows")
    for strip, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        wanted = min(rows, height - strip * rows) * width * channels
        content = data[offset : offset + length]
        if len(content) < length:
            raise _damaged(path, f"a file cut off after {len(data)} bytes")
        found = _unpacked(content) if tags.get(259, (1,))[0] == _PACKBITS else length
        if found != wanted:
            raise _damaged(path, f"a strip of {found} bytes where {wanted} belong")


def _unpacked(content: bytes) -> int:
    """Bytes that a PackBits strip unpacks to, -1 if it ends inside a run."""
    at = total = 0
    while at < len(content):
        head = content[at]
        if head < 128:
            at, total = at + head + 2, total + head + 1
        elif head > 128:
            at, total = at + 2, total + 257 - head
        else:
            at += 1
    return total if at == len(content) else -1


def _damaged(path: ImageFile, found: str) -> ImageError:
    return ImageError(path, expected="a whole TIFF", found=found, remedy="fetch the file again")
