"""Encapsulated DICOM pixels, in those compressions whose end and length can be verified."""

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
_SIGN = 42  # offset of the byte with sign and bit depth in a JPEG 2000 codestream
_SOC, _SIZ, _COD, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF90, b"\xff\xd9"


def _rle(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    """Decode RLE (PackBits): high and low bytes are separate segments, which must decompress to their exact length."""
    data, planes, count = fragments[0], header.allocated // 8, header.height * header.width
    if len(fragments) > 1 or len(data) < _RLE_HEADER:
        raise damaged(path, "DICOM file", "its RLE fragments do not form a single image")
    segments, *starts = struct.unpack("<16I", data[:_RLE_HEADER])
    ends = [*starts[1:planes], len(data)]
    if segments != planes or any(starts[planes:]) or starts[0] != _RLE_HEADER or starts[:planes] != sorted(
        starts[:planes]
    ):
        raise damaged(path, "DICOM file", f"it has {segments} RLE segments, not {planes}")
    pixels = np.empty((planes, count), np.uint8)
    for plane, start, end in zip(pixels, starts, ends, strict=False):
        if not _unpack(data, start, end, plane) and not (end > start and data[end - 1] == 0 and _unpack(
            data, start, end - 1, plane
        )):
            raise damaged(path, "DICOM file", f"an RLE segment does not decompress to {count} bytes")
    joined: NDArray[Any] = pixels[0] if planes == 1 else pixels[0].astype(np.uint16) << 8 | pixels[1]
    return joined


def _unpack(data: bytes, start: int, end: int, plane: NDArray[np.uint8]) -> bool:
    """Whether a segment decompresses to exactly the plane's length."""
    if not start <= end <= len(data):
        return False
    strip, _ = unpack_runs(data, np.array([[start, end - start]], np.int64), len(plane), plane)
    return strip == 1


def _jpeg(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    data = b"".join(fragments)
    stream = io.BytesIO(data)
    actual, orientation, _ = read_header(stream, path)
    expected = ("jpeg", header.height, header.width, 1)
    if actual != expected or orientation != 1 or header.allocated != 8 or header.stored != 8 or header.signed:
        raise damaged(path, "DICOM file", "its JPEG pixels do not match its header")
    return decode_jpeg(data, path, ("truncated",), False, 1, stream.tell())[0]


def _jpeg2000(fragments: list[bytes], path: ImageFile, header: Dicom) -> NDArray[Any]:
    """Decode with OpenCV, which refuses a cut-off stream; a flipped bit goes unnoticed, as in uncompressed pixels."""
    data = b"".join(fragments)
    if data.endswith(b"\0"):
        data = data[:-1]  # padding to an even length
    precision = _expect_codestream(data, path, header)
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(_boxed(data, header, precision), np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    wanted = np.uint8 if precision == 8 else np.uint16
    if image is None or image.shape != (header.height, header.width) or image.dtype != wanted:
        raise damaged(path, "DICOM file", "its JPEG 2000 pixels cannot be decoded")
    if header.signed:
        image = image ^ wanted(1 << precision - 1)
    pixels: NDArray[Any] = image
    return pixels


def _boxed(data: bytes, header: Dicom, precision: int) -> bytes:
    """Wrap a codestream as a grey JP2 file; OpenCV warns about a bare codestream.

    OpenCV does not support signed values: marked as unsigned, they are returned offset by half their range.
    """
    data = data[:_SIGN] + bytes([precision - 1]) + data[_SIGN + 1 :]
    says = struct.pack(">I4sIIHBBBB", 22, b"ihdr", header.height, header.width, 1, precision - 1, 7, 0, 0)
    says += struct.pack(">I4sBBBI", 15, b"colr", 1, 0, 0, 17)
    start = b"\0\0\0\x0cjP  \r\n\x87\n" b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    head, pixels = (struct.pack(">I4s", 8 + len(part), kind) for part, kind in ((says, b"jp2h"), (data, b"jp2c")))
    return start + head + says + pixels + data


def _expect_codestream(data: bytes, path: ImageFile, header: Dicom) -> int:
    """Check a single-channel JPEG 2000 codestream against the header, marker by marker, and return its bit depth."""
    size = struct.unpack(">HHHHIIIIIIIIH3B", data[:45]) if len(data) >= 45 else ()
    precision = (size[13] & 0x7F) + 1 if size else 0
    signed = bool(size[13] >> 7) if size else False
    wanted = (_SOC, _SIZ, 41, header.width, header.height, 0, 0, 1, 1, 1)
    fits = precision in (header.stored, header.allocated)
    if not fits or (*size[:3], *size[4:8], size[12], *size[14:]) != wanted:
        raise damaged(path, "DICOM file", "its JPEG 2000 pixels do not match its header")
    if signed != header.signed or precision < 8:
        actual = f"{'signed' if signed else 'unsigned'} {precision}-bit JPEG 2000 pixels"
        expected = f"{'signed' if header.signed else 'unsigned'} ones of at least 8 bits"
        raise ImageError(path, found=actual, expected=expected, remedy=EXPAND)
    at = 4 + size[2]
    while data[at : at + 2] not in (b"", _EOC):
        marker, length = struct.unpack(">HH", data[at : at + 4].ljust(4, b"\0"))
        if marker == _SOT:
            length = (int.from_bytes(data[at + 6 : at + 10]) or len(data) - 2 - at) - 2
        if marker == _COD and data[at + 13 : at + 14] != b"\1":
            raise damaged(path, "DICOM file", "its JPEG 2000 pixels are not lossless")
        if marker >> 8 != 0xFF or length < 2:
            raise damaged(path, "DICOM file", f"its JPEG 2000 pixels have no valid marker at byte {at}")
        at += 2 + length
    if at != len(data) - 2:
        raise damaged(path, "DICOM file", "its JPEG 2000 pixels are cut off or followed by other data")
    return precision


DECODERS: dict[str, Callable[[list[bytes], ImageFile, Dicom], NDArray[Any]]] = {
    "RLE": _rle, "JPEG baseline": _jpeg, "JPEG 2000 lossless": _jpeg2000,
}
