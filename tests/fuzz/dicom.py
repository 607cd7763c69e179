"""Single DICOM images: refused, or the values that pydicom gives, if it reads them: it refuses some that are whole."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut
from pydicom.uid import RLELossless

from mmtk.errors import ImageError
from mmtk.imaging import dicom_subject, probe_values, read_values
from tests import dicoms
from tests.fuzz import InMemory


def check(data: bytes) -> None:
    file = InMemory(data)
    if data[128:132] != b"DICM":
        return
    header = probe_values(file)
    if header.height * header.width > 1 << 16:
        return
    values = read_values(file)
    assert values.pixels.dtype in (np.int16, np.float32)
    assert values.pixels.shape == (header.height, header.width)
    assert "\n" not in refusal(values.grey_by_voi) + refusal(lambda: dicom_subject(file))
    theirs = by_pydicom(data)
    if theirs is not None:
        assert np.array_equal(values.pixels, theirs.astype(values.pixels.dtype)), "other values than pydicom's"


def refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except ImageError as error:
        return str(error)
    return ""


def by_pydicom(data: bytes) -> np.ndarray | None:
    """None of what pydicom refuses, or reads in another way by design: MONOCHROME1 as stored, loose bits as pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pydicom.dcmread(io.BytesIO(data))
            codes = read.pixel_array
            loose = read.BitsStored < read.BitsAllocated and bool(
                (codes.astype(np.int64) >> read.BitsStored - int(read.PixelRepresentation) & ~-(codes < 0)).any()
            )
            if loose or read.PhotometricInterpretation != "MONOCHROME2" or "ModalityLUTSequence" in read:
                return None
            return np.asarray(apply_modality_lut(codes, read))
    except Exception:  # whatever it does not like
        return None


def seeds() -> Iterator[bytes]:
    told = {"WindowCenter": "2000", "WindowWidth": "900", "RescaleSlope": "1.0", "RescaleIntercept": "-1024.0"}
    noise = dicoms.noise((16, 18))
    for syntax in (dicoms.IMPLICIT, dicoms.EXPLICIT, dicoms.BIG):
        yield dicoms.written(dicoms.dataset(noise, syntax, **told))
    yield dicoms.written(dicoms.dataset(noise.astype(np.uint8), PhotometricInterpretation="MONOCHROME1"))
    yield dicoms.written(dicoms.dataset(noise.astype(np.int16) - 2048, RescaleSlope="0.5", RescaleIntercept="3"))
    tables = {"VOILUTSequence": dicoms.lut(0, 12, np.arange(4096) & 4095)}
    yield dicoms.written(dicoms.dataset(noise & 255, BitsStored=8, **tables))
    rows = b"".join(bytes([15]) + noise.astype(np.uint8).tobytes()[at : at + 16] for at in range(0, 288, 16))
    packed = struct.pack("<16I", 1, 64, *[0] * 14) + rows
    yield dicoms.written(dicoms.dataset(noise.astype(np.uint8), RLELossless, PixelData=encapsulate([packed])))
