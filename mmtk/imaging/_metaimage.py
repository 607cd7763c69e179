"""MetaImage headers: ``.mha``, and ``.mhd`` with the voxels in a separate file."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import IO, Literal

import numpy as np

from mmtk.imaging._axes import Steps, Vector, VolumeHeader, orientation_of, place_of
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._voxels import CONVERT, MAX_VOXELS, Layout, TextHeader, lines_of

_TYPES = {
    "met_char": "i1", "met_uchar": "u1", "met_short": "i2", "met_ushort": "u2", "met_int": "i4", "met_uint": "u4",
    "met_long": "i4", "met_ulong": "u4", "met_long_long": "i8", "met_ulong_long": "u8", "met_float": "f4",
    "met_double": "f8",
}
_TRUTHS = {"true": True, "false": False}
_USUAL = {  # the only supported values; SimpleITK silently ignores a scale
    "ObjectType": "Image", "BinaryData": "True", "ElementNumberOfChannels": "1",
    "ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0",
}
_NAMES = {
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB", "Orientation": "TransformMatrix", "Rotation": "TransformMatrix",
    "Position": "Offset", "Origin": "Offset",
}

_TO_RAS = np.array([[-1], [-1], [1]])  # from axes that run to the left, back and head


def read_metaimage(stream: IO[bytes], head: bytes, file: ImageFile) -> Layout:
    """Read a header whose first bytes are ``head``."""
    header, taken = _fields(stream, head, file)
    dtype = np.dtype(header.choice("ElementType", _TYPES))
    if header.choice("BinaryDataByteOrderMSB", _TRUTHS, default="False"):
        dtype = dtype.newbyteorder(">")
    for name, usual in _USUAL.items():
        if (value := header.fields.get(name, usual)).lower() != usual.lower():
            raise header.invalid(name, value, usual, CONVERT)
    sizes = header.whole("DimSize")
    if header.whole("NDims") != [len(sizes)]:
        raise header.invalid("DimSize", header.fields["DimSize"], f"{header.fields['NDims']} sizes")
    if len(sizes) < 3 or min(sizes) < 1 or set(sizes[3:]) - {1} or math.prod(sizes) > MAX_VOXELS:
        raise header.invalid("size", " x ".join(map(str, sizes)), "a volume with three axes")
    shape = (sizes[0], sizes[1], sizes[2])
    apart = header.numbers("ElementSpacing")[:3]
    known = len(apart) == 3 and all(0 < size < math.inf for size in apart)
    spacing = (apart[0], apart[1], apart[2]) if known else (0.0, 0.0, 0.0)
    signs, axes, origin, steps = _geometry_of(header, len(sizes), spacing)
    name = header.get("ElementDataFile")
    if re.match(r"LIST\b|.*%", name):
        raise header.unsupported(f"has its voxels in several files (ElementDataFile = {name})")
    data = None if name.upper() == "LOCAL" else header.beside(name)
    packing: Literal["", "zlib"] = "zlib" if header.choice("CompressedData", _TRUTHS, default="False") else ""
    offset = _offset(header, packing, data, math.prod(shape) * dtype.itemsize) + (0 if data else taken)
    whole = VolumeHeader(shape, dtype, 1.0, 0.0, offset, signs, spacing, axes, origin, steps)
    return Layout(whole, taken, data, packing)


def _fields(stream: IO[bytes], head: bytes, file: ImageFile) -> tuple[TextHeader, int]:
    header = TextHeader(file, "MetaImage")
    for line, taken in lines_of(stream, head, header):
        name, equals, value = line.partition("=")
        if not equals and line.strip():
            raise damaged(file, "MetaImage file", f"malformed header line {line[:80]!a}")
        if equals:
            name = name.strip()
            header.add(_NAMES.get(name, name), value)
        if name == "ElementDataFile":
            return header, taken
    raise damaged(file, "MetaImage file", "its header is cut off before ElementDataFile")


def _geometry_of(
    header: TextHeader, count: int, spacing: Vector
) -> tuple[tuple[int, int, int], str, Vector | None, Steps | None]:
    """Signs, axes, origin and steps, from the matrix whose rows are steps towards left, posterior and superior."""
    turn, offset = header.numbers("TransformMatrix"), header.numbers("Offset")
    if offset and len(offset) != count:
        raise header.invalid("Offset", header.fields["Offset"], f"{count} numbers")
    first = np.array(offset[:3]) * _TO_RAS[: len(offset), 0]
    if not turn:
        return (0, 0, 0), "", place_of(np.zeros((3, 3)), first)[0], None
    if len(turn) != count * count:
        raise header.invalid("TransformMatrix", header.fields["TransformMatrix"], f"{count * count} numbers")
    matrix = np.array(turn).reshape(count, count)[:3, :3].T * _TO_RAS
    return *orientation_of(matrix), *place_of(matrix * spacing, first)


def _offset(header: TextHeader, packing: str, data: Path | None, length: int) -> int:
    """Bytes to skip before the voxels."""
    count = header.whole("HeaderSize") if "HeaderSize" in header.fields else [0]
    if len(count) > 1 or count[0] < -1 or (count[0] and (packing or not data)):
        raise header.unsupported(f"has other data before its voxels (HeaderSize = {header.fields['HeaderSize']})")
    return header.at_end(data, length) if data and count[0] < 0 else count[0]
