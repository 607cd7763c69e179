"""Phantoms of HAM10000: dermatoscopic RGB JPEGs in two folders, a metadata CSV, and lesions with several images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmtk.datasets.splits import FloorCut
from mmtk.phantom._counting import enough
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {"akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142}
_FIRST = 9000001  # no image of the ISIC archive has such a number, so that a phantom is never taken for one
_STRIDE = 10037  # a prime above every total, so that its multiples visit each id once
# RGB colours of the lesion and its features, smallest and largest radius in cells, roughness of the border (of 256)
_LOOKS = {
    "akiec": ((205, 120, 110), (235, 205, 190), (17, 23), 200),
    "bcc": ((225, 160, 150), (90, 80, 120), (11, 16), 90),
    "bkl": ((170, 125, 75), (120, 85, 55), (15, 21), 140),
    "df": ((190, 140, 110), (245, 230, 220), (7, 11), 30),
    "mel": ((70, 45, 45), (75, 85, 125), (15, 21), 240),
    "nv": ((135, 85, 55), (105, 65, 45), (9, 15), 30),
    "vasc": ((150, 25, 50), (90, 10, 50), (8, 13), 40),
}


def counts(scale: float, split: FloorCut) -> dict[str, int]:
    """Images of each class."""
    return {dx: enough(round(scale * count), split) for dx, count in _PUBLISHED.items()}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The metadata table."""
    rows = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for view in _views(counts):
        draw = Draw(seed, f"metadata {view.name}")
        age, sex = 5 * draw.between(4, 16), ("male", "female")[draw.between(0, 1)]
        site = ("back", "face", "trunk", "lower extremity")[draw.between(0, 3)]
        rows.append(f"{view.lesion},{view.name},{view.dx},histo,{age}.0,{sex},{site}")
    return {"HAM10000_metadata.csv": ("\n".join(rows) + "\n").encode()}


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each image; the first half of the ids is in one folder, the rest in another."""
    for view in _views(counts):
        picture = _draw(Draw(seed, view.name), Draw(seed, view.lesion), view.dx)
        yield {f"HAM10000_images_part_{view.part}/{view.name}.jpg": encoded(picture, ".jpg", JPEG_QUALITY=92)}


class _View(NamedTuple):
    name: str
    lesion: str
    dx: str
    part: int


def _views(counts: dict[str, int]) -> Iterator[_View]:
    """The images by class, every fourth one of the previous lesion; as the provider's, ids do not follow the class."""
    total, row, lesion = sum(counts.values()), 0, _FIRST
    for dx, count in counts.items():
        for index in range(count):
            lesion += index % 4 != 3
            place = row * _STRIDE % total
            yield _View(f"ISIC_{_FIRST + place}", f"HAM_{lesion}", dx, 1 + (2 * place >= total))
            row += 1


def _draw(draw: Draw, lesion: Draw, dx: str) -> Array:
    """Skin with a lesion whose colour, size, border and marks show its class; views of a lesion share its shape."""
    grid = Grid(450, 600)
    colour, feature, (smallest, largest), roughness = _LOOKS[dx]
    radius, slant = lesion.between(smallest, largest), lesion.between(-6, 6)
    rough = lesion.field(grid, 9) * roughness // 256
    tint = [lesion.between(-14, 14) for _ in range(3)]
    y, x = draw.between(-8, 8), draw.between(-8, 8)
    light = draw.between(215, 280)
    skin = np.array([draw.between(205, 235), draw.between(155, 185), draw.between(135, 165)])
    scene = skin + (draw.field(grid, 4) * 16 // 128)[..., None]
    shape = grid.ellipse(y, x, radius * 7 // 8, radius, slant, rough)
    body = np.array(colour) + np.array(tint) + (draw.field(grid, 12) * 14 // 128)[..., None]
    scene = blend(scene, body, shape)
    if dx == "df":
        marks = grid.ellipse(y, x, radius // 2, radius // 2)
    else:
        marks = np.clip(4 * lesion.field(grid, 14) + 40, 0, 200)
    scene = blend(scene, np.array(feature), np.minimum(marks, shape) * 3 // 4)
    return render(draw, grid, scene * light // 256, 30)
