"""A store as a folder of PNG files and one CSV, in the layout of ``medmnist save``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from mmtk.errors import StoreError
from mmtk.store._npz import medmnist_name, write_atomically
from mmtk.store._reader import Split, Store

_CSV_SPLIT = {"train": "TRAIN", "val": "VALIDATION", "test": "TEST"}


def export_png(store: Store, out: str | Path, force: bool = False) -> Path:
    """Write each image as ``{flag}/{split}{row}_{labels}.png`` and one line an image into ``{flag}.csv``.

    Parameters
    ----------
    store : Store
    out : path
        Folder of both, made if need be; sizes other than 28 carry the size in both names.
    force : bool
        Replace a folder and CSV that are there.

    Returns
    -------
    Path
        The CSV, which appears last.

    Raises
    ------
    StoreError
        If the folder of images or the CSV is there already.
    """
    out = Path(out)
    folder = out / medmnist_name(store)
    listing = folder.with_suffix(".csv")
    there = next((path for path in (folder, listing) if path.exists()), None)
    if there is not None and not force:
        raise StoreError(there, expected="no such path yet", found="one", remedy="add --force to replace it")
    temporary = out / f".{folder.name}.{os.getpid()}"
    temporary.mkdir(parents=True)
    try:
        lines = "".join(line for split in store.splits for line in _write_split(split, temporary))
        listing.unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        write_atomically(listing, lambda file: file.write(lines.encode()))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return listing


def _write_split(split: Split, folder: Path) -> list[str]:
    import cv2

    lines = []
    for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        values = [str(value) for value in label]
        name = f"{split.name}{row}_{'_'.join(values)}.png"
        ok, data = cv2.imencode(".png", np.ascontiguousarray(image if image.ndim == 2 else image[..., ::-1]))
        if not ok:
            raise StoreError(name, expected="an image that PNG can hold", found=str(image.shape))
        (folder / name).write_bytes(data.tobytes())
        lines.append(f"{_CSV_SPLIT[split.name]},{name},{','.join(values)}\n")
    return lines
