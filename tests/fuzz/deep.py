"""PNG and TIFF of 16 bits: refused, or what OpenCV reads.

The first byte says how the rest is meant: a file as it is, a PNG whose checksums are set right, or size, kind and
filtered rows that are packed into a PNG.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from mmtk.imaging import probe_values, read_values
from tests.fuzz import InMemory
from tests.pictures import END, checked, chunk, png
from tests.test_imaging_values import deep, tiff16


def check(data: bytes) -> None:
    if not data:
        return
    meant, rest = data[0] % 3, data[1:]
    content = rest if meant == 0 else checked(rest) if meant == 1 else _packed(rest)
    file = InMemory(content)
    header = probe_values(file)
    if header.format not in ("png16", "tiff16") or header.height * header.width > 1 << 20:
        return
    values = read_values(file).pixels
    assert values.dtype == np.float32
    assert values.shape == (header.height, header.width)
    theirs = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if header.format == "png16":
        assert theirs is not None, "OpenCV refuses it"
    if theirs is not None and theirs.shape[:2] == values.shape:
        theirs = theirs[:, :, 0] if theirs.ndim == 3 else theirs
        ways = (theirs, theirs[::-1], theirs[:, ::-1], theirs[::-1, ::-1])  # OpenCV leaves an EXIF orientation alone,
        ways += tuple(65535 - way for way in ways) if header.format == "tiff16" else ()  # and white that is zero
        assert any(np.array_equal(values, way) for way in ways), "other pixels than OpenCV's"


def _packed(rest: bytes) -> bytes:
    """A file of any size from 16 to 47, grey or grey and alpha, with these rows, repeated or cut to fit."""
    height, width, kind, extra = (*rest[:4], 0, 0, 0, 0)[:4]
    height, width, channels = 16 + height % 32, 16 + width % 32, 1 + kind % 2
    step = 1 + 2 * width * channels
    wanted = height * step + (extra % 3 - 1 if extra > 250 else 0)
    rows = bytearray((rest[4:] * (wanted // max(1, len(rest) - 4) + 1) or bytes(wanted))[:wanted])
    for at in range(0, len(rows), step):
        rows[at] %= 5 + (extra > 253)
    return png(width, height, 4 * (channels - 1), chunk(b"IDAT", zlib.compress(rows, 1)), END, depth=16)


def seeds() -> Iterator[bytes]:
    file = cv2.imencode(".png", deep((20, 17)))[1].tobytes()
    yield b"\0" + file
    yield b"\1" + file
    yield b"\1" + png(17, 20, 0, chunk(b"gAMA", (45455).to_bytes(4)), file[33:], depth=16)
    for kind in range(2):
        yield bytes([2, 4, 5, kind, 0]) + np.random.default_rng(0).integers(0, 256, 300, dtype=np.uint8).tobytes()
    for order in "<>":
        for packing in (1, 32773):
            yield b"\0" + tiff16(deep((17, 19)), order, 6, packing=packing)
            yield b"\0" + tiff16(deep((17, 19)), order, 17, packing=packing, photometric=0)
