"""Phantoms of BUSI: breast ultrasound as grey RGB PNGs of many shapes, with 1-bit masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmtk.datasets.splits import FloorCut
from mmtk.phantom._counting import enough
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {"benign": 437, "malignant": 210, "normal": 133}
_TWIN = (5034, 5019)  # this benign image shows the same picture as this malignant one; neither has coloured marks
_FIRST = 5001  # no real BUSI image has such a number, so that a phantom is never taken for one


def counts(scale: float, split: FloorCut) -> dict[str, int]:
    """Images of each of the provider's three classes; benign and normal share the minimum, as MedMNIST merges them."""
    scaled = {kind: max(1, round(scale * count)) for kind, count in _PUBLISHED.items()}
    scaled["malignant"] = enough(scaled["malignant"], split)
    scaled["benign"] = enough(scaled["benign"] + scaled["normal"], split) - scaled["normal"]
    return scaled


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The files of each image; one in 16 has coloured marks, one lesion in eight a second mask.

    As in BUSI, one picture occurs twice, as benign and as malignant, if there are enough images.
    """
    for kind, count in counts.items():
        for number in range(_FIRST, _FIRST + count):
            stem = f"Dataset_BUSI_with_GT/{kind}/{kind} ({number})"
            drawn, as_number = ("malignant", _TWIN[1]) if (kind, number) == ("benign", _TWIN[0]) else (kind, number)
            draw = Draw(seed, f"Dataset_BUSI_with_GT/{drawn}/{drawn} ({as_number})")
            picture, mask = _draw(draw, drawn)
            colour = np.repeat(picture[..., None], 3, axis=2)
            if number % 16 == 3:
                _mark(colour, draw)
            files = {f"{stem}.png": encoded(colour, ".png", PNG_COMPRESSION=1)}
            files[f"{stem}_mask.png"] = encoded(mask, ".png", PNG_BILEVEL=1)
            if kind != "normal" and number % 8 == 5:
                files[f"{stem}_mask_1.png"] = encoded(np.roll(mask, 40, axis=1), ".png", PNG_BILEVEL=1)
            yield files


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """BUSI has no files but its images and masks."""
    return {}


def _draw(draw: Draw, kind: str) -> tuple[Array, Array]:
    """Layers of tissue; benign lesions are smooth and wide, malignant ones ragged, tall and dark, with a shadow."""
    grid = Grid(draw.between(390, 620), draw.between(460, 780))
    tissue = 125 + draw.field(grid, 5) * 30 // 128 + draw.field(grid, 12, across=4) * 28 // 128 - grid.y // 2
    y, x, radius = draw.between(-7, 5), draw.between(-8, 8), draw.between(9, 13)
    lesion = np.zeros_like(tissue)
    if kind == "benign":
        lesion = grid.ellipse(y, x, radius * 5 // 8, radius, draw.between(-4, 4))
        tissue = blend(tissue, draw.between(55, 85), lesion)
    elif kind == "malignant":
        lesion = grid.ellipse(y, x, radius * 5 // 4, radius, draw.between(-4, 4), draw.field(grid, 10))
        shadow = grid.ellipse(y + 24, x, 28, radius, 0, draw.field(grid, 6) // 2)
        tissue = blend(blend(tissue, draw.between(45, 65), shadow * 3 // 4), draw.between(15, 40), lesion)
    tissue = tissue * draw.between(200, 280) // 256 + draw.between(-12, 12)
    picture = render(draw, grid, tissue, 120)
    mask = np.where(render(draw, grid, lesion, 0) > 127, 255, 0).astype(np.uint8)
    return picture, mask


def _mark(picture: Array, draw: Draw) -> None:
    """A coloured probe marker and caliper, as some scanners burn into images."""
    top, left = draw.between(5, 40), draw.between(5, 60)
    picture[top : top + 24, left : left + 24] = (40, 200, 90)
    row = picture.shape[0] - draw.between(60, 90)
    picture[row : row + 3, left : left + 150] = (250, 220, 30)
