"""Phantoms of ChestX-ray14: 1024 x 1024 PNGs, some of them RGBA, NIH's table and lists, and the CheXNet lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mmtk.datasets.base import SplitRule
from mmtk.phantom._drawing import Array, Draw, Grid, blend, encoded, render

_PUBLISHED = {"train": 78468, "val": 11219, "test": 22433}
_FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)
_LEAST = 4 * len(_FINDINGS)  # two films per finding, and as many without findings
_FIRST = 90001  # the last real patient is 30805
_SIDE = 1024
_HEAD = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


class _Film(NamedTuple):
    name: str
    folder: int
    split: str
    flags: tuple[int, ...]
    patient: int
    number: int


def counts(scale: float, split: SplitRule) -> dict[str, int]:
    """Films of each split."""
    return {name: max(_LEAST, round(scale * count)) for name, count in _PUBLISHED.items()}


def extras(counts: dict[str, int], seed: int) -> dict[str, bytes]:
    """NIH's table, whose header has commas in brackets, NIH's own split, which differs, and that of CheXNet."""
    films = list(_films(counts))
    table = [_HEAD]
    for film in films:
        draw = Draw(seed, f"table {film.name}")
        findings = "|".join(n for n, on in zip(_FINDINGS, film.flags, strict=True) if on) or "No Finding"
        sex, view = "MF"[draw.between(0, 1)], ("PA", "AP")[draw.between(0, 1)]
        who = f"{film.number},{film.patient},{draw.between(5, 90)},{sex},{view}"
        table.append(f"{film.name},{findings},{who},2500,2048,0.168,0.168,")
    own = ("train_val_list.txt", [f.name for f in films if f.patient % 3]), (
        "test_list.txt", [f.name for f in films if not f.patient % 3])
    files = {"Data_Entry_2017.csv": "\n".join(table), **{name: "\n".join(names) for name, names in own}}
    for split in counts:
        lines = (f"{f.name} {' '.join(map(str, f.flags))}" for f in films if f.split == split)
        files[f"chexnet_lists/{split}_list.txt"] = "\n".join(lines) + "\n"
    return {name: text.encode() for name, text in files.items()}


def images(counts: dict[str, int], seed: int) -> Iterator[dict[str, bytes]]:
    """The file of each film; one in 64 is RGBA."""
    for index, film in enumerate(_films(counts)):
        picture = _draw(Draw(seed, film.name), film.flags)
        yield {f"images_{film.folder:03d}/images/{film.name}": _png(picture, alpha=index % 64 == 5)}


def _films(counts: dict[str, int]) -> Iterator[_Film]:
    """Patients in order, with one to four films each, split by split."""
    patient = _FIRST
    for split, count in counts.items():
        done = 0
        while done < count:
            for number in range(min(1 + patient % 4, count - done)):
                yield _Film(
                    f"{patient:08d}_{number:03d}.png", 1 + patient % 12, split, _flags(done), patient, number
                )
                done += 1
            patient += 1


def _flags(index: int) -> tuple[int, ...]:
    """Every other film has a finding, in rotation; every third of those also has the one three places further."""
    flags = [0] * len(_FINDINGS)
    if index % 2 == 0:
        flags[index // 2 % len(flags)] = 1
        if index % 3 == 0:
            flags[(index // 2 + 3) % len(flags)] = 1
    return tuple(flags)


def _draw(draw: Draw, flags: tuple[int, ...]) -> Array:
    """A chest; each finding has its own kind of mark in its own place."""
    grid = Grid(_SIDE, _SIDE)
    middle, top = draw.between(-3, 3), draw.between(-3, 3)
    scene = 165 + draw.field(grid, 4) * 16 // 128 - abs(grid.x - middle) // 2
    ribs = abs((grid.y + abs(grid.x) // 3 + draw.between(0, 11)) % 12 - 6) * 3
    for side in (-1, 1):
        scene = blend(scene, 55 + ribs, grid.ellipse(top, middle + side * 15, 25, 11, side * 2))
    scene = blend(scene, 185, grid.ellipse(top + 12, middle + 5, 12, 12 + 7 * flags[1], 3))
    for finding, on in enumerate(flags):
        if on and finding != 1:
            y, x = top - 20 + 3 * finding, middle + (-16 if finding % 2 else 16)
            size = (3, 8, 5, 10)[finding % 4]
            mark = grid.ellipse(y, x, size, 5 + finding % 3 * 2, 0, draw.field(grid, 10) if finding % 5 == 0 else 0)
            scene = blend(scene, 20 if finding in (7, 10) else 215, mark)
    return render(draw, grid, scene * draw.between(220, 275) // 256, 36)


def _png(pixels: Array, alpha: bool) -> bytes:
    if alpha:
        pixels = np.dstack([pixels, pixels, pixels, np.full_like(pixels, 255)])
    return encoded(pixels, ".png", PNG_COMPRESSION=1)
