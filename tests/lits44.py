"""LiTS training volume 44, the one whose originals are to hand: as an array, and as a NIfTI file in LiTS's layout.

Its slices are those of 3D-IRCADb-01, patient 17, which may be read but not be passed on, changed or not: what is
written here belongs in a test's own temporary folder.
"""

from __future__ import annotations

import csv
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

SPACING = (0.743, 0.743, 1.6)  # of its header, in mm; no pixel depends on it
SHAPE = (512, 512, 119)
ANNOTATIONS = Path("sources/lits/annotations_on_LiTS")
ORGANS = (  # as the box files name them, in the order of the classes
    "bladder", "femur-l", "femur-r", "heart", "kidney-l", "kidney-r", "liver", "lung-l", "lung-r", "pancreas", "spleen"
)


def volume(data):
    """The voxels [x, y, z] in int16 as LiTS's file has them: patient 17 with its y axis reversed, z upwards."""
    sitk = pytest.importorskip("SimpleITK")
    archive = data / "sources/lits44/PATIENT_DICOM.zip"
    if not archive.is_file():
        pytest.skip(f"{archive.name} of volume 44 is not here")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as slices:
            slices.extractall(folder)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(Path(folder) / "PATIENT_DICOM")))  # upwards
        image = reader.Execute()
    voxels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)[:, ::-1]
    assert (voxels.shape, voxels.dtype) == (SHAPE, np.int16)
    assert image.GetDirection() == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    np.testing.assert_allclose(image.GetSpacing(), SPACING)
    return voxels


def all_boxes(data):
    """Boxes (x0, x1, y0, y1, z0, z1) of all volumes: (source split, number) -> organ -> box."""
    found = {}
    for archive in sorted((data / ANNOTATIONS).glob("*.zip")):
        part = "test" if "testing" in archive.name else "train"
        with zipfile.ZipFile(archive) as files:
            for name in files.namelist():
                lines = [line.split() for line in files.read(name).decode().splitlines() if line.strip()]
                number = int(name.removesuffix(".txt").rpartition("-")[2])
                found[part, number] = {organ: tuple(map(int, box)) for organ, _, *box in lines}
    return found


def boxes(data):
    """The volume's own boxes."""
    return all_boxes(data)["train", 44]


def official_rows(data):
    """Where its axial slices stand in the official train split: (row, organ, slice of the grid, label)."""
    with (data / "csv/organamnist_volume44_rows.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [(int(row["train_row"]), row["organ"], int(row["j_1mm"]), int(row["label"])) for row in rows]


def nifti(voxels, signs=(-1, 1, 1)):
    """A NIfTI-1 file of [x, y, z] whose axes run towards right, anterior and superior (+1), or away from them (-1)."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)  # int16
    struct.pack_into("<4f", header, 76, 1.0, *SPACING)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, 0.0)  # offset, slope, intercept
    header[123] = 2  # mm
    struct.pack_into("<2h", header, 252, 0, 1)  # the matrix counts, the quaternion does not
    for axis, (sign, step) in enumerate(zip(signs, SPACING, strict=True)):
        struct.pack_into("<f", header, 280 + 20 * axis, sign * step)
    header[344:348] = b"n+1\0"
    return bytes(header) + voxels.astype("<i2").tobytes(order="F")


def write_source(folder, data, signs=(-1, 1, 1), voxels=None):
    """Lay `folder` out as LiTS: ``volume-44.nii`` and the boxes of all volumes. Voxels read before spare a second."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "volume-44.nii").write_bytes(nifti(volume(data) if voxels is None else voxels, signs))
    (folder / "annotations_on_LiTS").symlink_to((data / ANNOTATIONS).resolve())
    return folder
