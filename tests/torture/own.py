"""Mutants of what one's own data comes as: DICOM, alone and in series, images of 16 bits, and volumes of other formats.

Most of these have no checksum: a changed byte that leaves them well-formed passes. What changes their length may not,
but for NIfTI, behind whose voxels anything may stand.
"""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from mmtk.datasets.archives import ZipArchive
from mmtk.imaging import probe_values, probe_volume, read_series, read_values, read_volume
from tests import dicoms
from tests.fuzz import InMemory, volume
from tests.own_data import toml
from tests.test_imaging_values import deep, tiff16
from tests.torture.damage import damaged
from tests.torture.mutants import Attempt, Mutant, Prepare
from tests.torture.tally import READ, SAME, SILENT

KINDS = ("dicom", "dicom-implicit", "dicom-rle", "dicom-zip", "series", "png16", "tiff16", "nifti2", "nrrd", "nrrd-gz",
         "mha", "mha-packed")
_CHECKED = ("png16", "dicom-zip")
_PACKED = ("nrrd-gz", "mha-packed")  # whose voxels alone have a checksum
_LARGEST = 1 << 24
Facts = tuple[object, ...]


def own_mutants(kind: str) -> Prepare:
    """Damage to a file of one's own data."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        content = _drawn(kind)
        look = _look(kind, work)
        undisturbed = look(content)
        header = len(content) - _voxels_end(content) if kind in _PACKED else 0

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            moved = len(data) != len(content) and (kind != "nifti2" or len(data) < len(content))
            strict = kind in _CHECKED or moved or (header and data[:header] == content[:header])

            def judge() -> str:
                return SAME if look(data) == undisturbed else SILENT if strict else READ

            return Mutant(told, judge)

        return attempt

    return prepare


def _voxels_end(content: bytes) -> int:
    """Bytes of the packed voxels."""
    head = content.index(b"\n\n") + 2 if content.startswith(b"NRRD") else content.index(b"LOCAL\n") + 6
    return len(content) - head


def _drawn(kind: str) -> bytes:
    told = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": "40", "WindowWidth": "400"}
    noise = dicoms.noise((18, 20))
    if kind == "dicom-rle":
        rows = b"".join(bytes([17]) + noise.astype(np.uint8).tobytes()[at : at + 18] for at in range(0, 360, 18))
        packed = struct.pack("<16I", 1, 64, *[0] * 14) + rows
        return dicoms.written(dicoms.dataset(noise.astype(np.uint8), RLELossless, PixelData=encapsulate([packed])))
    if kind in ("series", "nifti2"):
        return _slice(1) if kind == "series" else volume.nifti2(_voxels().tobytes(), "i2", "<")
    if kind.startswith("dicom"):
        syntax = dicoms.IMPLICIT if kind == "dicom-implicit" else dicoms.EXPLICIT
        content = dicoms.written(dicoms.dataset(noise, syntax, **told))
        return _zipped(content) if kind == "dicom-zip" else content
    if kind == "png16":
        return bytes(cv2.imencode(".png", deep((20, 31)))[1].tobytes())
    if kind == "tiff16":
        return bytes(tiff16(deep((17, 19)), "<", 6))
    voxels = _voxels().tobytes()
    if kind.startswith("nrrd"):
        packing, body = ("gzip", gzip.compress(voxels, mtime=0)) if kind == "nrrd-gz" else ("raw", voxels)
        return volume.NRRD.format(kind="short", order="little", packing=packing).encode() + body
    body = zlib.compress(voxels) if kind == "mha-packed" else voxels
    return volume.META.format(kind="MET_SHORT", order="False", packing=kind == "mha-packed").encode() + body


def _voxels() -> np.ndarray:
    """As many as the headers of the fuzz targets say."""
    return np.random.default_rng(3).integers(-1000, 1000, 24).astype("<i2")


def _slice(number: int) -> bytes:
    return dicoms.written(dicoms.dataset(
        dicoms.noise((18, 20), seed=number), SOPClassUID="1.2.840.10008.5.1.4.1.1.2", RescaleSlope="1",
        RescaleIntercept="-1024", ImagePositionPatient=[0, 0, 2.5 * number], PixelSpacing=[0.7, 0.7],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
    ))


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.dcm"), content)
    return file.getvalue()


# ------------------------------------------------------------------------------ sources to build from


def draw_own(folder: Path) -> None:
    """DICOM files of two classes in a folder each, the first ones PNG of 16 bits, and their dataset file."""
    for kind in ("normal", "sick"):
        (folder / kind).mkdir(parents=True)
        for number in range(6):
            pixels = dicoms.noise((40, 44), seed=number + 10 * (kind == "sick"))
            if number:
                dicoms.file(folder / kind, pixels, name=f"p{number}.dcm")
            else:
                cv2.imwrite(str(folder / kind / "p0.png"), pixels)
    toml(folder / "clinic.toml", images={"files": "{class}/{subject}.*"}, window={"percentiles": [1, 99]})


def draw_organs(folder: Path) -> None:
    """Volumes of six patients as MetaImage, with masks, and their dataset file."""
    classes = {"liver": 1, "kidney": 2}
    for patient in range(6):
        place = folder / f"pat{patient}"
        place.mkdir(parents=True)
        shape = (6, 24, 26)
        voxels = np.random.default_rng(patient).integers(-100, 200, shape).astype("<i2")
        mask = np.zeros(shape, "<i2")
        mask[1:5, 4:14, 3:13], mask[1:4, 14:22, 12:24] = 1, 2
        for name, values in (("ct", voxels), ("seg", mask)):
            text = volume.META.format(kind="MET_SHORT", order="False", packing="True")
            text = text.replace("DimSize = 4 3 2", "DimSize = 26 24 6")
            (place / f"{name}.mha").write_bytes(text.encode() + zlib.compress(values.tobytes()))
    toml(
        folder / "organs.toml", flag="organsown", classes=None, modality="CT",
        volumes={"image": "{subject}/ct.mha", "mask": "{subject}/seg.mha", "organs": classes, "plane": "axial"},
        window={"level": 50, "width": 400},
    )


# ------------------------------------------------------------------------------ what is read of them


def _look(kind: str, work: Path) -> Callable[[bytes], Facts]:
    if kind == "dicom-zip":
        return lambda content: _in_zip(content, work / "own.zip")
    if kind == "series":
        return lambda content: _of_series(content, work / "series")
    return _of_image if kind.startswith(("dicom", "png", "tiff")) else lambda content: _of_volume(content, work)


def _of_image(content: bytes) -> Facts:
    file = InMemory(content)
    probe_values(file)
    values = read_values(file).pixels
    return values.dtype, values.shape, values.tobytes()


def _in_zip(content: bytes, path: Path) -> Facts:
    path.write_bytes(content)
    archive = ZipArchive(path)
    try:
        return tuple((name, read_values(archive.member(name)).pixels.tobytes()) for name in archive.names)
    finally:
        archive.file.close()


def _of_series(content: bytes, folder: Path) -> Facts:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.dcm").write_bytes(content if number == 1 else _slice(number))
    voxels = read_series(folder, exact=True).voxels
    return voxels.dtype, voxels.shape, voxels.tobytes()


def _of_volume(content: bytes, work: Path) -> Facts:
    """Read from a disk, where lengths are known."""
    path = work / "volume"
    path.write_bytes(content)
    if probe_volume(path).bytes > _LARGEST:
        return ("too large",)
    voxels = read_volume(path, exact=True).voxels
    return voxels.dtype, voxels.shape, voxels.tobytes()
