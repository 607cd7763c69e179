"""CT volumes, packed and plain: refused, or of the shape their header states and of int16."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

import numpy as np

from mmtk.imaging import probe_volume, read_volume
from tests.fuzz import InMemory
from tests.test_imaging_volume import CODES, nifti, noise


def check(data: bytes) -> None:
    file = InMemory(data)
    header = probe_volume(file)
    if header.bytes > 1 << 20:
        return
    volume = read_volume(file)
    assert volume.voxels.dtype == np.int16
    assert volume.voxels.shape == header.shape[::-1]
    if header.dtype == np.dtype("<i2") and (header.slope, header.inter) == (1.0, 0.0) and data[:2] != b"\x1f\x8b":
        assert volume.voxels.tobytes() == data[header.offset : header.offset + header.bytes]


def seeds() -> Iterator[bytes]:
    for kind in CODES:
        for order in "<>":
            file = nifti(noise((2, 3, 4), 0, 100), kind, order, slope=2.0, inter=1.0)
            yield file
            yield gzip.compress(file, mtime=0)
    yield nifti(noise((2, 3, 4)), sform=False)
