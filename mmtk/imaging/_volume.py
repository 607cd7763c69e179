"""CT volumes from NIfTI-1 files, as int16 Hounsfield units and never more than one copy of them; their axes.

SimpleITK takes twice a volume's size to read one and passes a ``.nii.gz`` that is cut off without a word, and nibabel
compares no checksum (docs/decisions.md), so the bytes are read here: a plain int16 ``.nii`` is memory-mapped, anything
else is streamed into int16, block by block.
"""

from __future__ import annotations

import gzip
import math
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._axes import Volume, VolumeHeader, axes_of, body_signs, nearest_axes
from mmtk.imaging._files import AGAIN, ImageFile, as_file, damaged, expect_checksum, open_file, read_on
from mmtk.imaging.foreign import describe_any

MAX_VOXELS = 1 << 31  # of a volume: 4 GiB as int16, beyond any CT here
_MAX_BYTES = 1 << 35  # of its file: that many voxels as double, and headers
_BLOCK = 1 << 22  # voxels converted at a time
_HEADER = 348
_FIRST = 352  # byte at which voxels may start in a file that holds them: header and the mark of extensions
_LAST = 1 << 28  # byte up to which extensions may reach
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}
_OTHER_TYPES = {
    1: "single bits", 32: "complex64", 128: "RGB", 1536: "float128", 1792: "complex128", 2048: "complex256",
    2304: "RGBA",
}
_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # mm; who names none means mm
_CONVERT = "save it as NIfTI-1 (.nii or .nii.gz)"


def probe_volume(path: str | os.PathLike[str]) -> VolumeHeader:
    """Read the header of a ``.nii`` or ``.nii.gz`` file. A missing voxel size is no fault: nothing here depends on it.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive.

    Raises
    ------
    ImageError
        If the file cannot be read, is no NIfTI-1 file in one piece, has other than three axes or a type that holds no
        Hounsfield units, or if it is a plain file that is shorter than its header says.
    """
    file = as_file(path)
    with _opened(file) as (stream, packed):
        header = _read_header(stream, file)
    _expect_whole(file, header, packed)
    return header


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """Read a CT volume.

    Values are rounded to whole Hounsfield units, halves up, and cut at the ends of int16.

    Parameters
    ----------
    path : path-like
        A ``.nii`` or ``.nii.gz`` file, on disk or in an archive.

    Returns
    -------
    Volume
        Memory-mapped where the file holds plain int16 on disk.

    Raises
    ------
    ImageError
        For the reasons of `probe_volume`, or if the file is cut off or damaged, or holds NaN.
    """
    file = as_file(path)
    with _opened(file) as (stream, packed):
        header = _read_header(stream, file)
        _expect_whole(file, header, packed)
        shape = header.shape[::-1]
        plain = header.dtype == np.dtype("<i2") and (header.slope, header.inter) == (1.0, 0.0)
        if plain and not packed and isinstance(file, Path):
            start = header.offset - header.offset % mmap.ALLOCATIONGRANULARITY
            length = header.offset + header.bytes - start
            try:
                view = mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ, offset=start)
            except OSError:  # a file system without mapping, or no more room for one: read it
                pass
            else:
                mapped = np.frombuffer(view, np.int16, math.prod(shape), header.offset - start)
                return Volume(mapped.reshape(shape), header.signs, header.spacing, header.axes)
        _skip(stream, header.offset - _HEADER, file)
        voxels = np.empty(math.prod(shape), np.int16)
        if plain:
            _fill(stream, voxels.data.cast("B"), file)
        else:
            _convert(stream, header, voxels, file)
        if packed and stream.read(1):  # its checksum is compared at its very end
            raise ImageError(file, expected=f"{header.bytes} bytes of voxels", found="more", remedy=AGAIN)
        while not isinstance(file, Path) and stream.read(1 << 20):  # and so is that of a file in an archive
            pass
    return Volume(voxels.reshape(shape), header.signs, header.spacing, header.axes)


@contextmanager
def _opened(file: ImageFile) -> Iterator[tuple[IO[bytes], bool]]:
    """The file's stream, unpacked if it is gzip, and whether it was; a checksum that fails goes before other faults."""
    with open_file(file, "CT volume", _MAX_BYTES) as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with open_file(file, "CT volume", _MAX_BYTES) as stream:
            if packed:
                opener, damage = _gzip()
                try:
                    with opener(stream) as unpacked:
                        try:
                            yield unpacked, True
                        except ImageError:
                            read_on(unpacked)  # a damaged file is a better reason than a wrong header
                            raise
                except (damage, OverflowError) as error:
                    raise zlib.error(str(error)) from None
            else:
                yield stream, False
    except ImageError:
        expect_checksum(file, "CT volume")
        raise


def _gzip() -> tuple[Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]], type[Exception]]:
    """What unpacks gzip as a stream, and what it raises for damage: ISA-L, two and a half times as fast as zlib."""
    try:
        from isal import igzip, isal_zlib
    except ImportError:
        return gzip.open, zlib.error  # type: ignore[return-value]
    return igzip.open, isal_zlib.error  # type: ignore[return-value]


def _read_header(stream: IO[bytes], file: ImageFile) -> VolumeHeader:
    data = stream.read(_HEADER)
    order = {b"\x5c\x01\0\0": "<", b"\0\0\x01\x5c": ">"}.get(data[:4])
    if len(data) < _HEADER or order is None or data[344:348] not in (b"n+1\0", b"ni1\0"):
        found, remedy = describe_any(data, _CONVERT)
        if order is not None:
            found, remedy = ("a header cut off", AGAIN) if len(data) < _HEADER else ("one of Analyze 7.5", _CONVERT)
        raise ImageError(file, expected="a NIfTI-1 file", found=found, remedy=remedy)
    if data[344:348] == b"ni1\0":
        raise ImageError(file, expected="header and voxels in one file", found="a header alone", remedy=_CONVERT)
    axes, *dims = struct.unpack_from(order + "8h", data, 40)
    (kind,) = struct.unpack_from(order + "h", data, 70)
    offset, slope, inter = struct.unpack_from(order + "3f", data, 108)
    shape = (dims[0], dims[1], dims[2])
    if not 3 <= axes <= 7 or min(shape) < 1 or any(n > 1 for n in dims[3:axes]) or math.prod(shape) > MAX_VOXELS:
        found = " x ".join(map(str, dims[: max(axes, 0)]))
        raise ImageError(file, expected="a volume of three axes", found=found or "none")
    if kind not in _TYPES:
        found = f"NIfTI data type {kind}" + (f" ({_OTHER_TYPES[kind]})" if kind in _OTHER_TYPES else "")
        remedy = "save its Hounsfield units as int16"
        raise ImageError(file, expected="whole or floating numbers", found=found, remedy=remedy)
    if not _FIRST <= offset < _LAST or offset % 1:  # NaN too; from 0 nibabel reads the header as voxels
        expected = f"voxels from byte {_FIRST} on, behind the header"
        remedy = "save it again with the offset of its voxels"
        raise ImageError(file, expected=expected, found=f"offset {offset:g}", remedy=remedy)
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(inter)):
        slope, inter = 1.0, 0.0  # as the format defines it
    dtype = np.dtype(order + _TYPES[kind])
    return VolumeHeader(shape, dtype, slope, inter, int(offset), *_lie(data, order))


def _lie(data: bytes, order: str) -> tuple[tuple[int, int, int], tuple[float, float, float], str]:
    """Signs, spacing and axes."""
    sizes = struct.unpack_from(order + "3f", data, 80)
    factor = _UNITS.get(data[123] & 7, 0.0)
    known = factor and all(0 < size < math.inf for size in sizes)
    spacing = (sizes[0] * factor, sizes[1] * factor, sizes[2] * factor) if known else (0.0, 0.0, 0.0)
    by_matrix, by_quaternion = _matrices(data, order)
    if by_matrix is None and by_quaternion is None:
        return (0, 0, 0), spacing, ""
    matrix = by_quaternion if by_matrix is None else by_matrix
    assert matrix is not None
    signs, axes = body_signs(matrix), nearest_axes(matrix)
    other = axes if by_quaternion is None else nearest_axes(by_quaternion) or axes
    if axes != other or (0 not in signs and axes != axes_of(signs)):
        axes = ""
    return signs, spacing, axes


def _matrices(data: bytes, order: str) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Steps along the array's axes, by the affine matrix and by the quaternion, where the file has them."""
    qform, sform = struct.unpack_from(order + "2h", data, 252)
    by_matrix = by_quaternion = None
    if sform > 0:
        by_matrix = np.array(struct.unpack_from(order + "12f", data, 280)).reshape(3, 4)[:, :3]
    if qform > 0:
        b, c, d = struct.unpack_from(order + "3f", data, 256)
        a = math.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        last = -1.0 if struct.unpack_from(order + "f", data, 76)[0] < 0 else 1.0
        by_quaternion = np.array([
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c) * last],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b) * last],
            [2 * (b * d - a * c), 2 * (c * d + a * b), (a * a + d * d - b * b - c * c) * last],
        ])
    return by_matrix, by_quaternion


def _expect_whole(file: ImageFile, header: VolumeHeader, packed: bool) -> None:
    if not packed and isinstance(file, Path) and (size := file.stat().st_size) < header.offset + header.bytes:
        raise damaged(file, "CT volume", f"{size} bytes where its header says {header.offset + header.bytes}")


def _skip(stream: IO[bytes], count: int, file: ImageFile) -> None:
    while count:
        taken = len(stream.read(min(count, 1 << 20)))
        if not taken:
            raise damaged(file, "CT volume", "a file cut off before its voxels")
        count -= taken


def _fill(stream: IO[bytes], target: memoryview, file: ImageFile) -> None:
    at = 0
    while at < len(target):
        count = stream.readinto(target[at : at + (1 << 20)])  # type: ignore[attr-defined]
        if not count:
            raise damaged(file, "CT volume", f"a file cut off after {at} of {len(target)} bytes of voxels")
        at += count


def _convert(stream: IO[bytes], header: VolumeHeader, voxels: NDArray[np.int16], file: ImageFile) -> None:
    """Stream numbers of any type into Hounsfield units."""
    buffer = np.empty(min(_BLOCK, len(voxels)), header.dtype)
    for start in range(0, len(voxels), _BLOCK):
        block = buffer[: min(_BLOCK, len(voxels) - start)]
        _fill(stream, block.view(np.uint8).data, file)
        units = block.astype(np.float64) * header.slope + header.inter
        if np.isnan(units).any():
            raise ImageError(file, expected="numbers", found="NaN", remedy="replace NaN, say by -1024 (air)")
        voxels[start : start + len(block)] = np.clip(np.floor(units + 0.5), -32768, 32767)
