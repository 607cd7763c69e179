"""A store as a folder of pictures and one CSV, in the layout of ``medmnist save``: PNG, of volumes animated GIF."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mmtk.datasets.base import SPLITS
from mmtk.datasets.official import SPLIT_WORDS
from mmtk.errors import StoreError
from mmtk.files import clear_leftovers, publish_folder, write_text, writing
from mmtk.store._format import Array
from mmtk.store._gif import write_gif
from mmtk.store._npz import medmnist_name
from mmtk.store._reader import Split, Store

_IMAGE = re.compile(rf"({'|'.join(SPLITS)})\d+(_\d+)+\.(png|gif)")


def export_png(store: Store, out: str | Path, force: bool = False) -> Path:
    """Write each image as ``{flag}/{split}{row}_{labels}.png`` and one line an image into ``{flag}.csv``.

    A volume is an animated ``.gif``, a slice of its first axis after the other; Pillow writes those.

    Parameters
    ----------
    store : Store
    out : path
        Folder of both, made if need be; sizes other than 28 carry the size in both names.
    force : bool
        Replace another folder and CSV of these names; equal ones are left alone.

    Returns
    -------
    Path
        The CSV, which appears last.

    Raises
    ------
    StoreError
        If other files are in the way, the disk is full or cannot be written, or Pillow is not installed and needed. A
        folder that holds anything but such images is never replaced.
    """
    folder = Path(out) / medmnist_name(store)
    listing = folder.with_suffix(".csv")
    clear_leftovers(listing)
    with writing(folder, folder=True) as temporary:
        text = "".join(line for split in store.splits for line in _write_split(split, temporary))
        equal = _is_equal(folder, temporary)
        if folder.exists() and not equal:
            _refuse_to_replace(folder, force)
        if listing.exists() and not force and listing.read_bytes() != text.encode():
            raise StoreError(listing, expected="an equal file or none", found="another", remedy="add --force")
        if not equal:
            publish_folder(temporary, folder)
    write_text(listing, text)
    return listing


def image_name(split: str, row: int, values: Iterable[int], kind: str = "png") -> str:
    """The name of an image's file, of its labels as numbers."""
    return f"{split}{row}_{'_'.join(map(str, values))}.{kind}"


def _is_equal(folder: Path, other: Path) -> bool:
    names = sorted(path.name for path in other.iterdir())
    if not folder.is_dir() or sorted(path.name for path in folder.iterdir()) != names:
        return False
    return filecmp.cmpfiles(folder, other, names, shallow=False)[1:] == ([], [])


def _refuse_to_replace(folder: Path, force: bool) -> None:
    if not force:
        raise StoreError(folder, expected="an equal folder or none", found="another", remedy="add --force")
    strangers = [path.name for path in folder.iterdir() if not _IMAGE.fullmatch(path.name)]
    if strangers:
        remedy = "choose another --out or move the folder away"
        raise StoreError(folder, expected="a folder of exported images alone", found=strangers[0], remedy=remedy)


def _write_split(split: Split, folder: Path) -> list[str]:
    volumes = split.info.ndim == 3
    lines = []
    for row, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
        values = label.tolist()
        name = image_name(split.name, row, values, "gif" if volumes else "png")
        if volumes:
            with (folder / name).open("wb") as file:
                write_gif(name, image, file)
        else:
            (folder / name).write_bytes(_png(name, image))
        lines.append(f"{SPLIT_WORDS[split.name]},{name},{','.join(map(str, values))}\n")
    return lines


def _png(name: str, image: Array) -> bytes:
    import cv2

    ok, data = cv2.imencode(".png", np.ascontiguousarray(image if image.ndim == 2 else image[..., ::-1]))
    if not ok:
        raise StoreError(name, expected="an image that PNG can hold", found=str(image.shape))
    return data.tobytes()
