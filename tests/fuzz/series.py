"""DICOM series of three slices, of which the first byte says which is fuzzed: refused, or a volume of the values that
the slices have by themselves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmtk.imaging import probe_series, read_values
from tests import dicoms
from tests.fuzz.told import read_told

_COUNT = 3


def check(data: bytes) -> None:
    if not data:
        return
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_COUNT):
            content = data[1:] if number == data[0] % _COUNT else _slice(number)
            Path(folder, f"{number}.dcm").write_bytes(content)
        header = probe_series(folder)
        if header.bytes > 1 << 20:
            return
        volume = read_told(folder, header)
        alone = [read_values(path).pixels.astype(np.float32) for path in Path(folder).iterdir()]
        planes = sorted(plane.astype(np.float32).tobytes() for plane in volume.voxels)
        wanted = sorted(pixels.tobytes() for pixels in alone)
        assert planes == wanted[: len(planes)] if len(planes) == len(wanted) else set(planes) < set(wanted)


def _slice(number: int, **more: object) -> bytes:
    told = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "ImagePositionPatient": [0, 0, 2.5 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "PixelSpacing": [0.7, 0.7], "RescaleSlope": "1",
        "RescaleIntercept": "-1024", **more,
    }
    return dicoms.written(dicoms.dataset(dicoms.noise((16, 18), seed=number), **told))


def seeds() -> Iterator[bytes]:
    for number in range(_COUNT):
        yield bytes([number]) + _slice(number)
    yield b"\1" + _slice(1, RescaleSlope="0.5")
    yield b"\0" + _slice(_COUNT)
