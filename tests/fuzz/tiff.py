"""TIFF: refused, or what OpenCV reads, if it does: it refuses files for tags that say nothing of the pixels, too."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from mmtk.imaging import probe, read_image
from tests.fuzz import InMemory
from tests.test_imaging_tiff import PACKBITS, PLAIN, picture, tiff


def check(data: bytes) -> None:
    file = InMemory(data)
    header = probe(file)
    if header.format != "tiff" or header.height * header.width > 1 << 20:
        return
    colour = header.channels == 3
    ours = read_image(file, colour)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    if theirs is not None:
        assert np.array_equal(ours, theirs[..., ::-1] if colour else theirs), "other pixels than OpenCV's"


def seeds() -> Iterator[bytes]:
    for channels in (1, 3):
        for order in "<>":
            for packing in (PLAIN, PACKBITS):
                yield tiff(picture(17, 19, channels), 6, packing, order)
                yield tiff(picture(17, 19, channels), 17, packing, order, more=[(266, 1), (339, 1)])
