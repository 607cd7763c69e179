"""Phantoms of Kermany's OCT as packed by Mendeley: grey JPEGs of several widths, named by patient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmtk.datasets.splits import FloorCut
from mmtk.phantom._counting import LEAST, enough
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {
    "train/CNV": 37205, "train/DME": 11348, "train/DRUSEN": 8616, "train/NORMAL": 51140,
    "test/CNV": 250, "test/DME": 250, "test/DRUSEN": 250, "test/NORMAL": 250,
}
_SIZES = ((496, 512), (496, 512), (496, 768), (496, 512), (496, 1024), (512, 512), (496, 1536))  # height, width
_FIRST = 90000001  # no real patient has such a number


def counts(scale: float, split: FloorCut) -> dict[str, int]:
    """Scans of each part and class."""
    scaled = {folder: max(LEAST, round(scale * count)) for folder, count in _PUBLISHED.items()}
    return {folder: enough(n, split) if folder.startswith(split.within) else n for folder, n in scaled.items()}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The files that a desktop leaves in an archive."""
    return {"OCT2017/.DS_Store": b"\0" * 16, "__MACOSX/OCT2017/._train": b"\0" * 16}


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each scan; patients have up to four, and some patients of the train part are in the test part too."""
    for folder, count in counts.items():
        kind = folder.split("/")[1]
        for index in range(count):
            number = (5 if folder.startswith("test") else 1) + index % 4
            name = f"OCT2017/{folder}/{kind}-{_FIRST + index // 4}-{number}.jpeg"
            yield {name: encoded(_draw(Draw(seed, name), kind, index), ".jpeg", JPEG_QUALITY=90)}


def _draw(draw: Draw, kind: str, index: int) -> Array:
    """Layers of a retina: fluid below it, cysts within it, bumps under it, or none of these."""
    grid = Grid(*_SIZES[index % len(_SIZES)])
    middle, slant = draw.between(-6, 6), draw.between(-2, 2)
    pit = 6 - np.minimum(6, abs(grid.x - draw.between(-4, 4)) // 2)
    depth = grid.y - middle - grid.x * slant // 16 - pit
    scene = np.where(abs(depth + 8) < 2, 190, np.where(abs(depth) < 9, 110, 28))
    floor = depth - 9
    if kind == "DRUSEN":
        floor = floor + np.clip(draw.field(grid, 14) // 10, 0, 8)
    if kind == "CNV":
        hill = grid.ellipse(draw.between(8, 13), draw.between(-10, 10), draw.between(9, 12), draw.between(14, 20))
        scene = blend(scene, draw.between(130, 160), hill)
    scene = np.where(abs(floor) < 3, 230, scene)
    scene = np.where((floor >= 3) & (floor < 14), 90 - 4 * floor, scene)
    if kind == "DME":
        for _ in range(draw.between(3, 5)):
            y, x = middle + draw.between(-5, 3), draw.between(-22, 22)
            scene = blend(scene, 8, grid.ellipse(y, x, draw.between(4, 6), draw.between(4, 8)))
    scene = scene * draw.between(210, 270) // 256
    picture = render(draw, grid, scene, 110)
    if index % 9 == 4:  # a rotated frame has a white corner
        rows = np.arange(picture.shape[0])[:, None]
        picture[rows + np.arange(picture.shape[1])[None, :] < draw.between(60, 160)] = 255
    return picture
