"""Export a store as pictures and a CSV, laid out as by ``medmnist save``: PNG files, or animated GIFs of volumes."""

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
    """Write each image as ``{flag}/{split}{row}_{labels}.png`` and one line per image into ``{flag}.csv``.

    A volume becomes an animated ``.gif`` of the slices of its first axis, written by Pillow.

    Parameters
    ----------
    store : Store
    out : path
        Folder of both, created if needed; for sizes other than 28 px both names include the size.
    force : bool
        Overwrite a different folder and CSV of these names; equal ones are kept.

    Returns
    -------
    Path
        The CSV, which is written last.

    Raises
    ------
    StoreError
        If different files exist there, the disk is full or cannot be written, or Pillow is needed and not installed. A
        folder that holds anything but exported images is never overwritten.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import export_png
    >>> export_png(mmtk.open("stores/breastmnist_28.h5"), "pictures").as_posix()
    'pictures/breastmnist.csv'
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
            raise StoreError(listing, "exists with other content", remedy="use --force to overwrite it")
        if not equal:
            publish_folder(temporary, folder)
    write_text(listing, text)
    return listing


def image_name(split: str, row: int, values: Iterable[int], kind: str = "png") -> str:
    """File name of an image, which includes its labels as numbers."""
    return f"{split}{row}_{'_'.join(map(str, values))}.{kind}"


def _is_equal(folder: Path, other: Path) -> bool:
    names = sorted(path.name for path in other.iterdir())
    if not folder.is_dir() or sorted(path.name for path in folder.iterdir()) != names:
        return False
    return filecmp.cmpfiles(folder, other, names, shallow=False)[1:] == ([], [])


def _refuse_to_replace(folder: Path, force: bool) -> None:
    if not force:
        raise StoreError(folder, "exists with other content", remedy="use --force to overwrite it")
    other = [path.name for path in folder.iterdir() if not _IMAGE.fullmatch(path.name)]
    if other:
        remedy = "choose another --out or move the folder away"
        problem = f"will not be overwritten: it holds {other[0]}, not just exported images"
        raise StoreError(folder, problem, remedy=remedy)


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
        raise StoreError(name, f"cannot encode an image of shape {image.shape} as PNG")
    return data.tobytes()
