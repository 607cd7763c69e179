"""Montage of a store: sample images of each class."""

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
    """Draw up to 16 images of each class (or label), evenly spaced over a split.

    Parameters
    ----------
    store : Store
    out : path
        The PNG file, overwritten if it exists; the title says whether the store is synthetic or partial. Volumes are
        shown by the middle slice of their first axis, or in a file named ``.gif`` by all slices, animated.
    split : {"train", "val", "test"}

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    StoreError
        If the split is empty, or `out` does not end in ``.png`` (for volumes ``.png`` or ``.gif``), or Pillow, which
        writes GIF, is not installed.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import draw_montage
    >>> draw_montage(mmtk.open("stores/breastmnist_28.h5"), "montage.png").name
    'montage.png'
    """
    import cv2

    final, volumes = Path(out), store.info.ndim == 3
    endings = (".png", ".gif") if volumes else (".png",)
    if final.suffix.lower() not in endings:
        raise StoreError(final, f"does not end in {' or '.join(endings)}")
    chosen = next(s for s in store.splits if s.name == split)
    if not len(chosen):
        raise StoreError(store.path, f"has no {store.info.kind} in {split}")
    members = [class_rows(chosen, number) for number in range(len(store.info.classes))]
    samples = [chosen.images[rows[_spread(len(rows))]] for rows in members]
    counts, depth = [len(rows) for rows in members], store.info.size

    def slices(at: int) -> Array:
        return _draw(chosen, counts, [images[:, at] for images in samples], f", slice {at + 1} of {depth}")

    if final.suffix.lower() == ".gif":
        pages = (slices(at)[..., 0] for at in range(depth))
        write_atomically(final, lambda file: write_gif(final, pages, file), force=True)
        return final
    page = slices(depth // 2) if volumes else _draw(chosen, counts, samples)
    ok, data = cv2.imencode(".png", page)
    if not ok:
        raise StoreError(out, f"cannot encode a picture of {page.shape[1]} x {page.shape[0]} px as PNG")
    write_atomically(final, lambda file: file.write(data.tobytes()), force=True)
    return final


def class_rows(split: Split, number: int) -> Array:
    """Rows of a class, or rows with a label set."""
    labels = split.labels
    return np.flatnonzero(labels[:, number] if split.info.labels > 1 else labels[:, 0] == number)


def _spread(count: int) -> Array:
    return np.linspace(0, count - 1, min(_COLUMNS, count)).astype(int)


def _draw(split: Split, counts: Sequence[int], pictures: Sequence[Array], slice_of: str = "") -> Array:
    """The page as BGR: a row of pictures ``(n, h, w[, 3])`` per class, below its name and its count."""
    import cv2

    info = split.info
    tile = max(_TILE, info.size)
    cell = tile + _GAP
    page = np.full((_TEXT + len(info.classes) * (cell + _TEXT) + _GAP, _COLUMNS * cell + _GAP, 3), 255, np.uint8)
    title = f"{info.title} {split.name}, {len(split)} {info.kind} of {info.size} px{slice_of}"
    _write(page, f"{title}  {info.marks}".rstrip(), _TEXT - 7, (0, 0, 0))
    for row, (name, count, images) in enumerate(zip(info.classes, counts, pictures, strict=True)):
        top = _TEXT + row * (cell + _TEXT)
        _write(page, f"{row}: {name} ({count})", top + _TEXT - 7, (90, 90, 90))
        for column, image in enumerate(images):
            colour = image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
            large = cv2.resize(np.ascontiguousarray(colour), (tile, tile), interpolation=cv2.INTER_NEAREST)
            left = _GAP + column * cell
            page[top + _TEXT : top + _TEXT + tile, left : left + tile] = large
    return page


def _write(page: np.ndarray[Any, Any], text: str, baseline: int, colour: tuple[int, int, int]) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, (_GAP, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
