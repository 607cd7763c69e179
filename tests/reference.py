"""What the pixels must be, written again from the facts and without speed in mind; shares no code with mmtk."""

from __future__ import annotations

import math

import numpy as np


def grey(rgb):
    """libpng's conversion of RGB (h, w, 3) to luma, truncated."""
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return ((9797 * red + 19234 * green + 3737 * blue) >> 15).astype(np.uint8)


def crop(image):
    """Centre square of the short side, as torchvision's CenterCrop places it."""
    height, width = image.shape[:2]
    m = min(height, width)
    top, left = int(round((height - m) / 2.0)), int(round((width - m) / 2.0))  # noqa: RUF046
    return image[top : top + m, left : left + m]


def _box(x):
    return 1.0 if -0.5 < x <= 0.5 else 0.0


def _bilinear(x):
    x = abs(x)
    return 1.0 - x if x < 1.0 else 0.0


def _bicubic(x):
    a = -0.5
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2.0 else 0.0


def _sinc(x):
    if x == 0.0:
        return 1.0
    x *= math.pi
    return math.sin(x) / x


def _lanczos(x):
    return _sinc(x) * _sinc(x / 3) if -3.0 <= x < 3.0 else 0.0


FILTERS = {"box": (_box, 0.5), "bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0), "lanczos": (_lanczos, 3.0)}


def taps(n, size, filter):
    """For each of `size` outputs over `n` inputs: the first tap and the integer weights, in a list."""
    function, support = FILTERS[filter]
    scale = n / size
    stretch = max(scale, 1.0)
    support *= stretch
    result = []
    for x in range(size):
        centre = (x + 0.5) * scale
        low = max(0, int(centre - support + 0.5))
        high = min(n, int(centre + support + 0.5))
        weights, total = [], 0.0
        for tap in range(low, high):
            weights.append(function((tap - centre + 0.5) * (1.0 / stretch)))
            total += weights[-1]
        weights = [w / total for w in weights]
        result.append((low, [int((0.5 if w >= 0 else -0.5) + w * (1 << 22)) for w in weights]))
    return result


def _horizontal(image, size, filter):
    """One pass along axis 1, in exact integers; refuses what would not fit the 32 bits of the definition."""
    if image.shape[1] == size:
        return image
    out = np.empty((image.shape[0], size, *image.shape[2:]), np.uint8)
    for x, (low, weights) in enumerate(taps(image.shape[1], size, filter)):
        assert 255 * sum(abs(w) for w in weights) + (1 << 21) < 1 << 31
        inputs = image[:, low : low + len(weights)].astype(np.int64)
        total = np.tensordot(inputs, np.array(weights, np.int64), axes=([1], [0]))
        out[:, x] = np.clip((total + (1 << 21)) >> 22, 0, 255)
    return out


def resize(image, size, filter="bilinear", box=None):
    """Crop first, horizontal pass, uint8, vertical pass; a pass whose size stays is skipped."""
    if box is not None:
        top, left, height, width = box
        image = image[top : top + height, left : left + width]
    between = _horizontal(image, size[1], filter)
    return np.ascontiguousarray(_horizontal(between.swapaxes(0, 1), size[0], filter).swapaxes(0, 1))


def hu_window(volume, level, width):
    """Window of Hounsfield units to 0..255, halves up."""
    part = (volume.astype(np.float64) - (level - width / 2)) / width
    return np.floor(np.clip(part, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
