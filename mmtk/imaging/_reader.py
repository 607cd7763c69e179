"""From a file to pixels, strictly: whatever the decoder would forgive is an error here."""

from __future__ import annotations

import io
import os

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ImageError
from mmtk.imaging._headers import as_file, read_file, read_header
from mmtk.imaging._jpeg import decode_jpeg
from mmtk.imaging._png import decode_png
from mmtk.imaging._tiff import decode_tiff


def read_image(path: str | os.PathLike[str], colour: bool) -> NDArray[np.uint8]:
    """Decode a PNG, JPEG or TIFF file as MedMNIST's makers did, and refuse a damaged one.

    Grey is what OpenCV's ``IMREAD_GRAYSCALE`` gives: of a colour PNG libpng's ``(9797 R + 19234 G + 3737 B) >> 15`` (in
    linear light where the file states a gamma), of a JPEG its luma plane. Alpha is dropped, an EXIF orientation is
    applied, both as OpenCV does. Of a PNG every checksum is verified, of a JPEG every warning of libjpeg is an error;
    of a TIFF every strip must unpack to its very length. A flipped byte inside the pixels of a JPEG or TIFF may still
    pass, for these formats have no checksum.

    Parameters
    ----------
    path : path-like
        The file, on disk or in an archive; its name does not matter, its first bytes do.
    colour : bool
        Whether to decode to RGB (a grey file then has three equal channels) or to grey.

    Returns
    -------
    ndarray of uint8, shape (h, w) or, with `colour`, (h, w, 3)
        Grey or RGB.

    Raises
    ------
    ImageError
        For the reasons of `probe`, and if the file is cut off or damaged anywhere.
    MmtkError
        If a JPEG is met and the package simplejpeg is not installed.
    """
    file = as_file(path)
    data = read_file(file)
    header, orientation, tags = read_header(io.BytesIO(data), file)
    if header.format == "png":
        image = decode_png(data, file, colour, header)
    elif header.format == "jpeg":
        image = decode_jpeg(data, file, colour, orientation)
    else:
        image = decode_tiff(data, file, colour, header, tags)
    if image.shape[:2] != (header.height, header.width):
        found = f"{image.shape[1]} x {image.shape[0]}"
        raise ImageError(path, expected=f"{header.width} x {header.height} pixels, as its header says", found=found)
    return image
