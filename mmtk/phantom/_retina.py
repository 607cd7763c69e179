"""Phantoms of DeepDRiD: colour fundus photographs by patient, tables with backslashes and a column per eye."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Record, SplitRule
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {"training": 300, "validation": 100}  # patients, four photographs each
_LEAST = {"training": 21, "validation": 3}  # three patients have every grade; a tenth of the training part is val
_FIRST = 90001  # no real patient has such a number
_SIZES = ((1736, 1824), (1736, 1824), (1934, 1956), (1728, 2304))  # height, width
_HEAD = (
    "patient_id,image_id,image_path,Overall quality,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level,Clarity,"
    "Field definition,Artifact"
)


class _Photograph(NamedTuple):
    part: str
    patient: int
    name: str
    grade: int


def counts(scale: float, split: SplitRule) -> dict[str, int]:
    """Photographs of each part."""
    return {part: 4 * max(_LEAST[part], round(scale * n)) for part, n in _PUBLISHED.items()}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """The table of each part, with Windows line ends; its paths lack the folder ``Images``."""
    files = {}
    for part in counts:
        rows = [_HEAD]
        for photo in _photographs(counts):
            if photo.part == part:
                path = f"\\regular-fundus-{part}\\{photo.patient}\\{photo.name}.jpg"
                levels = f"{photo.grade}," if "_l" in photo.name else f",{photo.grade}"
                rows.append(f"{photo.patient},{photo.name},{path},1,{levels},{photo.grade},10,8,1")
        name = f"regular_fundus_images/regular-fundus-{part}/regular-fundus-{part}.csv"
        files[name] = ("\r\n".join(rows) + "\r\n").encode()
    return files


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each photograph."""
    for index, photo in enumerate(_photographs(counts)):
        eye = Draw(seed, f"{photo.patient} {photo.name.split('_')[1][0]}")
        picture = _draw(Draw(seed, photo.name), eye, photo.grade, index)
        name = f"regular_fundus_images/regular-fundus-{photo.part}/Images/{photo.patient}/{photo.name}.jpg"
        yield {name: encoded(picture, ".jpg", JPEG_QUALITY=90)}


def _photographs(counts: dict[str, int]) -> Iterator[_Photograph]:
    """Two photographs of each eye; grades rotate within each split, so that no split lacks one."""
    patients = [part for part, count in counts.items() for _ in range(count // 4)]
    parts = {"training": "train", "validation": "test"}
    records = tuple(Record("", "", (), str(_FIRST + i), parts[part]) for i, part in enumerate(patients))
    rank = dict.fromkeys(SPLITS, 0)
    for record, part, split in zip(records, patients, get_dataset("retinamnist").split.assign(records), strict=True):
        for eye in ("l", "r"):
            for number in (1, 2):
                yield _Photograph(part, int(record.subject), f"{record.subject}_{eye}{number}", rank[split] % 5)
            rank[split] += 1


def _draw(draw: Draw, eye: Draw, grade: int, index: int) -> Array:
    """A round fundus on a dark background; lesions grow in number and size with the grade."""
    grid = Grid(*_SIZES[index % len(_SIZES)])
    shift = draw.between(-3, 3)
    disc = grid.ellipse(0, 0, 30, 30)
    ground = np.array([eye.between(170, 210), eye.between(80, 110), eye.between(40, 65)])
    scene = np.broadcast_to(ground, (grid.height, grid.width, 3)) + (draw.field(grid, 6) * 10 // 128)[..., None]
    side = 14 if index % 4 < 2 else -14
    scene = blend(scene, np.array([240, 210, 140]), grid.ellipse(0, side + shift, 5, 5))
    scene = blend(scene, np.array([110, 45, 30]), grid.ellipse(0, -side // 2 + shift, 6, 6) * 3 // 4)
    for number in range(5 * grade):
        y, x = eye.between(-20, 20), eye.between(-20, 20)
        size = 1 + grade // 2 + number % 2
        colour = np.array([250, 235, 130] if number % 2 else [85, 10, 15])
        scene = blend(scene, colour, grid.ellipse(y, x + shift, size, size))
    scene = blend(np.zeros_like(scene) + 4, scene * draw.between(220, 270) // 256, np.minimum(256, 3 * disc))
    return render(draw, grid, scene, 24)
