"""From a file to pixels, strictly: whatever the decoder would forgive is an error here."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._files import ImageFile, as_file, reading
from mmtk.imaging._headers import read_file, read_header
from mmtk.imaging._jpeg import decode_jpeg
from mmtk.imaging._png import Kinds, check_chunks, decode_png
from mmtk.imaging._tiff import decode_tiff


def read_image(path: str | os.PathLike[str], colour: bool) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or TIFF file as MedMNIST's makers did for 28 px, and refuse a damaged one.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive; its name does not matter, its first bytes do.
    colour : bool
        Whether to decode to RGB (a grey file then has three equal channels) or to grey, which is ``truncated`` of
        `read_kinds`.

    Returns
    -------
    ndarray of uint8, shape (h, w) or, with `colour`, (h, w, 3)
        Grey or RGB.

    Raises
    ------
    ImageError, MmtkError
        As `read_kinds`.
    """
    return read_kinds(path, ("colour" if colour else "truncated",))[0]


def read_kinds(path: str | os.PathLike[str], kinds: Kinds) -> list[NDArray[np.uint8]]:
    """Decode a PNG, JPEG or TIFF file once, to one or several kinds of pixels.

    Of a PNG every checksum is verified, of a JPEG every warning of libjpeg is an error; of a TIFF every strip must
    unpack to its very length. A flipped byte inside the pixels of a JPEG or TIFF may still pass, for these formats have
    no checksum. Alpha is dropped. An EXIF orientation is applied, as OpenCV does; Pillow does not, and whether the
    official larger sizes had it applied is not known.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive; its name does not matter, its first bytes do.
    kinds : tuple of {"truncated", "rounded", "colour"}
        Grey as OpenCV's ``IMREAD_GRAYSCALE`` gives it: of a colour PNG libpng's ``(9797 R + 19234 G + 3737 B) >> 15``
        (in linear light where the file states a gamma), of a JPEG its luma plane. Grey as Pillow gives it:
        ``(19595 R + 38470 G + 7471 B + 0x8000) >> 16``. RGB. A grey file's grey is its own. A colour JPEG is decoded
        once for its luma plane and once for RGB, and so is a PNG in a form that OpenCV decodes.

    Returns
    -------
    list of ndarray of uint8, shape (h, w) or (h, w, 3)
        One for each kind, in their order; of a grey file several may be the same array.

    Raises
    ------
    ImageError
        For the reasons of `probe`, and if the file is cut off or damaged anywhere.
    MmtkError
        If a JPEG is met and the package simplejpeg is not installed.
    """
    file = as_file(path)
    data = read_file(file)
    with reading(file, "image"):
        return decode(data, file, kinds)


def decode(data: bytes, file: ImageFile, kinds: Kinds) -> list[NDArray[np.uint8]]:
    """Pixels of a file's bytes, see `read_kinds`."""
    stream = io.BytesIO(data)
    header, orientation, tags = read_header(stream, file, tail=b"")  # of a PNG, what stands before its pixels
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
            expected = f"{header.width} x {header.height} pixels, as its header says"
            raise ImageError(file, expected=expected, found=f"{width} x {height}")
    return images
