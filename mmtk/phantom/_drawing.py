"""Pictures drawn with integers, and so the same on every machine: drawn small, enlarged exactly, given grain.

A scene is drawn on a grid whose short side has `SHORT` cells, whatever the size of the picture.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np

from mmtk.imaging import resize

Array = np.ndarray[Any, Any]
SHORT = 64


class Draw:
    """Random numbers that depend only on a seed and a name: raw Philox words, whose stream NumPy never changes."""

    def __init__(self, seed: int, name: str) -> None:
        digest = sha256(f"{seed} {name}".encode()).digest()
        self._philox = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, inclusive."""
        return low + int(self._philox.random_raw()) % (high - low + 1)

    def grain(self, *shape: int) -> Array:
        """uint8 noise of the given shape."""
        count = int(np.prod(shape))
        words = np.asarray(self._philox.random_raw(-(-count // 8)), "<u8")
        return words.view(np.uint8)[:count].reshape(shape)

    def field(self, grid: Grid, cells: int, across: int = 1) -> Array:
        """Smooth noise over a grid, -128 to 127, with `cells` bumps along the short side, `across` times wider."""
        height = max(2, cells * grid.height // SHORT)
        width = max(2, cells * grid.width // SHORT // across)
        return resize(self.grain(height, width), (grid.height, grid.width)).astype(np.int64) - 128


class Grid:
    """Cells of a scene, for a picture's height and width in pixels; `y` and `x` count from its centre."""

    def __init__(self, height: int, width: int) -> None:
        short = min(height, width)
        self.size = (height, width)
        self.height, self.width = SHORT * height // short, SHORT * width // short
        self.y = np.arange(self.height)[:, None] - self.height // 2
        self.x = np.arange(self.width)[None, :] - self.width // 2

    def ellipse(self, y: int, x: int, ry: int, rx: int, slant: int = 0, rough: Array | int = 0) -> Array:
        """Weight 0 to 256 of a soft ellipse; `slant` shears it (in 1/16), `rough` (-128 to 127) roughens its border."""
        dy = self.y - y
        dx = self.x - x + slant * dy // 16
        distance = 1024 * (dx * dx * ry * ry + dy * dy * rx * rx) // (rx * rx * ry * ry) + 6 * rough
        weight: Array = np.clip((1280 - distance) // 2, 0, 256)
        return weight


def blend(scene: Array, colour: Array | int, weight: Array) -> Array:
    """Lay a colour over a scene where a weight (0 to 256) is high."""
    share = weight[..., None] if scene.ndim == 3 else weight
    mixed: Array = scene + (colour - scene) * share // 256
    return mixed


def encoded(pixels: Array, ending: str, **options: int) -> bytes:
    """Encode pixels (grey, RGB, or four channels in OpenCV's order) by OpenCV, with its options by name."""
    import cv2

    flags = [flag for name, value in options.items() for flag in (getattr(cv2, f"IMWRITE_{name}"), value)]
    return cv2.imencode(ending, pixels[..., ::-1] if pixels.shape[2:] == (3,) else pixels, flags)[1].tobytes()


def render(draw: Draw, grid: Grid, scene: Array, grain: int) -> Array:
    """Enlarge a scene to its picture's size and darken it by up to ``grain / 256`` with noise, pixel by pixel."""
    picture = resize(np.clip(scene, 0, 255).astype(np.uint8), grid.size).astype(np.uint16)
    noise = (draw.grain(*grid.size).astype(np.uint16) * np.uint16(grain)) >> np.uint16(8)
    shade = np.uint16(256) - noise
    picture *= shade if scene.ndim == 2 else shade[..., None]
    return (picture >> np.uint16(8)).astype(np.uint8)
