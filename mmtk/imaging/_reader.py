"""Decode image files strictly: whatever a decoder would tolerate is an error here."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._files import ImageFile, as_file, reading
from mmtk.imaging._headers import read_file, read_header
from mmtk.imaging._jpeg import decode_jpeg
from mmtk.imaging._png import PixelKinds, check_chunks, decode_png
from mmtk.imaging._tiff import decode_tiff


def read_image(path: str | os.PathLike[str], colour: bool) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or TIFF file as MedMNIST's authors did for 28 px.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive. Its format is recognised by its first bytes, not by its name.
    colour : bool
        Decode to RGB (a grey file gives three equal channels) instead of grey, which is ``"truncated"`` of
        `read_kinds`.

    Returns
    -------
    ndarray of uint8, shape (h, w), or (h, w, 3) with `colour`
        Grey or RGB.

    Raises
    ------
    ImageError, MmtkError
        As for `read_kinds`.

    Examples
    --------
    >>> import mmtk
    >>> from pathlib import Path
    >>> file = min(Path("sources").rglob("benign*.png"))
    >>> mmtk.imaging.read_image(file, colour=False).ndim
    2
    """
    return read_kinds(path, ("colour" if colour else "truncated",))[0]


def read_kinds(path: str | os.PathLike[str], kinds: PixelKinds) -> list[NDArray[np.uint8]]:
    """Decode a PNG, JPEG or TIFF file once, to one or several kinds of pixels.

    Every checksum of a PNG is verified, every libjpeg warning is an error, and every strip of a TIFF must decompress to
    its exact length. A flipped byte inside the pixels of a JPEG or TIFF can go unnoticed, since these formats have no
    checksum. Alpha is dropped. An EXIF orientation is applied, as by OpenCV; Pillow does not apply it, and whether it
    was applied to the larger official sizes is unknown.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive. Its format is recognised by its first bytes, not by its name.
    kinds : tuple of {"truncated", "rounded", "colour"}
        ``"truncated"`` is grey as in OpenCV's ``IMREAD_GRAYSCALE``: for a colour PNG libpng's
        ``(9797 R + 19234 G + 3737 B) >> 15`` (in linear light if the file states a gamma), for a JPEG its luma plane.
        ``"rounded"`` is grey as in Pillow: ``(19595 R + 38470 G + 7471 B + 0x8000) >> 16``. ``"colour"`` is RGB. Grey
        files are not converted. A colour JPEG is decoded once for its luma plane and once for RGB, and so is a PNG
        that OpenCV decodes.

    Returns
    -------
    list of ndarray of uint8, shape (h, w) or (h, w, 3)
        One array per kind, in the same order; for a grey file several may be the same array.

    Raises
    ------
    ImageError
        As for `probe`, and if the file is cut off or damaged anywhere.
    MmtkError
        If the file is a JPEG and the package simplejpeg is not installed.

    Examples
    --------
    >>> import mmtk
    >>> from pathlib import Path
    >>> file = min(Path("sources").rglob("benign*.png"))
    >>> grey, colour = mmtk.imaging.read_kinds(file, ("rounded", "colour"))
    >>> grey.shape == colour.shape[:2]
    True
    """
    file = as_file(path)
    data = read_file(file)
    with reading(file, "image"):
        return decode(data, file, kinds)


def decode(data: bytes, file: ImageFile, kinds: PixelKinds) -> list[NDArray[np.uint8]]:
    """Decode the bytes of a file; see `read_kinds`."""
    stream = io.BytesIO(data)
    header, orientation, tags = read_header(stream, file, tail=b"")  # for a PNG, only what precedes its pixels
    if header.format == "png":
        chunks, parts = check_chunks(data, file)
        if b"eXIf" in chunks:
            header, orientation, _ = read_header(io.BytesIO(data), file)
        images = decode_png(data, file, kinds, header, orientation, chunks, parts)
    elif header.format == "jpeg":
        images = decode_jpeg(data, file, kinds, header.channels == 3, orientation, stream.tell())
    else:
        images = decode_tiff(data, file, kinds, header, tags)
    for height, width in {image.shape[:2] for image in images}:
        if (height, width) != (header.height, header.width):
            decoded, expected = f"{width} x {height} pixels", f"{header.width} x {header.height}"
            raise ImageError(file, "does not match its header", found=decoded, expected=expected)
    return images
