"""The centre square of the short side, where MedMNIST cut it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError


class Box(NamedTuple):
    """A square of an image, in pixels from its upper left corner."""

    top: int
    left: int
    side: int


def center_box(height: int, width: int) -> Box:
    """Place the centre square of an image.

    The offset is ``round((side - short) / 2)``, halves to the even number, as torchvision's ``CenterCrop`` has it.

    Parameters
    ----------
    height, width : int
        Size of the image in pixels, at least 1.

    Raises
    ------
    ArgumentError
        If a side is below 1.
    """
    side = min(height, width)
    if side < 1:
        raise ArgumentError("center_box", expected="an image of at least one pixel", found=f"{width} x {height}")
    return Box(round((height - side) / 2), round((width - side) / 2), side)


def center_crop(image: NDArray[Any]) -> NDArray[Any]:
    """Cut the centre square.

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
        If `image` has another number of axes or no pixels.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ArgumentError("center_crop", expected="an image (h, w) or (h, w, c)", found=f"shape {image.shape}")
    top, left, side = center_box(*image.shape[:2])
    return image[top : top + side, left : left + side]
