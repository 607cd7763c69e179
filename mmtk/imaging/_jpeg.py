"""JPEG: strict decoding, and the encode-decode round trip that official images from JPEG sources went through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, ImageError, MmtkError
from mmtk.imaging._exif import turn
from mmtk.imaging._files import ImageFile, damaged
from mmtk.imaging._png import PixelKinds, decode_cv2, of_colour

_LARGEST = 65_500  # pixels per side in libjpeg
_PROGRESSIVE = b"\xff\xc2"  # start of a progressive frame, before the first scan
_MOST_SCANS = 64  # ten are usual; the decoder passes over the whole image for each


def decode_jpeg(
    data: bytes, path: ImageFile, kinds: PixelKinds, coloured: bool, orientation: int, scans: int
) -> list[NDArray[np.uint8]]:
    """Decode a JPEG whose header was accepted; any libjpeg warning is an error. See `mmtk.imaging.read_kinds`.

    The first scan starts at or just before byte `scans`.
    """
    try:
        import simplejpeg
    except ImportError:
        problem = "cannot be decoded: the package simplejpeg is not installed"
        raise MmtkError(path, problem, remedy="pip install simplejpeg") from None

    # a scan that is not progressive takes at least two bits per block: decoding time is bounded by the file's size
    progressive = data.find(_PROGRESSIVE, 0, scans) >= 0
    if progressive and data.count(b"\xff\xda", scans, data.find(b"\xff\xd9", scans)) >= _MOST_SCANS:
        raise ImageError(path, f"has more than {_MOST_SCANS} JPEG scans", remedy="save it as a baseline JPEG")

    def decode(space: str) -> NDArray[np.uint8]:
        try:
            image: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace=space, strict=True)
        except ValueError as error:
            raise damaged(path, "JPEG", str(error)) from None
        return image if space == "RGB" else image[:, :, 0]

    colour = decode("RGB") if "colour" in kinds or (coloured and "rounded" in kinds) else None
    grey = decode("GRAY") if "truncated" in kinds or (not coloured and "rounded" in kinds) else None
    takes_grey = ("truncated",) if coloured else ("truncated", "rounded")
    images = [grey if grey is not None and kind in takes_grey else of_colour(colour, kind) for kind in kinds]
    return [turn(image, orientation) for image in images]


def round_trip(image: NDArray[np.uint8], format: str = "jpeg", quality: int = 75) -> NDArray[np.uint8]:
    """Encode and decode an image, as happened to the official 28 px images from JPEG sources.

    No file is written: the loss is computed directly with libjpeg's integer arithmetic, identical to the last bit
    (ISLOW transforms, "fancy" upsampling).

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        Grey, or RGB, which is encoded as 4:2:0.
    format : {"jpeg"}
        The only lossy format; PNG and TIFF would return the image unchanged.
    quality : int
        JPEG quality, 1 to 100.

    Returns
    -------
    ndarray of uint8
        Same shape as `image`.

    Raises
    ------
    ArgumentError
        If `image` is not uint8, has another shape or more than 65,500 pixels per side, or if `format` or `quality` is
        not supported.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import round_trip
    >>> image = np.arange(784, dtype=np.uint8).reshape(28, 28)
    >>> round_trip(image, quality=75).shape
    (28, 28)
    """
    image = np.asarray(image)
    fits = image.ndim in (2, 3) and image.shape[2:] in ((), (3,)) and image.size and max(image.shape) <= _LARGEST
    if image.dtype != np.uint8 or not fits:
        expected = f"uint8 of shape (h, w) or (h, w, 3), 1 to {_LARGEST} pixels per side"
        raise ArgumentError("image", expected=expected, found=f"{image.dtype} of shape {image.shape}")
    result = np.array(image, order="C")
    round_trip_stack(result[None], format, quality)
    return result


def round_trip_stack(images: NDArray[np.uint8], format: str = "jpeg", quality: int = 75) -> None:
    """Apply `round_trip` to a stack of images in place.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, h, w) or (n, h, w, 3)
        C-contiguous and writable.
    format, quality
        As for `round_trip`.

    Raises
    ------
    ArgumentError
        If `format` or `quality` is not supported.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import round_trip, round_trip_stack
    >>> images = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    >>> first = round_trip(images[0])
    >>> round_trip_stack(images)
    >>> bool((images[0] == first).all())
    True
    """
    if format != "jpeg" or not isinstance(quality, int) or not 1 <= quality <= 100:
        raise ArgumentError("round_trip", found=f"{format}, quality {quality}", expected="jpeg, quality 1 to 100")
    try:
        from mmtk._native import jpeg_round_trip
    except ImportError:  # no C extension: OpenCV's libjpeg gives the same pixels, more slowly
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
