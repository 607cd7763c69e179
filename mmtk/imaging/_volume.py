"""Read volumes from NIfTI, NRRD and MetaImage files, with at most one copy in memory; CT as int16 Hounsfield units.

SimpleITK needs twice a volume's size to read it, silently accepts a ``.nii.gz`` that is cut off and compares no
checksum, nor does nibabel (docs/decisions.md). So the bytes are read here: plain int16 is memory-mapped, anything else
is streamed into the result block by block.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._axes import Volume, VolumeHeader
from mmtk.imaging._files import ImageFile, as_file, damaged, open_checked, open_file, reading
from mmtk.imaging._voxels import KIND, MAX_BYTES, Layout, fill, unpacked, voxels_of

_BLOCK = 1 << 22  # voxels converted at a time
_ENDS = np.iinfo(np.int16)
_NARROW = ("i1", "u1", "i2", "u2", "f4")  # float32 represents all their values exactly


def probe_volume(path: str | os.PathLike[str]) -> VolumeHeader:
    """Read the header of a volume without its voxels. A missing voxel size is not an error.

    Parameters
    ----------
    path : path-like
        As for `read_volume`.

    Returns
    -------
    VolumeHeader

    Raises
    ------
    ImageError
        If the file cannot be read, is not NIfTI, NRRD or MetaImage, does not have three axes, has an unsupported data
        type, or is uncompressed and not as long as its header implies.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.imaging.probe_volume("breastmnist.npz")
    ... except mmtk.MmtkError as error:
    ...     print(error)
    breastmnist.npz: is a zip archive, not a NIfTI, NRRD or MetaImage file; unpack it
    """
    file = as_file(path)
    if isinstance(file, Path) and os.path.isdir(file):
        from mmtk.imaging._series import probe_series

        return probe_series(file)
    with _opened(file) as (stream, packed):
        layout = _read_header(stream, file)
    _expect_whole(file, layout, packed)
    return layout.header


def read_volume(path: str | os.PathLike[str], exact: bool = False) -> Volume:
    """Read a volume, by default as integer Hounsfield units.

    Parameters
    ----------
    path : path-like
        NIfTI-1 or -2 (``.nii``, ``.nii.gz``), NRRD (``.nrrd``; ``.nhdr`` with its voxels in the same folder) or
        MetaImage (``.mha``; ``.mhd`` likewise), on disk or in an archive, recognised by its first bytes; or the folder
        of a DICOM series.
    exact : bool
        Keep values unrounded, as needed for MR and PET: int16 if all are integers and fit, else float32. By default
        they are rounded to integers, halves up, and clipped to int16.

    Returns
    -------
    Volume
        Memory-mapped if the file holds plain int16 on disk.

    Raises
    ------
    ImageError
        As for `probe_volume`, and if the file is cut off or damaged, or contains NaN (with `exact`, any value that
        float32 cannot represent).

    Examples
    --------
    >>> import numpy as np
    >>> import mmtk
    >>> fields = {"ObjectType": "Image", "NDims": "3", "DimSize": "2 2 2", "ElementType": "MET_SHORT",
    ...           "ElementSpacing": "1 1 2.5", "ElementDataFile": "LOCAL"}
    >>> with open("ct.mha", "wb") as file:
    ...     _ = file.write("".join(f"{key} = {value}\\n" for key, value in fields.items()).encode())
    ...     _ = file.write(np.arange(8, dtype="<i2").tobytes())
    >>> volume = mmtk.imaging.read_volume("ct.mha")
    >>> volume.voxels.shape, volume.spacing
    ((2, 2, 2), (1.0, 1.0, 2.5))
    """
    file = as_file(path)
    if isinstance(file, Path) and os.path.isdir(file):
        from mmtk.imaging._series import read_series

        return read_series(file, exact)
    with _opened(file) as (stream, packed):
        layout = _read_header(stream, file)
        _expect_whole(file, layout, packed)
        header = layout.header
        with voxels_of(stream, layout, file) as content:
            voxels = _read(content, layout, file, packed, exact)
        while not isinstance(file, Path) and stream.read(1 << 20):  # an archive's checksum is compared at the end
            pass
    voxels = voxels.reshape(header.shape[::-1])
    return Volume(voxels, header.signs, header.spacing, header.axes, header.origin, header.steps)


def read_mask(path: str | os.PathLike[str]) -> Volume:
    """Read a label map: integers from -32768 to 32767, stored in any data type.

    Parameters
    ----------
    path : path-like
        As for `read_volume`.

    Returns
    -------
    Volume
        With voxels of int16.

    Raises
    ------
    ImageError
        As for `read_volume`, and if any value is not such an integer.

    Examples
    --------
    >>> import numpy as np
    >>> import mmtk
    >>> fields = {"ObjectType": "Image", "NDims": "3", "DimSize": "2 2 2", "ElementType": "MET_UCHAR",
    ...           "ElementDataFile": "LOCAL"}
    >>> with open("mask.mha", "wb") as file:
    ...     _ = file.write("".join(f"{key} = {value}\\n" for key, value in fields.items()).encode())
    ...     _ = file.write(bytes([0, 0, 1, 1, 0, 0, 2, 2]))
    >>> np.unique(mmtk.imaging.read_mask("mask.mha").voxels)
    array([0, 1, 2], dtype=int16)
    """
    volume = read_volume(path, exact=True)
    if volume.voxels.dtype != np.int16:
        problem = f"is not a label map: it has values other than integers from {_ENDS.min} to {_ENDS.max}"
        raise ImageError(path, problem, remedy="give the mask, not the image")
    return volume


def _read(content: IO[bytes], layout: Layout, file: ImageFile, packed: bool, exact: bool) -> NDArray[Any]:
    header, data = layout.header, layout.data or file
    plain = header.dtype == np.dtype("<i2") and (header.slope, header.inter) == (1.0, 0.0)
    if plain and not (packed or layout.packing or header.offset % 2) and isinstance(data, Path):
        mapped = _mapped(content, header)
        if mapped is not None:
            return mapped
    voxels: NDArray[Any] = np.empty(math.prod(header.shape), np.int16)
    if plain:
        fill(content, voxels.data.cast("B"), data)
    elif exact:
        voxels = _convert_exactly(content, header, voxels, data)
    else:
        _convert(content, header, voxels, data)
    if (packed or layout.packing or layout.ends) and content.read(1):  # a checksum is compared at the end
        raise damaged(data, KIND, f"it has more than {header.bytes} bytes of voxels")
    return voxels


def _mapped(stream: IO[bytes], header: VolumeHeader) -> NDArray[np.int16] | None:
    start = header.offset - header.offset % mmap.ALLOCATIONGRANULARITY
    length = header.offset + header.bytes - start
    try:
        view = mmap.mmap(stream.fileno(), length, access=mmap.ACCESS_READ, offset=start)
    except OSError:  # the file system does not support mapping, or the address space is full: read it instead
        return None
    return np.frombuffer(view, np.int16, math.prod(header.shape), header.offset - start)


@contextmanager
def _opened(file: ImageFile) -> Iterator[tuple[IO[bytes], bool]]:
    """The file's stream, decompressed if it is gzip, and whether it is; a wrong checksum takes precedence over errors.
    """
    with open_file(file, KIND, MAX_BYTES) as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with open_checked(file, KIND, MAX_BYTES) as stream, unpacked(stream, "gzip" if packed else "") as content:
        yield content, packed


def _read_header(stream: IO[bytes], file: ImageFile) -> Layout:
    head = stream.read(4)
    if head == b"NRRD":
        from mmtk.imaging._nrrd import read_nrrd

        return read_nrrd(stream, head, file)
    if head in (b"Obje", b"NDim"):
        from mmtk.imaging._metaimage import read_metaimage

        return read_metaimage(stream, head, file)
    from mmtk.imaging._nifti import read_nifti

    return read_nifti(stream, head, file)


def _expect_whole(file: ImageFile, layout: Layout, packed: bool) -> None:
    data = layout.data or file
    if not isinstance(data, Path):
        return
    with reading(data, KIND):
        size = data.stat().st_size
    if layout.packing or (packed and not layout.data):
        return
    whole = layout.header.offset + layout.header.bytes
    if size < whole or (size > whole and layout.ends):
        raise damaged(data, KIND, f"it has {size} bytes, not {whole} as its header implies")


def _blocks(
    stream: IO[bytes], header: VolumeHeader, file: ImageFile, exact: bool
) -> Iterator[tuple[slice, NDArray[Any]]]:
    """The values block by block, with their places: as stored if exact and representable in float32, else as double.
    """
    count = math.prod(header.shape)
    buffer = np.empty(min(_BLOCK, count), header.dtype)
    kind = header.dtype.kind + str(header.dtype.itemsize)
    stored = exact and kind in _NARROW and (header.slope, header.inter) == (1.0, 0.0)
    for start in range(0, count, _BLOCK):
        block = buffer[: min(_BLOCK, count - start)]
        fill(stream, block.view(np.uint8).data, file)
        if stored:
            values = block.astype(header.dtype.newbyteorder("="), copy=False)
        else:
            with np.errstate(over="ignore", invalid="ignore"):
                values = block.astype(np.float64) * header.slope + header.inter
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ImageError(file, "contains NaN", remedy="replace NaN, for example by -1024 (air)")
        yield slice(start, start + len(block)), values


def _convert(stream: IO[bytes], header: VolumeHeader, voxels: NDArray[np.int16], file: ImageFile) -> None:
    """Stream values of any type into integer Hounsfield units."""
    for place, values in _blocks(stream, header, file, False):
        voxels[place] = np.clip(np.floor(values + 0.5), _ENDS.min, _ENDS.max)


def _convert_exactly(
    stream: IO[bytes], header: VolumeHeader, voxels: NDArray[Any], file: ImageFile
) -> NDArray[Any]:
    """Stream values of any type into int16, switching to float32 at the first value that does not fit."""
    most = float(np.finfo(np.float32).max)
    for place, values in _blocks(stream, header, file, True):
        low, high = float(values.min()), float(values.max())
        if not -most <= low <= high <= most:
            raise ImageError(file, f"contains {low if -low > most else high:g}, which is not finite in float32")
        whole = values.dtype.kind != "f" or bool((np.floor(values) == values).all())
        fits = whole and _ENDS.min <= low and high <= _ENDS.max
        if voxels.dtype == np.int16 and not fits:
            voxels = widened(voxels, place.start)
        voxels[place] = values
    return voxels


def widened(voxels: NDArray[np.int16], count: int) -> NDArray[np.float32]:
    """Convert to float32 in the same memory; the first `count` values are kept."""
    if not count:  # no memory was touched yet
        return np.empty(len(voxels), np.float32)
    voxels.resize(2 * len(voxels), refcheck=False)
    wide = voxels.view(np.float32)
    for start in reversed(range(0, count, _BLOCK)):  # backwards, so that every block is read before it is overwritten
        stop = min(start + _BLOCK, count)
        wide[start:stop] = voxels[start:stop].astype(np.float32)
    return wide
