"""NIfTI-1 and NIfTI-2 headers."""

from __future__ import annotations

import math
import os
import struct
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._axes import Vector, VolumeHeader, orientation_of, place_of
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._voxels import CONVERT, MAX_VOXELS, Layout
from mmtk.imaging.filetypes import identify, identify_any

_LAST = 1 << 28  # largest accepted voxel offset, after extensions
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}
_OTHER_TYPES = {
    1: "single bits", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256",
    2304: "RGBA",
}
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # in mm; mm is also meant if no unit is given


class _Fields(NamedTuple):
    """Offset and `struct` format of each field in a version of the format."""

    name: str
    length: int
    magic: int
    whole: bytes
    apart: bytes
    dims: tuple[int, str]
    kind: tuple[int, str]
    first: tuple[int, str]
    scale: tuple[int, str]
    sizes: tuple[int, str]
    units: tuple[int, str]
    codes: tuple[int, str]
    quaternion: tuple[int, str]
    rows: tuple[int, str]


_ONE = _Fields(
    "NIfTI-1", 348, 344, b"n+1\0", b"ni1\0", (40, "8h"), (70, "h"), (108, "f"), (112, "2f"), (76, "4f"), (123, "B"),
    (252, "2h"), (256, "6f"), (280, "12f"),
)
_TWO = _Fields(
    "NIfTI-2", 540, 4, b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n", (16, "8q"), (12, "h"), (168, "q"), (176, "2d"),
    (104, "4d"), (500, "i"), (344, "2i"), (352, "6d"), (400, "12d"),
)
_VERSIONS = {
    struct.pack(order + "i", fields.length): (fields, order) for fields in (_ONE, _TWO) for order in "<>"
}
_AND_MARK = 4  # bytes after a header that announce extensions


def read_nifti(stream: IO[bytes], head: bytes, file: ImageFile) -> Layout:
    """Read a header whose first bytes are ``head``."""
    fields, order = _VERSIONS.get(head, (_ONE, ""))
    data = head + stream.read(fields.length - len(head))
    magic = data[fields.magic :][: len(fields.whole)]
    if len(data) < fields.length or not order or magic not in (fields.whole, fields.apart):
        raise _refused(file, data, fields if order else None)
    if magic == fields.apart:
        problem = "is the header of a .hdr/.img pair; header and voxels must be in one file"
        raise ImageError(file, problem, remedy=CONVERT)

    def get(place: tuple[int, str]) -> tuple[float, ...]:
        return struct.unpack_from(order + place[1], data, place[0])

    axes, *dims = map(int, get(fields.dims))
    kind, (offset,), (slope, inter) = int(get(fields.kind)[0]), get(fields.first), get(fields.scale)
    shape = (dims[0], dims[1], dims[2])
    if not 3 <= axes <= 7 or min(shape) < 1 or any(n > 1 for n in dims[3:axes]) or math.prod(shape) > MAX_VOXELS:
        size = " x ".join(map(str, dims[: max(axes, 0)]))
        raise ImageError(file, found=f"size {size}" if size else "no axes", expected="a volume with three axes")
    if kind not in _TYPES:
        problem = f"has the unsupported NIfTI data type {kind}"
        problem += f" ({_OTHER_TYPES[kind]})" if kind in _OTHER_TYPES else ""
        raise ImageError(file, problem, remedy="save its Hounsfield units as int16")
    first = fields.length + _AND_MARK
    if not first <= offset < _LAST or offset % 1:  # also NaN; with offset 0 nibabel reads the header as voxels
        remedy = "save it again with the right vox_offset"
        raise ImageError(file, found=f"voxel offset {offset:g}", expected=f"at least {first}", remedy=remedy)
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(inter)):
        slope, inter = 1.0, 0.0  # as the format defines it
    last, *sizes = get(fields.sizes)
    factor = _UNITS.get(int(get(fields.units)[0]) & 7, 0.0)
    x, y, z = sizes if factor and all(0 < size * factor < math.inf for size in sizes) else (0.0, 0.0, 0.0)
    signs, matrix_axes, affine = _geometry_of(
        get(fields.codes), get(fields.quaternion), last < 0, (x, y, z), get(fields.rows)
    )
    dtype = np.dtype(order + _TYPES[kind])
    spacing = (x * factor, y * factor, z * factor)
    place = (None, None) if affine is None or not factor else place_of(affine[:, :3], affine[:, 3], factor)
    header = VolumeHeader(shape, dtype, slope, inter, int(offset), signs, spacing, matrix_axes, *place)
    return Layout(header, fields.length, ends=False)


def _refused(file: ImageFile, data: bytes, fields: _Fields | None) -> ImageError:
    """The error for a file without a valid NIfTI header; `fields` is the version that its first bytes announce."""
    if fields is not None and len(data) < fields.length:
        return damaged(file, f"{fields.name} file", "it is cut off inside its header")
    if fields is _TWO:
        return damaged(file, "NIfTI-2 file", "its magic number is corrupt, as after a transfer in text mode")
    file_type, remedy = identify_any(data, CONVERT)
    if file_type == "a DICOM file":
        remedy = "give the folder of its series"
    if fields is _ONE:
        file_type, remedy = "an Analyze 7.5 file", CONVERT
    elif os.fspath(file).lower().removesuffix(".gz").endswith(".img") and identify(data, CONVERT) is None:
        file_type, remedy = "the voxel file of a .hdr/.img pair", CONVERT
    return ImageError(file, f"is {file_type}, not a NIfTI, NRRD or MetaImage file", remedy=remedy)


def _geometry_of(
    codes: tuple[float, ...], quaternion: tuple[float, ...], mirrored: bool, sizes: Vector, rows: tuple[float, ...]
) -> tuple[tuple[int, int, int], str, NDArray[np.float64] | None]:
    """Signs, axes and affine matrix, from the sform or else the quaternion.

    If the two disagree about the axes, neither axes nor a matrix; without either, no matrix.
    """
    turn = _turned_by(quaternion[:3], mirrored) if codes[0] > 0 else None
    if codes[1] > 0:
        affine = np.array(rows).reshape(3, 4)
        signs, axes = orientation_of(affine[:, :3])
        other = "" if turn is None else orientation_of(turn)[1]
        return (signs, axes, affine) if other in ("", axes) else (signs, "", None)
    if turn is None:
        return (0, 0, 0), "", None
    return *orientation_of(turn), np.column_stack([turn * sizes, quaternion[3:]])


def _turned_by(quaternion: tuple[float, ...], mirrored: bool) -> NDArray[np.float64]:
    b, c, d = quaternion
    a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
    last = -1.0 if mirrored else 1.0
    return np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c) * last],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b) * last],
        [2 * (b * d - a * c), 2 * (c * d + a * b), (a * a + d * d - b * b - c * c) * last],
    ])
