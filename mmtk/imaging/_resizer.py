"""The exact antialiased resize: weights in double precision here, pixels in 32-bit integers in a C or Numba kernel.

The definition, derived from the official pixels: support = filter's support * max(scale, 1); centre = (x + 0.5) *
scale; taps from int(centre - support + 0.5) up to int(centre + support + 0.5), cut at the image; weights normalised in
double, then rounded to 22 fractional bits; sums in int32 starting at one half, shifted down and clipped. The horizontal
pass comes first, pixels are uint8 between the passes, and a pass that does not change the size is skipped. Pillow
agrees, except that Pillow 13 swaps the passes for some tall images.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import cache, lru_cache, partial
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, UnknownNameError

PRECISION = 22
_PATHS = ("vnni", "avx2", "neon", "plain")  # of the C kernel
LARGEST = 1 << 15  # pixels per side, in or out: beyond any image here, and small enough for every intermediate array

_MOST_SIZES = 64  # in one call
Table = NDArray[np.int32] | None
Target = tuple[NDArray[np.uint8], Table, Table, Table, Table]  # an image, bounds and weights of x and of y
Kernel = Callable[..., None]


# The filters take distances x in units of the (stretched) pixel grid; terms are in the order in which Pillow computes.


def _box(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    return np.where(x < 1, 1 - x, 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    a = -0.5
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    def sinc(v: float) -> float:  # math.sin: NumPy's vectorised sine differs from machine to machine
        return 1.0 if v == 0 else math.sin(v * math.pi) / (v * math.pi)

    values = [sinc(v) * sinc(v / 3) if -3 <= v < 3 else 0.0 for v in x.ravel().tolist()]
    return np.array(values).reshape(x.shape)


FILTERS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
_SHAPES = {"box": (_box, 0.5), "bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0), "lanczos": (_lanczos, 3.0)}


@lru_cache(maxsize=128)
def coefficients(in_size: int, out_size: int, filter: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Compute taps and weights of one pass.

    Parameters
    ----------
    in_size, out_size : int
        Pixels along the axis before and after.
    filter : str
        One of `FILTERS`.

    Returns
    -------
    bounds : ndarray of int32, shape (out_size, 2)
        First tap and number of taps of each output.
    weights : ndarray of int32, shape (out_size, taps)
        Weights with 22 fractional bits, zero beyond the number of taps. Both arrays are shared: read-only.
    """
    shape, support = _SHAPES[filter]
    scale = in_size / out_size
    stretch = max(scale, 1.0)
    support *= stretch
    centre = (np.arange(out_size) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), in_size)
    count = end - first
    tap = np.arange(count.max())
    weights = shape((tap + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[tap >= count[:, None]] = 0.0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # cumsum adds from left to right, sum does not
    fixed = (weights * (1 << PRECISION) + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)
    bounds = np.stack([first, count], axis=1).astype(np.int32)
    for table in (bounds, fixed):
        table.flags.writeable = False
    return bounds, fixed


@lru_cache(maxsize=512)
def nearest_pixels(in_size: int, out_size: int) -> NDArray[np.intp]:
    """The input pixel for each output, accumulated like in Pillow: ``x = s / 2``, then ``x += s``, in double.

    ``floor((i + 0.5) * s)`` differs for some sizes, for instance for 33 of those below 420 at 28 px. Read-only.
    """
    scale = in_size / out_size
    steps = np.full(out_size, scale)
    steps[0] = scale * 0.5
    pixels = np.minimum(np.cumsum(steps).astype(np.intp), in_size - 1)  # cumsum adds from left to right
    pixels.flags.writeable = False
    return pixels


@cache
def _kernel(wish: str) -> tuple[str, Kernel]:
    """Name and function of the kernel to use; `wish` is the value of ``MMTK_KERNELS``."""
    if wish not in ("", "native", *_PATHS, "numba"):
        raise UnknownNameError.among("MMTK_KERNELS: kernel", wish, ("native", *_PATHS, "numba"))
    if wish != "numba":
        try:
            from mmtk import _native
        except ImportError as error:
            if wish:
                raise ArgumentError(
                    f"MMTK_KERNELS={wish}", f"needs the C extension mmtk._native, which is missing ({error})",
                    remedy="install a C compiler and reinstall mmtk, or unset MMTK_KERNELS",
                ) from None
        else:
            path = wish if wish in _PATHS else _native.paths[0]
            if path not in _native.paths:
                expected = f"one of {', '.join(_native.paths)}"
                raise ArgumentError(f"MMTK_KERNELS={wish}", "is not supported by this machine", expected=expected)
            return path, partial(_native.resize, path)
    from mmtk.imaging import _numba_kernels

    return "numba", _numba_kernels.resize


def kernels_in_use() -> str:
    """Name the kernel that resizes images: ``vnni``, ``avx2``, ``neon`` or ``plain`` (all C), or ``numba``.

    All give identical pixels. The environment variable ``MMTK_KERNELS`` forces one of them, or with ``native`` the best
    in C.

    Returns
    -------
    str

    Raises
    ------
    ArgumentError
        If ``MMTK_KERNELS`` has another value, or names a kernel that this machine does not have.

    Examples
    --------
    >>> from mmtk.imaging import kernels_in_use
    >>> kernels_in_use() in ("vnni", "avx2", "neon", "plain", "numba")
    True
    """
    return _kernel(os.environ.get("MMTK_KERNELS", ""))[0]


def _region(box: Any, height: int, width: int) -> tuple[int, int, int, int]:
    top, left, h, w = integers("box", box, "four integers (top, left, height, width)", 4)
    if top < 0 or left < 0 or h < 1 or w < 1 or top + h > height or left + w > width:
        expected = f"(top, left, height, width) inside an image {height} high and {width} wide"
        raise ArgumentError("box", expected=expected, found=repr((top, left, h, w)))
    return top, left, h, w


def resize(
    image: NDArray[np.uint8], size: tuple[int, int], filter: str = "bilinear",
    box: tuple[int, int, int, int] | None = None,
) -> NDArray[np.uint8]:
    """Resize an image with antialiasing, bit for bit as for MedMNIST.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
        May be a view, such as a crop; it is not copied.
    size : tuple of int
        Height and width of the result in pixels.
    filter : {"bilinear", "box", "bicubic", "lanczos", "nearest"}
        Their supports are 1, 0.5, 2 (a = -0.5) and 3 pixels of the coarser grid; "nearest" picks single pixels, the
        same as in Pillow.
    box : tuple of int, optional
        Region (top, left, height, width) to crop first, in pixels; pixels outside it have no influence.

    Returns
    -------
    ndarray of uint8, shape (height, width) or (height, width, 3)
        New and C-contiguous.

    Raises
    ------
    ArgumentError
        If `image` is not uint8 or has another shape, if a side is below 1 or above 32768 pixels, if `filter` is
        unknown, or if `box` extends beyond the image.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import resize
    >>> image = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    >>> resize(image, (2, 4)).tolist()
    [[36, 94, 158, 216], [36, 94, 158, 216]]
    """
    return resize_each(image, (size,), filter, box)[0]


def resize_each(
    image: NDArray[np.uint8], sizes: Sequence[tuple[int, int]], filter: str = "bilinear",
    box: tuple[int, int, int, int] | None = None,
) -> list[NDArray[np.uint8]]:
    """Resize an image to several sizes in one pass over it; the results are those of `resize`.

    Parameters
    ----------
    image : ndarray of uint8, shape (h, w) or (h, w, 3)
    sizes : sequence of tuple of int
        Heights and widths in pixels; at most 64 pairs.
    filter, box
        As for `resize`.

    Returns
    -------
    list of ndarray of uint8
        One image per size.

    Raises
    ------
    ArgumentError
        As for `resize`, and for more than 64 sizes.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.imaging import resize_each
    >>> image = np.zeros((512, 512), np.uint8)
    >>> [result.shape for result in resize_each(image, [(28, 28), (64, 64)])]
    [(28, 28), (64, 64)]
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        actual = f"{image.dtype} of shape {image.shape}"
        raise ArgumentError("image", expected="uint8 of shape (h, w) or (h, w, 3)", found=actual)
    if filter not in FILTERS:
        raise UnknownNameError.among("filter", filter, FILTERS)
    if len(sizes) > _MOST_SIZES:
        raise ArgumentError("sizes", expected=f"at most {_MOST_SIZES}", found=str(len(sizes)))
    _check_sides("image", image.shape[:2])
    if box is not None:
        top, left, h, w = _region(box, *image.shape[:2])
        image = image[top : top + h, left : left + w]
    if filter == "nearest":
        pairs = [_size(size) for size in sizes]
        height, width = image.shape[:2]
        return [image[nearest_pixels(height, h)[:, None], nearest_pixels(width, w)] for h, w in pairs]
    if image.strides[1:] != ((3, 1) if image.ndim == 3 else (1,)):
        image = np.ascontiguousarray(image)
    targets = tuple(_target(image, size, filter) for size in sizes)
    if targets:
        _kernel(os.environ.get("MMTK_KERNELS", ""))[1](image, targets)
    return [target[0] for target in targets]


def _target(image: NDArray[np.uint8], size: tuple[int, int], filter: str) -> Target:
    out_height, out_width = _size(size)
    height, width = image.shape[:2]
    x = coefficients(width, out_width, filter) if width != out_width else (None, None)
    y = coefficients(height, out_height, filter) if height != out_height else (None, None)
    return np.empty((out_height, out_width, *image.shape[2:]), np.uint8), *x, *y


def _size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = integers("size", size, "two integers (height, width)", 2)
    _check_sides("size", (height, width))
    return height, width


def integers(what: str, values: Any, expected: str, count: int) -> tuple[int, ...]:
    """Convert an argument to a tuple of `count` integers, or refuse it."""
    try:
        numbers = tuple(map(index, values))
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count:
        raise ArgumentError(what, expected=expected, found=repr(values))
    return numbers


def _check_sides(what: str, sides: tuple[int, ...]) -> None:
    height, width = sides
    if not (1 <= height <= LARGEST and 1 <= width <= LARGEST):
        raise ArgumentError(what, found=f"(height, width) = {sides}", expected=f"1 to {LARGEST} pixels per side")
