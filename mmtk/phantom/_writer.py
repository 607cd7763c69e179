"""Write a phantom: choose how many images, draw them, and put the folder under its name only when it is whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mmtk.base import Progress
from mmtk.datasets.base import Dataset
from mmtk.datasets.listing import PHANTOM_FILE
from mmtk.datasets.sources import choose
from mmtk.errors import ArgumentError, SourceError
from mmtk.files import publish, writing
from mmtk.phantom import _breast, _chest, _derma, _oct, _organ, _path, _pneumonia, _retina

PHANTOMS: dict[str, Any] = {  # each has counts, extras and images
    "pathmnist": _path, "chestmnist": _chest, "dermamnist": _derma, "octmnist": _oct, "pneumoniamnist": _pneumonia,
    "retinamnist": _retina, "breastmnist": _breast, "organmnist": _organ,
}


def expect_drawn(dataset: Dataset) -> None:
    """Refuse a dataset of which there is no phantom, such as somebody's own.

    Raises
    ------
    ArgumentError
        If it is one.
    """
    if dataset.family not in PHANTOMS:
        raise ArgumentError(f"phantom of {dataset.flag}", expected=f"one of {', '.join(PHANTOMS)}")


def write_phantom(
    flag: str, out: str | os.PathLike[str], scale: float = 0.01, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write synthetic raw files of a dataset in its provider's layout.

    Parameters
    ----------
    flag : str
        One of the ten, or ``organmnist`` for the volumes that the three Organ sets share.
    out : path-like
        Folder that will hold the source, made if need be.
    scale : float
        Part of the published counts, above 0 and at most 1; at least two images a class and split whatever the scale.
    seed : int
        Of all that is drawn: equal seeds give equal pixels on every machine.
    progress : callable, optional
        Called with the files written so far and in all.

    Returns
    -------
    Path
        ``out/<flag>``, ``out/organmnist`` for the Organ sets. The same phantom already there is left as it is.

    Raises
    ------
    ArgumentError
        If there is no phantom of that dataset, or scale or seed are out of range.
    SourceError
        If something else lies at ``out/<flag>``.
    """
    dataset = choose([flag])[0]
    expect_drawn(dataset)
    family = PHANTOMS[dataset.family]
    if not 0 < scale <= 1:
        raise ArgumentError("scale", expected="a number above 0 and at most 1", found=str(scale))
    if seed < 0:
        raise ArgumentError("seed", expected="0 or above", found=str(seed))
    counts = family.counts(scale, dataset.split)
    total = sum(counts.values())
    facts = {"flag": dataset.family, "scale": scale, "seed": seed, "images": total}
    final = Path(out) / dataset.family
    if final.exists():
        _expect_same(final, facts)
        return final
    with writing(final, folder=True) as drawn:
        _write(drawn, family.extras(counts, seed))
        for done, made in enumerate(family.images(counts, seed), 1):
            _write(drawn, made)
            if progress is not None:
                progress(done, total)
        _write(drawn, {PHANTOM_FILE: json.dumps(facts).encode() + b"\n"})
        if final.exists():  # by now
            _expect_same(final, facts)
        else:
            publish(drawn, final)
    return final


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _expect_same(final: Path, facts: dict[str, object]) -> None:
    try:
        found = json.loads((final / PHANTOM_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = "something else"
    if found != facts:
        remedy = "remove it or choose another folder"
        raise SourceError(final, expected=f"nothing yet, or the phantom {facts}", found=str(found), remedy=remedy)
