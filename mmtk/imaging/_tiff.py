"""TIFF: every strip must unpack to its very length. What needs no conversion is unpacked here, OpenCV does the rest."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._headers import Header, ImageFile, tiff_tags
from mmtk.imaging._png import decode_cv2

_PACKBITS = 32773
_FILL_ORDER, _SAMPLE_FORMAT = 266, 339  # 1 in both: bits from the highest on, whole numbers without a sign


def decode_tiff(data: bytes, path: ImageFile, colour: bool, header: Header) -> NDArray[np.uint8]:
    """Pixels of a TIFF whose header was accepted; see `mmtk.imaging.read_image`."""
    tags = tiff_tags(io.BytesIO(data), path, data[:8])
    pixels = _unpacked_strips(memoryview(data), path, tags, header)
    plain = all(set(tags.get(tag, (1,))) == {1} for tag in (_FILL_ORDER, _SAMPLE_FORMAT))
    if not plain or colour != (header.channels == 3):
        return decode_cv2(data, path, colour)
    return pixels if colour else pixels[:, :, 0]


def _unpacked_strips(
    data: memoryview, path: ImageFile, tags: dict[int, tuple[int, ...]], header: Header
) -> NDArray[np.uint8]:
    """The image of all strips; strips outside the file, or that do not give their rows, are refused."""
    height, width, channels = header.height, header.width, header.channels
    rows = min(*tags.get(278, (height,)), height)
    offsets, lengths = tags[273], tags[279]
    if len(offsets) != len(lengths) or len(offsets) != -(-height // rows):
        raise _damaged(path, f"{len(offsets)} strips for {height} rows")
    pixels = np.empty((height, width, channels), np.uint8)
    for strip, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        content, target = data[offset : offset + length], pixels[strip * rows : (strip + 1) * rows].reshape(-1)
        if len(content) < length:
            raise _damaged(path, f"a file cut off after {len(data)} bytes")
        if tags.get(259, (1,))[0] == _PACKBITS:
            found = _unpack_bits(content, target)
        else:
            found = length
            if found == len(target):
                target[:] = np.frombuffer(content, np.uint8)
        if found < 0:
            raise _damaged(path, "a strip that ends inside a run")
        if found != len(target):
            raise _damaged(path, f"a strip of {found} bytes where {len(target)} belong")
    return pixels


def _unpack_bits(content: memoryview, target: NDArray[np.uint8]) -> int:
    """Unpack a PackBits strip; the bytes it gives, -1 if it ends inside a run."""
    try:
        from mmtk._native import unpack_bits
    except ImportError:
        from mmtk.imaging import _numba_kernels

        return int(_numba_kernels.unpack_bits(np.frombuffer(content, np.uint8), target))
    return unpack_bits(content, target)


def _damaged(path: ImageFile, found: str) -> ImageError:
    return ImageError(path, expected="a whole TIFF", found=found, remedy="fetch the file again")
