"""PNG to grey: refused, or what OpenCV reads.

The first byte says how the rest is meant, for random bytes hardly ever have the right checksums: a file as it is, a
file whose checksums are set right, or size, kind and filtered rows that are packed into a file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from mmtk.imaging import read_image
from tests.fuzz import InMemory
from tests.pictures import END, checked, chunk, png
from tests.test_imaging_png import KINDS


def check(data: bytes) -> None:
    if not data:
        return
    meant, rest = data[0] % 3, data[1:]
    file = rest if meant == 0 else checked(rest) if meant == 1 else _packed(rest)
    ours = read_image(InMemory(file), False)
    theirs = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert theirs is not None, "OpenCV refuses it"
    assert np.array_equal(ours, theirs), "other pixels than OpenCV's"


def _packed(rest: bytes) -> bytes:
    """A file of any size from 16 to 47, of any kind, with these rows, repeated or cut to fit."""
    height, width, kind, extra = (*rest[:4], 0, 0, 0, 0)[:4]
    height, width, channels = 16 + height % 32, 16 + width % 32, 1 + kind % 4
    wanted = height * (1 + width * channels) + (extra % 3 - 1 if extra > 250 else 0)
    rows = bytearray((rest[4:] * (wanted // max(1, len(rest) - 4) + 1) or bytes(wanted))[:wanted])
    for at in range(0, len(rows), 1 + width * channels):
        rows[at] %= 5 + (extra > 253)
    return png(width, height, KINDS[channels], chunk(b"IDAT", zlib.compress(rows, 1)), END)


def seeds() -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    for shape in ((20, 17), (20, 17, 3), (20, 17, 4)):
        file = cv2.imencode(".png", rng.integers(0, 256, shape, dtype=np.uint8))[1].tobytes()
        yield b"\0" + file
        yield b"\1" + file
    for kind in range(4):
        yield bytes([2, 4, 5, kind, 0]) + rng.integers(0, 256, 300, dtype=np.uint8).tobytes()
