"""Write a phantom: choose how many images, draw them, and give the folder its name only when it is complete."""

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
    """Check that a dataset has a phantom, which the user's own have not.

    Raises
    ------
    ArgumentError
        If it has none.
    """
    if dataset.family not in PHANTOMS:
        raise ArgumentError(f"dataset {dataset.flag}", "has no phantom", expected=f"one of {', '.join(PHANTOMS)}")


def write_phantom(
    flag: str, out: str | os.PathLike[str], scale: float = 0.01, seed: int = 0, progress: Progress | None = None
) -> Path:
    """Write synthetic raw files of a dataset in its provider's layout.

    Parameters
    ----------
    flag : str
        One of the paper's ten, or ``organmnist`` for the volumes that the three Organ sets share.
    out : path-like
        Folder to write to; created if it does not exist.
    scale : float
        Number of images as a share of the published counts, above 0 and at most 1. Each class has at least two images
        per split, whatever the scale.
    seed : int
        The same seed gives the same pixels on every machine.
    progress : callable, optional
        Called with the number of images written and in total.

    Returns
    -------
    Path
        ``out/<flag>``, or ``out/organmnist`` for the Organ sets. If the same phantom is there already, it is kept.

    Raises
    ------
    ArgumentError
        If the dataset has no phantom, or scale or seed is out of range.
    SourceError
        If ``out/<flag>`` exists and is anything else.

    Examples
    --------
    >>> from mmtk.phantom import write_phantom
    >>> folder = write_phantom("breastmnist", "drawn", scale=0.01)
    >>> sorted(path.name for path in (folder / "Dataset_BUSI_with_GT").iterdir())
    ['benign', 'malignant', 'normal']
    >>> len(list(folder.rglob("*).png")))
    28
    """
    dataset = choose([flag])[0]
    expect_drawn(dataset)
    family = PHANTOMS[dataset.family]
    if not 0 < scale <= 1:
        raise ArgumentError("scale", found=str(scale), expected="a number above 0 and at most 1")
    if seed < 0:
        raise ArgumentError("seed", found=str(seed), expected="0 or above")
    counts = family.counts(scale, dataset.split)
    total = sum(counts.values())
    facts = {"flag": dataset.family, "scale": scale, "seed": seed, "images": total}
    final = Path(out) / dataset.family
    if final.exists():
        _expect_same(final, facts)
        return final
    with writing(final, folder=True) as drawn:
        _write(drawn, family.extras(counts, seed))
        for done, files in enumerate(family.images(counts, seed), 1):
            _write(drawn, files)
            if progress is not None:
                progress(done, total)
        _write(drawn, {PHANTOM_FILE: json.dumps(facts).encode() + b"\n"})
        if final.exists():  # another process has written it meanwhile
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
        existing = json.loads((final / PHANTOM_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        existing = {}
    if existing != facts:
        known = existing if isinstance(existing, dict) else {}
        parts = [f"{name} {known[name]}" for name in ("scale", "seed", "images") if name in known]
        problem = f"already exists, with {', '.join(parts)}" if parts else "already exists and is not a phantom"
        raise SourceError(final, problem, remedy="remove it or choose another folder")
