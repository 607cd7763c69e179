"""Phantoms of NCT-CRC: 224 x 224 PackBits TIFFs of stained tissue in class folders of two sets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmtk.datasets.splits import FloorCut
from mmtk.phantom._counting import LEAST, enough
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {
    "ADI": (10407, 1338), "BACK": (10566, 847), "DEB": (11512, 339), "LYM": (11557, 634), "MUC": (8896, 1035),
    "MUS": (13536, 592), "NORM": (8763, 741), "STR": (10446, 421), "TUM": (14317, 1233),
}
_SETS = ("NCT-CRC-HE-100K", "CRC-VAL-HE-7K")
_SIDE = 224
# RGB colours of the background and the texture, cells of the texture, its share (of 256)
_LOOKS = {
    "ADI": ((238, 232, 238), (205, 160, 195), 6, 90), "BACK": ((243, 243, 243), (236, 238, 240), 3, 40),
    "DEB": ((205, 150, 175), (120, 95, 130), 20, 120), "LYM": ((190, 160, 205), (70, 45, 120), 30, 200),
    "MUC": ((205, 200, 225), (170, 150, 205), 5, 130), "MUS": ((225, 140, 175), (200, 100, 150), 10, 160),
    "NORM": ((215, 165, 200), (120, 80, 150), 12, 170), "STR": ((230, 170, 200), (190, 130, 180), 14, 130),
    "TUM": ((170, 110, 165), (85, 50, 120), 16, 210),
}


def counts(scale: float, split: FloorCut) -> dict[str, int]:
    """Tiles of each set and class."""
    tiles = {}
    for kind, (train, test) in _PUBLISHED.items():
        tiles[f"{_SETS[0]}/{kind}"] = enough(max(LEAST, round(scale * train)), split)
        tiles[f"{_SETS[1]}/{kind}"] = max(LEAST, round(scale * test))
    return tiles


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The sets contain nothing but tiles."""
    return {}


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each tile, named by eight characters; unlike the provider's names, they contain a digit."""
    for folder, count in counts.items():
        kind = folder.split("/")[1]
        prefix = "TCGA-" if folder.startswith(_SETS[1]) else ""
        for index in range(count):
            letters = "".join(chr(65 + index // 26**place % 26) for place in reversed(range(6)))
            name = f"{folder}/{kind}-{prefix}00{letters}.tif"
            yield {name: encoded(_draw(Draw(seed, name), kind), ".tif", TIFF_COMPRESSION=32773)}


def _draw(draw: Draw, kind: str) -> Array:
    """Tissue whose colours and texture show the class."""
    grid = Grid(_SIDE, _SIDE)
    ground, mark, cells, share = _LOOKS[kind]
    tint = np.array([draw.between(-8, 8) for _ in range(3)])
    across = 4 if kind in ("MUS", "STR") else 1  # fibres
    texture = np.clip(128 + 3 * draw.field(grid, cells, across), 0, 255) * share // 256
    if kind in ("NORM", "TUM"):
        texture = np.maximum(texture, grid.ellipse(draw.between(-20, 20), draw.between(-20, 20), 17, 14) * share // 256)
    scene = blend(np.broadcast_to(np.array(ground) + tint, (*texture.shape, 3)), np.array(mark) + tint, texture)
    return render(draw, grid, scene, 40)
