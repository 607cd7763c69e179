"""PNG: every chunk is checked, then OpenCV decodes."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._headers import PNG_SIGNATURE, ImageFile


def decode_png(data: bytes, path: ImageFile, colour: bool) -> NDArray[np.uint8]:
    """Pixels of a PNG whose header was accepted; see `mmtk.imaging.read_image`."""
    check_chunks(data, path)
    return decode_cv2(data, path, colour)


def check_chunks(data: bytes, path: ImageFile) -> None:
    """Verify the checksum of every chunk up to IEND; what comes after is ignored, as decoders do."""
    view = memoryview(data)
    at = len(PNG_SIGNATURE)
    kinds: set[bytes] = set()
    while True:
        length, kind = int.from_bytes(view[at : at + 4]), bytes(view[at + 4 : at + 8])
        end = at + 12 + length
        if len(kind) < 4 or end > len(data):
            raise _damaged(path, f"a file cut off after {len(data)} bytes")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end]):
            raise _damaged(path, f"a wrong checksum in the chunk {kind!r} at byte {at}")
        kinds.add(kind)
        if kind == b"IEND":
            break
        at = end
    if b"IDAT" not in kinds:
        raise _damaged(path, "no pixels")


def _damaged(path: ImageFile, found: str) -> ImageError:
    return ImageError(path, expected="a whole PNG", found=found, remedy="fetch the file again")


def decode_cv2(data: bytes, path: ImageFile, colour: bool) -> NDArray[np.uint8]:
    """Decode with OpenCV: luma or RGB, alpha dropped, EXIF orientation applied."""
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        image, reason = None, str(error)
    else:
        reason = "damaged pixels"
    if image is None:
        raise ImageError(path, expected="an image that OpenCV decodes", found=reason, remedy="fetch the file again")
    pixels: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if colour else image
    return pixels
