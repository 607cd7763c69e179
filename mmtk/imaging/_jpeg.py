"""JPEG: strict decoding, and the round trip that JPEG sources went through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, ImageError, MmtkError
from mmtk.imaging._exif import turn
from mmtk.imaging._files import AGAIN, ImageFile
from mmtk.imaging._png import Kinds, decode_cv2, of_colour

_LARGEST = 65_500  # pixels a side in libjpeg
_PROGRESSIVE = b"\xff\xc2"  # begins the frame of one, before the first scan
_MOST_SCANS = 64  # ten are usual, and for each of them the decoder goes over the whole image


def decode_jpeg(
    data: bytes, path: ImageFile, kinds: Kinds, coloured: bool, orientation: int, scans: int
) -> list[NDArray[np.uint8]]:
    """Pixels of a JPEG whose header was accepted; a warning of libjpeg is an error. See `mmtk.imaging.read_kinds`.

    Its first scan begins at byte `scans` or just before.
    """
    try:
        import simplejpeg
    except ImportError:
        what, remedy = "the package that decodes JPEG strictly", "pip install simplejpeg"
        raise MmtkError("simplejpeg", expected=what, found="not installed", remedy=remedy) from None

    # where it is not progressive, a scan takes two bits for each block at least: as long a file as the time it costs
    progressive = data.find(_PROGRESSIVE, 0, scans) >= 0
    if progressive and data.count(b"\xff\xda", scans, data.find(b"\xff\xd9", scans)) >= _MOST_SCANS:
        most = f"a JPEG of at most {_MOST_SCANS} scans"
        raise ImageError(path, expected=most, found="more", remedy="save it again as a plain one")

    def decode(space: str) -> NDArray[np.uint8]:
        try:
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace=space, strict=True)
        except ValueError as error:
            expected = "a JPEG that decodes without a warning"
            raise ImageError(path, expected=expected, found=str(error), remedy=AGAIN) from None
        return image if space == "RGB" else image[:, :, 0]

    colour = decode("RGB") if "colour" in kinds or (coloured and "rounded" in kinds) else None
    grey = decode("GRAY") if "truncated" in kinds or (not coloured and "rounded" in kinds) else None
    takes_grey = ("truncated",) if coloured else ("truncated", "rounded")
    images = [grey if grey is not None and kind in takes_grey else of_colour(colour, kind) for kind in kinds]
    return [turn(image, orientation) for image in images]


def round_trip(image: NDArray[np.uint8], format: str = "jpeg", quality: int = 75) -> NDArray[np.uint8]:
    """Encode an image and decode it again, as the official files of JPEG sources were.

    No file is made: only what JPEG loses is taken away, by the integer arithmetic of libjpeg, whose every step is
    followed to the last bit (ISLOW transforms, "fancy" upsampling).

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey, or RGB, which is stored as 4:2:0.
    format : {"jpeg"}
        PNG and TIFF give back what they were given, so there is no other.
    quality : int
        JPEG quality, 1 to 100.

    Returns
    -------
    ndarray of uint8
        The shape of `image`.

    Raises
    ------
    ArgumentError
        If `image` is not uint8, of another shape or more than 65,500 pixels a side, or for another format or quality.
    """
    image = np.asarray(image)
    fits = image.ndim in (2, 3) and image.shape[2:] in ((), (3,)) and image.size and max(image.shape) <= _LARGEST
    if image.dtype != np.uint8 or not fits:
        what = f"uint8 of shape (h, w) or (h, w, 3), 1 to {_LARGEST} pixels a side"
        raise ArgumentError("image", expected=what, found=f"{image.dtype} of shape {image.shape}")
    result = np.array(image, order="C")
    round_trip_stack(result[None], format, quality)
    return result


def round_trip_stack(images: NDArray[np.uint8], format: str = "jpeg", quality: int = 75) -> None:
    """Take images of one size through JPEG in place, each as `round_trip` does.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        C-contiguous and writable.

    Raises
    ------
    ArgumentError
        For another format or quality.
    """
    if format != "jpeg" or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArgumentError("round_trip", expected="jpeg, quality 1 to 100", found=f"{format}, quality {quality}")
    try:
        from mmtk._native import jpeg_round_trip
    except ImportError:  # no compiler was there: OpenCV's libjpeg gives the same, slower
        for image in images:
            image[:] = _by_opencv(image, quality)
    else:
        jpeg_round_trip(images, quality)


def _by_opencv(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    import cv2

    colour = image.ndim == 3
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR) if colour else image
    how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", bgr, how)
    return decode_cv2(data.tobytes(), Path("round trip"), colour)
