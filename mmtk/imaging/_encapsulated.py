"""The packed pixels of DICOM files: those packings whose end and length can be proved."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._elements import EXPAND
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._headers import read_header
from mmtk.imaging._jpeg import decode_jpeg
from mmtk.imaging._tiff import unpack_runs

if TYPE_CHECKING:
    from mmtk.imaging._dicom import Dicom

_RLE_HEADER = 64
_SIGN = 42  # byte of a codestream that tells sign and bits of its numbers
_SOC, _SIZ, _COD, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF90, b"\xff\xd9"


def _rle(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    """PackBits, the high bytes in a segment and the low ones in another; each must give its very length."""
    data, planes, count = fragments[0], header.allocated // 8, header.height * header.width
    if len(fragments) > 1 or len(data) < _RLE_HEADER:
        raise damaged(path, "DICOM file", "RLE pixels in no order that one image has")
    segments, *starts = struct.unpack("<16I", data[:_RLE_HEADER])
    ends = [*starts[1:planes], len(data)]
    if segments != planes or any(starts[planes:]) or starts[0] != _RLE_HEADER or starts[:planes] != sorted(
        starts[:planes]
    ):
        raise damaged(path, "DICOM file", f"{segments} RLE segments where {planes} belong")
    pixels = np.empty((planes, count), np.uint8)
    for plane, start, end in zip(pixels, starts, ends, strict=False):
        if not _unpack(data, start, end, plane) and not (end > start and data[end - 1] == 0 and _unpack(
            data, start, end - 1, plane
        )):
            raise damaged(path, "DICOM file", f"an RLE segment that does not unpack to {count} bytes")
    joined: NDArray[Any] = pixels[0] if planes == 1 else pixels[0].astype(np.uint16) << 8 | pixels[1]
    return joined


def _unpack(data: bytes, start: int, end: int, plane: NDArray[np.uint8]) -> bool:
    """Whether a segment gives exactly a plane's bytes."""
    if not start <= end <= len(data):
        return False
    strip, _ = unpack_runs(data, np.array([[start, end - start]], np.int64), len(plane), plane)
    return strip == 1


def _jpeg(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    data = b"".join(fragments)
    stream = io.BytesIO(data)
    told, orientation, _ = read_header(stream, path)
    expected = ("jpeg", header.height, header.width, 1)
    if told != expected or orientation != 1 or header.allocated != 8 or header.stored != 8 or header.signed:
        raise damaged(path, "DICOM file", "a JPEG that is not the image of its header")
    return decode_jpeg(data, path, ("truncated",), False, 1, stream.tell())[0]


def _jpeg2000(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    """OpenCV decodes, which refuses what is cut off; a flipped bit it passes, as anybody does with plain pixels."""
    data = b"".join(fragments)
    if data.endswith(b"\0"):
        data = data[:-1]  # even by the standard
    precision = _expect_codestream(data, path, header)
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(_boxed(data, header, precision), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    wanted = np.uint8 if precision == 8 else np.uint16
    if image is None or image.shape != (header.height, header.width) or image.dtype != wanted:
        raise damaged(path, "DICOM file", "JPEG 2000 pixels that do not decode")
    if header.signed:
        image = image ^ wanted(1 << precision - 1)
    pixels: NDArray[Any] = image
    return pixels


def _boxed(data: bytes, header: Dicom, precision: int) -> bytes:
    """A codestream as a JP2 file that says it is grey; OpenCV warns of a bare one.

    OpenCV knows no signed numbers: told that they are not, it gives them moved up by half their range.
    """
    data = data[:_SIGN] + bytes([precision - 1]) + data[_SIGN + 1 :]
    says = struct.pack(">I4sIIHBBBB", 22, b"ihdr", header.height, header.width, 1, precision - 1, 7, 0, 0)
    says += struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 17)
    start = b"\0\0\0\x0cjP  \r\n\x87\n" b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    head, pixels = (struct.pack(">I4s", 8 + len(part), kind) for part, kind in ((says, b"jp2h"), (data, b"jp2c")))
    return start + head + says + pixels + data


def _expect_codestream(data: bytes, path: ImageFile, header: Dicom) -> int:
    """Bits of a JPEG 2000 image of one channel, of the header's size, whose parts lead to its end."""
    size = struct.unpack(">HHHHIIIIIIIIH3B", data[:45]) if len(data) >= 45 else ()
    precision = (size[13] & 0x7F) + 1 if size else 0
    signed = bool(size[13] >> 7) if size else False
    wanted = (_SOC, _SIZ, 41, header.width, header.height, 0, 0, 1, 1, 1)
    fits = precision in (header.stored, header.allocated)
    if not fits or (*size[:3], *size[4:8], size[12], *size[14:]) != wanted:
        raise damaged(path, "DICOM file", "a JPEG 2000 image that is not the one of its header")
    if signed != header.signed or precision < 8:
        expected = "JPEG 2000 pixels of the header's sign, of 8 bits at least"
        raise ImageError(path, expected=expected, found=f"{precision} bits, sign {int(signed)}", remedy=EXPAND)
    at = 4 + size[2]
    while data[at : at + 2] not in (b"", _EOC):
        marker, length = struct.unpack(">HH", data[at : at + 4].ljust(4, b"\0"))
        if marker == _SOT:
            length = (int.from_bytes(data[at + 6 : at + 10]) or len(data) - 2 - at) - 2
        if marker == _COD and data[at + 13 : at + 14] != b"\1":
            raise damaged(path, "DICOM file", "JPEG 2000 pixels that are not lossless")
        if marker >> 8 != 0xFF or length < 2:
            raise damaged(path, "DICOM file", f"JPEG 2000 pixels without a part at byte {at}")
        at += 2 + length
    if at != len(data) - 2:
        raise damaged(path, "DICOM file", "JPEG 2000 pixels cut off, or followed by others")
    return precision


DECODERS: dict[str, Callable[[list[bytes], ImageFile, Dicom], NDArray[Any]]] = {
    "RLE": _rle, "JPEG baseline": _jpeg, "JPEG 2000 lossless": _jpeg2000,
}
