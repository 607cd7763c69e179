"""Phantoms of Kermany's chest X-rays as packed by Kaggle: grey JPEGs of many shapes, a few in RGB, desktop junk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmtk.datasets.splits import FloorCut
from mmtk.phantom._counting import LEAST, enough
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {"train/NORMAL": 1349, "train/PNEUMONIA": 3883, "test/NORMAL": 234, "test/PNEUMONIA": 390}
_JUNK = (
    "chest_xray/.DS_Store", "chest_xray/train/.DS_Store", "__MACOSX/chest_xray/._.DS_Store",
    "__MACOSX/chest_xray/train/NORMAL/._IM-7001-0001.jpeg",
)


def counts(scale: float, split: FloorCut) -> dict[str, int]:
    """Images of each part and class."""
    scaled = {folder: max(LEAST, round(scale * count)) for folder, count in _PUBLISHED.items()}
    return {folder: enough(n, split) if folder.startswith(split.within) else n for folder, n in scaled.items()}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The files that a desktop leaves in an archive."""
    return dict.fromkeys(_JUNK, b"\0" * 16)


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each image; one in 330 of train, at least one per class, is in ``val`` as on Kaggle.

    One in 50 repeats the picture before it, of the same patient.
    """
    for folder, count in counts.items():
        part, kind = folder.split("/")
        moved, previous = max(1, count // 330) if part == "train" else 0, ""
        for index in range(count):
            name = f"chest_xray/{'val' if index < moved else part}/{kind}/{_name(part, kind, index)}.jpeg"
            shown = previous if index % 50 == 47 else name
            yield {name: _jpeg(_draw(Draw(seed, shown), shown, index - (shown != name)), stray=index % 20 == 9)}
            previous = name


def _name(part: str, kind: str, index: int) -> str:
    """Names of the provider's form with numbers that none of its files has; patients have up to three images."""
    first = 7001 if part == "train" else 8001
    patient, image = first + index // 2, 1 + index % 2
    if kind == "NORMAL":
        return f"{'NORMAL2-' if patient % 2 else ''}IM-{patient}-{image:04d}"
    return f"person{patient}_{'bacteria' if patient % 3 else 'virus'}_{first + index}"


def _draw(draw: Draw, name: str, index: int) -> Array:
    """A chest; bacterial pneumonia whitens part of a lung, viral pneumonia clouds both."""
    width = draw.between(700, 1700)
    height = width * draw.between(60, 95) // 100
    if index % 40 == 11:
        height, width = 2700, 2900
    elif index % 40 == 23:
        height, width = 127, 384
    grid = Grid(height, width)
    middle, top = draw.between(-4, 4), draw.between(-4, 4)
    scene = 165 + draw.field(grid, 4) * 20 // 128 - abs(grid.x - middle) // 2
    ribs = abs((grid.y + abs(grid.x) // 3 + draw.between(0, 11)) % 12 - 6) * 4
    lungs = [grid.ellipse(top, middle + side * draw.between(15, 17), 25, 11, side * 2) for side in (-1, 1)]
    for lung in lungs:
        scene = blend(scene, 50 + ribs + draw.field(grid, 8) * 12 // 128, lung)
    if "bacteria" in name:
        for _ in range(draw.between(1, 2)):
            side = draw.between(0, 1)
            y, x = top + draw.between(-8, 12), middle + (2 * side - 1) * draw.between(12, 18)
            patch = grid.ellipse(y, x, draw.between(9, 13), draw.between(8, 10), 0, draw.field(grid, 8))
            scene = blend(scene, draw.between(140, 175), np.minimum(patch, lungs[side]) * 7 // 8)
    elif "virus" in name:
        haze = np.clip(170 + draw.field(grid, 7) // 2, 0, 256)
        for lung in lungs:
            scene = blend(scene, draw.between(125, 150), haze * lung // 256 * 7 // 8)
    heart = grid.ellipse(top + 12, middle + 5, 12, 11, 3)
    scene = blend(scene, 185, heart)
    return render(draw, grid, scene * draw.between(215, 280) // 256 + draw.between(-15, 15), 40)


def _jpeg(pixels: Array, stray: bool) -> bytes:
    """A grey JPEG, or for a stray one in RGB with a faint tint."""
    if stray:
        pixels = np.stack([pixels, pixels, pixels - pixels // 32], axis=2)
    return encoded(pixels, ".jpeg", JPEG_QUALITY=92)
