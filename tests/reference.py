"""What the pixels must be, written again from the facts and without speed in mind; shares no code with mmtk."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage


def grey(rgb):
    """libpng's conversion of RGB (h, w, 3) to luma, truncated."""
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return ((9797 * red + 19234 * green + 3737 * blue) >> 15).astype(np.uint8)


def rounded_grey(rgb):
    """Pillow's conversion of RGB (h, w, 3) to luma, rounded: that of the larger sizes."""
    red, green, blue = (rgb[..., i].astype(np.int64) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


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
    if filter == "nearest":
        return nearest(image, size)
    between = _horizontal(image, size[1], filter)
    return np.ascontiguousarray(_horizontal(between.swapaxes(0, 1), size[0], filter).swapaxes(0, 1))


def nearest_taps(n, size):
    """The input of each of `size` outputs over `n` inputs, as Pillow's NEAREST finds it: by adding up in double."""
    step = n / size
    x, result = step / 2, []
    for _ in range(size):
        result.append(int(x))
        x += step
    return result


def nearest(image, size):
    rows, columns = nearest_taps(image.shape[0], size[0]), nearest_taps(image.shape[1], size[1])
    return np.ascontiguousarray(image[rows][:, columns])


def organ_grid(volume, box):
    """Grey levels of a box (x0, x1, y0, y1, z0, z1) of a CT (x, y, z) in int16, at 2 x 2 x 1 mm by MedMNIST's spacing.

    The spline sees the box alone; where `zoom` rounds a coordinate to beyond the last voxel, HU 0 fills the grid.
    """
    assert volume.dtype == np.int16
    x0, x1, y0, y1, z0, z1 = box
    grid = ndimage.zoom(volume[x0:x1, y0:y1, z0:z1], (0.7031 / 2, 0.7031 / 2, 2.5), order=3)
    return (17 * (np.clip(grid.astype(np.int64), -200, 250) + 200) // 30).astype(np.uint8)


def organ_slices(extent, plane):
    """The slices of a grid that are images: multiples of the plane's step from a fifth to four fifths of it."""
    step = 4 if plane == "axial" else 2
    return [j for j in range(0, extent + 1, step) if extent <= 5 * j <= 4 * extent]


def organ_image(grid, plane, j, size):
    """Slice `j` of a grid as the official image of `size` pixels; rows are the lower axis of the file's array."""
    image = np.take(grid, j, axis={"axial": 2, "coronal": 1, "sagittal": 0}[plane])
    return (nearest if size == 28 else resize)(image, (size, size))


def hu_window(volume, level, width):
    """Window of Hounsfield units to 0..255, halves up."""
    part = (volume.astype(np.float64) - (level - width / 2)) / width
    return np.floor(np.clip(part, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


# --------------------------------------------------------------------- JPEG: what is lost, by libjpeg's integers

_LUMA = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99
47 66 99 99 99 99 99 99""" + 32 * " 99"


def _fix(x, bits=13):
    return int(x * (1 << bits) + 0.5)


def _shift(x, bits):
    return (x + (1 << (bits - 1))) >> bits


def _odd(a, b, c, d):
    """The odd half of Loeffler's transform, forward of differences and inverse of odd coefficients alike."""
    z1, z2, z3, z4 = a + d, b + c, a + c, b + d
    z5 = (z3 + z4) * _fix(1.175875602)
    z1, z2 = z1 * -_fix(0.899976223), z2 * -_fix(2.562915447)
    z3, z4 = z3 * -_fix(1.961570560) + z5, z4 * -_fix(0.390180644) + z5
    return (
        a * _fix(0.298631336) + z1 + z3, b * _fix(2.053119869) + z2 + z4,
        c * _fix(3.072711026) + z2 + z3, d * _fix(1.501321110) + z1 + z4,
    )


def _fdct(x, first):
    """Along the last axis."""
    x = [x[..., i] for i in range(8)]
    s, d = [x[i] + x[7 - i] for i in range(4)], [x[i] - x[7 - i] for i in range(4)]
    t10, t13, t11, t12 = s[0] + s[3], s[0] - s[3], s[1] + s[2], s[1] - s[2]
    bits = 11 if first else 15
    z = (t12 + t13) * _fix(0.541196100)
    seven, five, three, one = _odd(d[3], d[2], d[1], d[0])
    whole = (lambda v: v << 2) if first else (lambda v: _shift(v, 2))
    out = [
        whole(t10 + t11), _shift(one, bits), _shift(z + t13 * _fix(0.765366865), bits), _shift(three, bits),
        whole(t10 - t11), _shift(five, bits), _shift(z - t12 * _fix(1.847759065), bits), _shift(seven, bits),
    ]
    return np.stack(out, axis=-1)


def _idct(x, first):
    x = [x[..., i] for i in range(8)]
    z = (x[2] + x[6]) * _fix(0.541196100)
    t2, t3 = z - x[6] * _fix(1.847759065), z + x[2] * _fix(0.765366865)
    t0, t1 = (x[0] + x[4]) << 13, (x[0] - x[4]) << 13
    even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3]
    odd = _odd(x[7], x[5], x[3], x[1])[::-1]
    bits = 11 if first else 18
    halves = [_shift(e + o, bits) for e, o in zip(even, odd, strict=True)]
    return np.stack(halves + [_shift(e - o, bits) for e, o in zip(even[::-1], odd[::-1], strict=True)], axis=-1)


def _through_blocks(plane, table, quality):
    """A plane of samples through transform and quantisation, its edge repeated to whole blocks."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps = np.clip((np.array(table.split(), np.int64).reshape(8, 8) * scale + 50) // 100, 1, 255)
    height, width = plane.shape
    padded = np.pad(plane.astype(np.int64), ((0, -height % 8), (0, -width % 8)), mode="edge") - 128
    blocks = padded.reshape(padded.shape[0] // 8, 8, -1, 8).swapaxes(1, 2)
    coefficients = _fdct(_fdct(blocks, True).swapaxes(2, 3), False).swapaxes(2, 3)
    kept = np.sign(coefficients) * ((np.abs(coefficients) + 4 * steps) // (8 * steps)) * steps
    back = _idct(_idct(kept.swapaxes(2, 3), True).swapaxes(2, 3), False)
    return np.clip(back + 128, 0, 255).swapaxes(1, 2).reshape(padded.shape)[:height, :width]


def _halved(plane):
    """Means of two by two; where libjpeg needs a column beyond the image, the last one again."""
    height, width = plane.shape
    plane = np.pad(plane, ((0, height % 2), (0, -width % 16)), mode="edge")
    sums = plane[::2, ::2] + plane[::2, 1::2] + plane[1::2, ::2] + plane[1::2, 1::2]
    return (sums + 1 + np.arange(sums.shape[1]) % 2) >> 2


def _doubled(plane, height, width):
    """libjpeg's triangle: three parts of the nearer sample, one of the farther, in both directions."""
    if plane.shape[1] < 3:
        return np.repeat(np.repeat(plane, 2, 0), 2, 1)[:height, :width]
    wide = np.pad(plane, 1, mode="edge")
    rows = np.empty((2 * plane.shape[0], wide.shape[1]), np.int64)
    rows[::2], rows[1::2] = 3 * wide[1:-1] + wide[:-2], 3 * wide[1:-1] + wide[2:]
    out = np.empty((rows.shape[0], 2 * plane.shape[1]), np.int64)
    out[:, ::2] = (3 * rows[:, 1:-1] + rows[:, :-2] + 8) >> 4
    out[:, 1::2] = (3 * rows[:, 1:-1] + rows[:, 2:] + 7) >> 4
    return out[:height, :width]


def jpeg_round_trip(image, quality):
    """What comes back of an image (h, w) or (h, w, 3) from JPEG, colour stored as 4:2:0."""
    if image.ndim == 2:
        return _through_blocks(image, _LUMA, quality).astype(np.uint8)
    red, green, blue = (image[..., i].astype(np.int64) for i in range(3))
    height, width = red.shape
    half, middle = 1 << 15, 128 << 16
    luma = (_fix(0.29900, 16) * red + _fix(0.58700, 16) * green + _fix(0.11400, 16) * blue + half) >> 16
    cb = (-_fix(0.16874, 16) * red - _fix(0.33126, 16) * green + _fix(0.5, 16) * blue + middle + half - 1) >> 16
    cr = (_fix(0.5, 16) * red - _fix(0.41869, 16) * green - _fix(0.08131, 16) * blue + middle + half - 1) >> 16
    luma = _through_blocks(luma, _LUMA, quality)
    cb, cr = (
        _doubled(_through_blocks(_halved(plane), _CHROMA, quality)[:, : (width + 1) // 2], height, width) - 128
        for plane in (cb, cr)
    )
    rgb = (
        luma + ((_fix(1.40200, 16) * cr + half) >> 16),
        luma + ((-_fix(0.34414, 16) * cb - _fix(0.71414, 16) * cr + half) >> 16),
        luma + ((_fix(1.77200, 16) * cb + half) >> 16),
    )
    return np.clip(np.stack(rgb, axis=-1), 0, 255).astype(np.uint8)
