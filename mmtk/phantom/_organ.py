"""Phantoms of LiTS: CT volumes as ``.nii`` and ``.nii.gz``, organ boxes in zips, volumes oriented unlike their boxes.

The boxes count towards the patient's left, back and head. One test volume has its y axis reversed, as some of LiTS
have, and another, which MedMNIST left out, has its axes swapped.
"""

from __future__ import annotations

import errno
import gzip
import io
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from mmtk.datasets.base import SplitRule
from mmtk.phantom._drawing import Array, Draw

_PUBLISHED = {"train": 115, "val": 16, "test": 69}
_FIRST = {"train": 0, "val": 115, "test": 0}  # volume numbers, from which the split follows
_SWAPPED = 59  # of the test set
_REVERSED = "test-volume-0"
_SIDE = 512
_AIR, _FAT, _TISSUE = -1000, -90, 40
# centre and half extent along x, y and z (of 128), and Hounsfield units; the right side is at low x
_ORGANS: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], int]] = {
    "liver": ((42, 60, 84), (22, 22, 14), 110),
    "kidney-r": ((44, 84, 66), (8, 8, 9), 190),
    "kidney-l": ((84, 84, 68), (8, 8, 9), 190),
    "femur-r": ((34, 66, 14), (7, 7, 13), 700),
    "femur-l": ((94, 66, 14), (7, 7, 13), 700),
    "bladder": ((64, 56, 18), (13, 12, 9), 0),
    "heart": ((70, 52, 110), (15, 13, 12), 160),
    "lung-r": ((38, 66, 110), (15, 22, 16), -820),
    "lung-l": ((94, 66, 110), (13, 22, 16), -820),
    "spleen": ((94, 70, 88), (10, 11, 10), 135),
    "pancreas": ((66, 66, 74), (15, 6, 6), 85),
}
_NUMBERS = {name: number for number, name in enumerate(
    ("liver", "kidney-r", "kidney-l", "femur-r", "femur-l", "bladder", "heart", "lung-r", "lung-l", "spleen",
     "pancreas"), 1)}


def counts(scale: float, split: SplitRule | None) -> dict[str, int]:
    """Volumes of each split, and the swapped one."""
    return {**{name: max(1, round(scale * n)) for name, n in _PUBLISHED.items()}, "swapped": 1}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The boxes, in a zip per set, with Windows line ends."""
    zips = {}
    for name, parts in (("training", ("train", "val")), ("testing", ("test", "swapped"))):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for volume, part in _volumes(counts):
                if part in parts:
                    boxes = _boxes(seed, volume)
                    lines = (f"{organ} {_NUMBERS[organ]} {' '.join(map(str, box))}" for organ, box in boxes.items())
                    place = zipfile.ZipInfo(volume.replace("volume", "segmentation") + ".txt")
                    place.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(place, "".join(f"{line}\r\n" for line in lines))
        zips[f"annotations_on_LiTS/annotations_of_{name}_set.zip"] = packed.getvalue()
    return zips


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each volume; every third is compressed, some lack the voxel size, some are stored above zero."""
    for index, (volume, part) in enumerate(_volumes(counts)):
        folder = "Test" if part in ("test", "swapped") else "Training Batch 1"
        voxels = _draw(seed, volume)
        back = 1 if volume == _REVERSED else -1  # a sign of -1 runs towards the back
        if part == "swapped":
            voxels = voxels.transpose(0, 2, 1)
        elif volume == _REVERSED:
            voxels = voxels[:, ::-1]
        inter = -1024 if index % 4 == 1 else 0
        content = _nifti(voxels - np.int16(inter), inter, back, sized=index % 5 != 3)
        packed = index % 3 == 1
        name = f"{folder}/{volume}.nii" + (".gz" if packed else "")
        yield {name: gzip.compress(content, 1, mtime=0) if packed else content}


def _volumes(counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    for part, first in _FIRST.items():
        numbers = (n for n in range(first, first + counts[part] + 1) if (part, n) != ("test", _SWAPPED))
        for _, number in zip(range(counts[part]), numbers, strict=False):
            yield f"{'test-' if part == 'test' else ''}volume-{number}", part
    yield f"test-volume-{_SWAPPED}", "swapped"


def _depth(seed: int, volume: str) -> int:
    return Draw(seed, f"{volume} depth").between(84, 116)


def _boxes(seed: int, volume: str) -> dict[str, tuple[int, ...]]:
    """Box of each organ in voxels, lower and upper end along x, y and z; bodies differ a little."""
    draw = Draw(seed, f"{volume} boxes")
    lengths = (_SIDE, _SIDE, _depth(seed, volume))
    shift = [draw.between(-3, 3) for _ in range(3)]
    boxes = {}
    for organ, (centre, half, _) in _ORGANS.items():
        box: list[int] = []
        for axis, length in enumerate(lengths):
            middle = centre[axis] + (shift[axis] if axis < 2 else 0) + draw.between(-2, 2)
            extent = half[axis] * draw.between(112, 144)
            low, high = (middle * 128 - extent) * length // 16384, (middle * 128 + extent) * length // 16384
            box += [max(0, low), min(length, high + 1)]
        boxes[organ] = tuple(box)
    return boxes


def _draw(seed: int, volume: str) -> Array:
    """Hounsfield units (z, y, x): a body with an ellipsoid in each organ's box, and grain."""
    draw = Draw(seed, f"{volume} voxels")
    depth = _depth(seed, volume)
    voxels = draw.grain(depth, _SIDE, _SIDE).astype(np.int16) // 8 - 16
    y, x = np.arange(_SIDE)[:, None] - 262, np.arange(_SIDE)[None, :] - 256
    radius = x * x * 25 + y * y * 49
    voxels += np.where(radius < 1_430_000, _TISSUE, np.where(radius < 1_600_000, _FAT, _AIR)).astype(np.int16)
    for organ, box in _boxes(seed, volume).items():
        units = _ORGANS[organ][2] + draw.between(-12, 12)
        spans = [np.arange(box[2 * i], box[2 * i + 1]) for i in range(3)]
        distances = [(2 * span - span[0] - span[-1]) ** 2 * 4096 // len(span) ** 2 for span in spans]
        inside = distances[0][None, None, :] + distances[1][None, :, None] + distances[2][:, None, None] <= 4096
        part = voxels[box[4] : box[5], box[2] : box[3], box[0] : box[1]]
        part[inside] = (part[inside] - _TISSUE).clip(-40, 40) + units
    spine = (x - 8) ** 2 + (y - 118) ** 2 < 24**2
    voxels[:, spine] = voxels[:, spine] // 2 + 380
    if volume == "volume-0":
        voxels[depth * 112 // 128 :] = -1024  # padded at the top: the slices there are blank
    return voxels


def _nifti(voxels: Array, inter: int, back: int, sized: bool) -> bytes:
    """A NIfTI-1 file; LiTS has voxels of 0.7 to 0.9 mm in plane, and for some volumes no size at all."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((0.75, 0.75, 2.5))
    image.SetDirection((1, 0, 0, 0, -back, 0, 0, 0, 1))  # in DICOM's axes, whose y runs towards the back
    with TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii"
        try:
            SimpleITK.WriteImage(image, path)
            content = bytearray(path.read_bytes())
        except RuntimeError:
            content = bytearray()
        if len(content) != 352 + voxels.nbytes:  # on a full disk it writes a part without an error
            raise OSError(errno.EIO, "SimpleITK could not write the whole volume; the disk may be full", str(path))
    struct.pack_into("<f", content, 116, inter)  # SimpleITK cannot write an intercept, and always writes axes
    if not sized:
        struct.pack_into("<3f", content, 80, 0, 0, 0)
        struct.pack_into("<2h", content, 252, 0, 0)
    return bytes(content)
