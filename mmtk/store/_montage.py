"""A picture of a store: some images of each class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import StoreError
from mmtk.files import write_atomically
from mmtk.store._reader import Store

_COLUMNS, _TILE, _GAP, _TEXT = 16, 56, 4, 22


def draw_montage(store: Store, out: str | Path, split: str = "train") -> Path:
    """Draw up to 16 images of each class, or of each label that is set, spread evenly over a split.

    Parameters
    ----------
    store : Store
    out : path
        The PNG file, replaced if there; its title says what is synthetic or partial.
    split : {"train", "val", "test"}

    Raises
    ------
    StoreError
        If the split is empty, or `out` is not named as a PNG file.
    """
    import cv2

    final = Path(out)
    if final.suffix.lower() != ".png":
        raise StoreError(final, expected="a name that ends in .png", found=final.name)
    chosen = next(s for s in store.splits if s.name == split)
    if not len(chosen):
        raise StoreError(store.path, expected=f"images in {split}", found="none")
    tile = max(_TILE, store.info.size)
    cell = tile + _GAP
    width = _COLUMNS * cell + _GAP
    rows = len(store.info.classes)
    page = np.full((_TEXT + rows * (cell + _TEXT) + _GAP, width, 3), 255, np.uint8)
    title = f"{store.info.title} {split}, {len(chosen)} images of {store.info.size} px"
    _write(page, f"{title}  {store.info.marks}".rstrip(), _TEXT - 7, (0, 0, 0))
    for row, name in enumerate(store.info.classes):
        members = np.flatnonzero(chosen.labels[:, row] if store.info.labels > 1 else chosen.labels[:, 0] == row)
        top = _TEXT + row * (cell + _TEXT)
        _write(page, f"{row}: {name} ({len(members)})", top + _TEXT - 7, (90, 90, 90))
        picked = members[np.linspace(0, len(members) - 1, min(_COLUMNS, len(members))).astype(int)]
        for column, image in enumerate(chosen.images[picked]):
            colour = image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, 2)
            large = cv2.resize(np.ascontiguousarray(colour), (tile, tile), interpolation=cv2.INTER_NEAREST)
            left = _GAP + column * cell
            page[top + _TEXT : top + _TEXT + tile, left : left + tile] = large
    ok, data = cv2.imencode(".png", page)
    if not ok:
        raise StoreError(out, expected="a picture that PNG can hold", found=str(page.shape))
    write_atomically(final, lambda file: file.write(data.tobytes()), force=True)
    return final


def _write(page: np.ndarray[Any, Any], text: str, baseline: int, colour: tuple[int, int, int]) -> None:
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(page, plain, (_GAP, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
