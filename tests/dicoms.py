"""DICOM files drawn by pydicom, and the parts of them that damage is done to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

IMPLICIT, EXPLICIT, BIG = ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian
NAME = "Doe^Jane"


def dataset(pixels: NDArray[Any], syntax: UID = EXPLICIT, **more: Any) -> FileDataset:
    """A grey image of 12 bits where its numbers are of 16, with what else is given; None leaves an element out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = more.get("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1")
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    meta.TransferSyntaxUID = syntax
    drawn = FileDataset(
        "", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=syntax == IMPLICIT,
        is_little_endian=syntax != BIG,
    )
    bits = pixels.dtype.itemsize * 8
    told = {
        "SOPClassUID": meta.MediaStorageSOPClassUID, "SOPInstanceUID": "1.2.3.4", "Modality": "DX",
        "PatientName": NAME, "PatientID": "p7", "SeriesInstanceUID": "1.2.5",
        "Rows": pixels.shape[0], "Columns": pixels.shape[1], "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits, "BitsStored": 12 if bits == 16 else bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"), **more,
    }
    told.setdefault("HighBit", told["BitsStored"] - 1)
    for key, value in told.items():
        if value is not None:
            setattr(drawn, key, value)
    if "PixelData" not in more:
        drawn.PixelData = pixels.astype(pixels.dtype.newbyteorder(">" if syntax == BIG else "<")).tobytes()
        if len(drawn.PixelData) % 2:
            drawn.PixelData += b"\0"
    if "PixelData" in drawn:
        drawn["PixelData"].VR = "OB" if bits == 8 or syntax.is_compressed else "OW"
    return drawn


def written(drawn: FileDataset) -> bytes:
    stream = io.BytesIO()
    drawn.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def file(folder: Path, pixels: NDArray[Any], syntax: UID = EXPLICIT, name: str = "a.dcm", **more: Any) -> Path:
    path = folder / name
    path.write_bytes(written(dataset(pixels, syntax, **more)))
    return path


def lut(first: int, bits: int, entries: NDArray[Any], kind: str = "US") -> list[Dataset]:
    """A sequence of one look-up table."""
    item = Dataset()
    item.add_new(0x00283002, kind, [len(entries) % (1 << 16), first, bits])
    item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
    return [item]


def noise(shape: tuple[int, int] = (20, 24), bits: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 1 << bits, shape).astype(np.uint16)
