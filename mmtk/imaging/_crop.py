"""Centre crop to a square, placed exactly as in MedMNIST."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError


class Box(NamedTuple):
    """A square region of an image, in pixels from its upper left corner.

    Examples
    --------
    >>> from mmtk.imaging import Box
    >>> Box(top=0, left=25, side=100)
    Box(top=0, left=25, side=100)
    """

    top: int
    left: int
    side: int


def center_box(height: int, width: int) -> Box:
    """Locate the largest centred square of an image.

    The offset is ``round((side - short) / 2)`` with halves rounded to even, as in torchvision's ``CenterCrop``.

    Parameters
    ----------
    height, width : int
        Size of the image in pixels, at least 1.

    Returns
    -------
    Box
        Top and left edge and side length, in pixels.

    Raises
    ------
    ArgumentError
        If `height` or `width` is below 1.

    Examples
    --------
    >>> from mmtk.imaging import center_box
    >>> center_box(100, 151)
    Box(top=0, left=26, side=100)
    """
    side = min(height, width)
    if side < 1:
        raise ArgumentError("center_box", found=f"{width} x {height} pixels", expected="at least 1 x 1")
    return Box(round((height - side) / 2), round((width - side) / 2), side)


def center_crop(image: NDArray[Any]) -> NDArray[Any]:
    """Crop an image to its largest centred square.

    Parameters
    ----------
    image : ndarray, shape (h, w) or (h, w, c)
        Any dtype.

    Returns
    -------
    ndarray, shape (s, s) or (s, s, c) with s = min(h, w)
        A view of `image`.

    Raises
    ------
    ArgumentError
        If `image` does not have two or three axes, or has no pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import center_crop
    >>> center_crop(np.zeros((100, 151, 3), np.uint8)).shape
    (100, 100, 3)
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ArgumentError("center_crop", expected="an image (h, w) or (h, w, c)", found=f"shape {image.shape}")
    top, left, side = center_box(*image.shape[:2])
    return image[top : top + side, left : left + side]
