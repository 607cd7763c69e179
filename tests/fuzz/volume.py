"""Volumes as NIfTI-2, NRRD and MetaImage: refused, or of the shape their header states and of the values that lie
there, as int16 or float32."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from mmtk.imaging import probe_volume
from tests.fuzz import InMemory
from tests.fuzz.told import read_told
from tests.test_imaging_volume import CODES

NRRD = """NRRD0005
# comment
key:=value
type: {kind}
dimension: 3
space: right-anterior-superior
sizes: 4 3 2
space directions: (0,-0.5,0) (2,0.1,0) (0,0,3)
space units: "mm" "mm" "mm"
endian: {order}
encoding: {packing}

"""
META = """ObjectType = Image
NDims = 3
BinaryDataByteOrderMSB = {order}
CompressedData = {packing}
TransformMatrix = 1 0 0 0 0.9 0.1 0 -0.1 0.9
ElementSpacing = 1 2.5 3e0
DimSize = 4 3 2
ElementType = {kind}
ElementDataFile = LOCAL
"""
TYPES = (("int8", "CHAR", "i1"), ("uint16", "USHORT", "u2"), ("short", "SHORT", "i2"), ("float", "FLOAT", "f4"))


def check(data: bytes) -> None:
    file = InMemory(data)
    header = probe_volume(file)
    if header.bytes > 1 << 20:
        return
    volume = read_told(file, header)
    if header.axes:
        assert sorted(header.turned_shape) == sorted(header.shape)
    stored = data[header.offset : header.offset + header.bytes]
    plain = {b"NRRD": b"encoding: raw\n", b"Obje": b"CompressedData = False\n"}.get(data[:4])
    if plain and plain in data:
        values = np.frombuffer(stored, header.dtype).astype(np.float32)
        assert np.array_equal(volume.voxels.ravel(), values)


def seeds() -> Iterator[bytes]:
    for (nrrd, meta, kind), order in itertools.product(TYPES, "<>"):
        voxels = np.arange(24).astype(order + kind).tobytes()
        endian = {"<": "little", ">": "big"}[order]
        for packing, packed in (("raw", voxels), ("gzip", gzip.compress(voxels, mtime=0))):
            yield NRRD.format(kind=nrrd, order=endian, packing=packing).encode() + packed
        for packing, packed in (("False", voxels), ("True", zlib.compress(voxels))):
            yield META.format(kind="MET_" + meta, order=order == ">", packing=packing).encode() + packed
        yield nifti2(voxels, kind, order)


def nifti2(voxels: bytes, kind: str, order: str) -> bytes:
    header = bytearray(544)
    struct.pack_into(order + "i8s2h", header, 0, 540, b"n+2\0\r\n\x1a\n", CODES[kind], 8 * np.dtype(kind).itemsize)
    struct.pack_into(order + "8q", header, 16, 3, 4, 3, 2, 1, 1, 1, 1)
    struct.pack_into(order + "4d", header, 104, 1, 0.5, 2, 3)
    struct.pack_into(order + "q2d", header, 168, 544, 1.0, 0.0)
    struct.pack_into(order + "2i", header, 344, 0, 1)
    struct.pack_into(order + "12d", header, 400, 0, -2, 0, 0, 0.5, 0, 0, 0, 0, 0, 3, 0)
    struct.pack_into(order + "i", header, 500, 2)
    return bytes(header) + voxels
