"""Headers of images: read or refused, within the limits they state."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from mmtk.imaging import MAX_SIDE, MIN_SIDE, probe
from tests.fuzz import InMemory
from tests.test_imaging_tiff import picture, tiff


def check(data: bytes) -> None:
    header = probe(InMemory(data))
    assert header.format in ("png", "jpeg", "tiff")
    assert MIN_SIDE <= min(header.height, header.width) <= max(header.height, header.width) <= MAX_SIDE
    assert header.channels in (1, 2, 3, 4)


def seeds() -> Iterator[bytes]:
    for shape in ((20, 30), (20, 30, 3), (20, 30, 4)):
        image = np.zeros(shape, np.uint8)
        yield cv2.imencode(".png", image)[1].tobytes()
        if len(shape) == 2 or shape[2] == 3:
            yield cv2.imencode(".jpg", image)[1].tobytes()
    yield tiff(picture(20, 30, 1), 7, order=">")
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    plain = cv2.imencode(".jpg", np.zeros((20, 30), np.uint8))[1].tobytes()
    yield plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + plain[2:]
