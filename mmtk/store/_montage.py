"""A picture of a store: some images of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import StoreError
from mmtk.files import write_atomically
from mmtk.store._format import Array
from mmtk.store._gif import write_gif
from mmtk.store._reader import Split, Store

_COLUMNS, _TILE, _GAP, _TEXT = 16, 56, 4, 22


def draw_montage(store: Store, out: str | Path, split: str = "train") -> Path:
    """Draw up to 16 images of each class, or of each label that is set, spread evenly over a split.

    Parameters
    ----------
    store : Store
    out : path
        The PNG file, replaced if there; its title says what is synthetic or partial. Of volumes it shows the slices in
        the middle of the first axis; with a name that ends in ``.gif`` all of them, one after the other.
    split : {"train", "val", "test"}

    Raises
    ------
    StoreError
        If the split is empty, or `out` is not named as a PNG file, of volumes as PNG or GIF; or Pillow, which writes
        GIF, is not installed.
    """
    import cv2

    final, volumes = Path(out), store.info.ndim == 3
    endings = (".png", ".gif") if volumes else (".png",)
    if final.suffix.lower() not in endings:
        raise StoreError(final, expected=f"a name that ends in {' or '.join(endings)}", found=final.name)
    chosen = next(s for s in store.splits if s.name == split)
    if not len(chosen):
        raise StoreError(store.path, expected=f"images in {split}", found="none")
    members = [class_rows(chosen, number) for number in range(len(store.info.classes))]
    picked = [chosen.images[some[_spread(len(some))]] for some in members]
    counts, depth = [len(some) for some in members], store.info.size

    def slices(at: int) -> Array:
        return _draw(chosen, counts, [images[:, at] for images in picked], f", slice {at + 1} of {depth}")

    if final.suffix.lower() == ".gif":
        pages = (slices(at)[..., 0] for at in range(depth))
        write_atomically(final, lambda file: write_gif(final, pages, file), force=True)
        return final
    page = slices(depth // 2) if volumes else _draw(chosen, counts, picked)
    ok, data = cv2.imencode(".png", page)
    if not ok:
        raise StoreError(out, expected="a picture that PNG can hold", found=str(page.shape))
    write_atomically(final, lambda file: file.write(data.tobytes()), force=True)
    return final


def class_rows(split: Split, number: int) -> Array:
    """Rows of a class, or those that have a label."""
    labels = split.labels
    return np.flatnonzero(labels[:, number] if split.info.labels > 1 else labels[:, 0] == number)


def _spread(count: int) -> Array:
    return np.linspace(0, count - 1, min(_COLUMNS, count)).astype(int)


def _draw(split: Split, counts: Sequence[int], pictures: Sequence[Array], slice_of: str = "") -> Array:
    """A page as BGR: pictures ``(n, h, w[, 3])`` of each class in a row, below its name and how many there are."""
    import cv2

    info = split.info
    tile = max(_TILE, info.size)
    cell = tile + _GAP
    page = np.full((_TEXT + len(info.classes) * (cell + _TEXT) + _GAP, _COLUMNS * cell + _GAP, 3), 255, np.uint8)
    title = f"{info.title} {split.name}, {len(split)} {info.kind} of {info.size} px{slice_of}"
    _write(page, f"{title}  {info.marks}".rstrip(), _TEXT - 7, (0, 0, 0))
    for row, (name, count, some) in enumerate(zip(info.classes, counts, pictures, strict=True)):
        top = _TEXT + row * (cell + _TEXT)
        _write(page, f"{row}: {name} ({count})", top + _TEXT - 7, (90, 90, 90))
        for column, image in enumerate(some):
            colour = image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
            large = cv2.resize(np.ascontiguousarray(colour), (tile, tile), interpolation=cv2.INTER_NEAREST)
            left = _GAP + column * cell
            page[top + _TEXT : top + _TEXT + tile, left : left + tile] = large
    return page


def _write(page: np.ndarray[Any, Any], text: str, baseline: int, colour: tuple[int, int, int]) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, (_GAP, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
