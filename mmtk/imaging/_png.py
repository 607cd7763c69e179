"""PNG: every chunk is checked. Grey is decoded here with libdeflate and a C kernel; OpenCV decodes the rest."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmtk.base import inflate
from mmtk.errors import ImageError
from mmtk.imaging._exif import turn
from mmtk.imaging._files import AGAIN, ImageFile, damaged
from mmtk.imaging._headers import MOST_CHUNKS, PNG_SIGNATURE, Header

PixelKind = Literal["truncated", "rounded", "colour"]
PixelKinds = tuple[PixelKind, ...]
# chunks that do not change pixels; with any other, such as gamma or a colour profile, libpng decodes
_PLAIN = {b"IHDR", b"IDAT", b"IEND", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs", b"eXIf"}
_LAST_FILTER = 4
# the passes of an interlaced PNG: first row, first column, row step, column step
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def decode_png(
    data: bytes, path: ImageFile, kinds: PixelKinds, header: Header, orientation: int, chunks: set[bytes],
    parts: list[memoryview],
) -> list[NDArray[np.uint8]]:
    """Decode a PNG whose header and chunks were accepted; see `mmtk.imaging.read_kinds` and `check_chunks`."""
    if orientation >= 5:
        header = header._replace(height=header.width, width=header.height)  # as stored
    images = _stored_pixels(data, path, kinds, header, chunks, parts)
    return images if orientation == 1 else [turn(image, orientation) for image in images]


def _stored_pixels(
    data: bytes, path: ImageFile, kinds: PixelKinds, header: Header, chunks: set[bytes], parts: list[memoryview]
) -> list[NDArray[np.uint8]]:
    rows = _unpacked(parts, path, header, interlaced=data[28] != 0)
    if "colour" in kinds or data[28] != 0 or not chunks <= _PLAIN:
        return decode_with_cv2(data, path, kinds, header.channels > 2)
    try:
        from mmtk._native import unfilter_grey
    except ImportError:  # no C extension: OpenCV gives the same pixels, more slowly
        return decode_with_cv2(data, path, kinds, header.channels > 2)
    distinct = kinds if header.channels > 2 else kinds[:1]
    planes = {kind: np.empty((header.height, header.width), np.uint8) for kind in distinct}
    try:
        unfilter_grey(rows, planes.get("truncated"), header.channels, planes.get("rounded"))
    except ValueError as error:
        raise damaged(path, "PNG", str(error)) from None
    return [planes.get(kind, planes[kinds[0]]) for kind in kinds]


def decode_png16(
    data: bytes, path: ImageFile, header: Header, orientation: int, chunks: set[bytes], parts: list[memoryview]
) -> NDArray[np.uint16]:
    """Decode a 16-bit grey PNG whose header and chunks were accepted; alpha is dropped."""
    if orientation >= 5:
        header = header._replace(height=header.width, width=header.height)  # as stored
    interlaced = data[28] != 0
    rows = _unpacked(parts, path, header, interlaced, depth=2)
    grey = None
    if not interlaced:
        lines = np.frombuffer(rows, np.uint8).reshape(header.height, -1)
        if lines[:, 0].max() > _LAST_FILTER:
            row = (lines[:, 0] > _LAST_FILTER).argmax()
            raise damaged(path, "PNG", f"row {row} has an unknown filter")
        grey = _deep_pixels(lines, header) if chunks <= _PLAIN else None
    if grey is None:
        image = _opencv_pixels(data, path, -1)  # IMREAD_UNCHANGED
        if image.dtype != np.uint16 or image.shape[:2] != (header.height, header.width):
            decoded = f"{image.shape[1]} x {image.shape[0]} pixels of {image.dtype}"
            expected = f"{header.width} x {header.height} pixels of uint16"
            raise ImageError(path, "does not match its header", found=decoded, expected=expected)
        grey = image if image.ndim == 2 else image[:, :, 0]
    return np.ascontiguousarray(turn(grey, orientation))


def _deep_pixels(lines: NDArray[np.uint8], header: Header) -> NDArray[np.uint16] | None:
    """Undo the filters of decompressed 16-bit rows; None without the C extension.

    Filters act on each byte of a pixel separately, so the high and low bytes are two 8-bit images.
    """
    try:
        from mmtk._native import unfilter_grey
    except ImportError:
        return None
    height, width, step = header.height, header.width, 2 * header.channels
    raw = np.empty((height, width + 1), np.uint8)
    raw[:, 0] = lines[:, 0]
    plane, pixels = np.empty((height, width), np.uint8), np.empty((height, width), np.uint16)
    for place in (0, 1):
        raw[:, 1:] = lines[:, 1 + place :: step]
        unfilter_grey(raw.data.cast("B"), plane, 1)
        if place:
            pixels |= plane
        else:
            np.left_shift(plane, np.uint16(8), out=pixels)
    return pixels


def _unpacked(
    parts: list[memoryview], path: ImageFile, header: Header, interlaced: bool, depth: int = 1
) -> bytes | bytearray:
    """The decompressed rows of a PNG, each with its filter byte. OpenCV would ignore surplus data after them."""
    packed = parts[0] if len(parts) == 1 else b"".join(parts)
    wanted = 0
    for top, left, down, right in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        height, width = -(-(header.height - top) // down), -(-(header.width - left) // right)
        wanted += height * (1 + width * header.channels * depth)
    try:
        rows = inflate(packed, wanted)
    except ValueError:
        raise damaged(path, "PNG", "its pixel data do not decompress to the size in its header") from None
    if len(rows) != wanted:
        raise damaged(path, "PNG", f"its pixel data are {len(rows)} bytes, not {wanted}")
    return rows


def check_chunks(data: bytes, path: ImageFile) -> tuple[set[bytes], list[memoryview]]:
    """Verify the checksum of every chunk up to IEND; anything after it is ignored, as decoders do.

    Returns
    -------
    kinds : set of bytes
    parts : list of memoryview
        The contents of the IDAT chunks.
    """
    try:
        from deflate import crc32  # eight times as fast as zlib
    except ImportError:
        from zlib import crc32
    view = memoryview(data)
    at = len(PNG_SIGNATURE)
    kinds: set[bytes] = set()
    parts: list[memoryview] = []
    for _ in range(MOST_CHUNKS):
        length, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if len(kind) < 4 or end > len(data):
            raise damaged(path, "PNG", f"it is cut off after {len(data)} bytes")
        if crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise damaged(path, "PNG", f"wrong checksum of chunk {ascii(kind)[2:-1]} at byte {at}")
        kinds.add(kind)
        if kind == b"IDAT":
            parts.append(view[at + 8 : end - 4])
        if kind == b"IEND":
            break
        at = end
    else:
        raise damaged(path, "PNG", f"more than {MOST_CHUNKS} chunks")
    if not parts:
        raise damaged(path, "PNG", "it has no pixel data")
    return kinds, parts


def decode_cv2(data: bytes, path: ImageFile, colour: bool) -> NDArray[np.uint8]:
    """Decode with OpenCV to luma or RGB; alpha is dropped, and an EXIF orientation is left to `turn`."""
    import cv2

    image = _opencv_pixels(data, path, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    pixels: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if colour else image
    return pixels


def _opencv_pixels(data: bytes, path: ImageFile, how: int) -> NDArray[Any]:
    import cv2

    how = how if how < 0 else how | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        image, reason = None, str(error)
    else:
        reason = "its pixel data are damaged"
    if image is None:
        raise ImageError(path, f"cannot be decoded: {reason}", remedy=AGAIN)
    pixels: NDArray[Any] = image
    return pixels


def decode_with_cv2(data: bytes, path: ImageFile, kinds: PixelKinds, coloured: bool) -> list[NDArray[np.uint8]]:
    """Decode with OpenCV, once if that is enough."""
    if not coloured and "colour" not in kinds:
        return [decode_cv2(data, path, False)] * len(kinds)
    colour = decode_cv2(data, path, True) if set(kinds) - {"truncated"} else None
    return [decode_cv2(data, path, False) if kind == "truncated" else of_colour(colour, kind) for kind in kinds]


def of_colour(colour: NDArray[np.uint8] | None, kind: PixelKind) -> NDArray[np.uint8]:
    """RGB itself, or its luma as Pillow computes it: ``(19595 R + 38470 G + 7471 B + 0x8000) >> 16``."""
    assert colour is not None
    if kind == "colour":
        return colour
    luma = colour.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32)
    return ((luma + 0x8000) >> 16).astype(np.uint8)
