"""Picture of a row that differs: ours, the official one and their difference side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmtk.files import write_atomically
from mmtk.proof._rows import RowDifference

Array = np.ndarray[Any, Any]
_SIDE, _GAP, _TEXT = 280, 8, 22


def draw_difference(row: RowDifference, title: str, out: Path) -> Path | None:
    """Write a picture of a row beside the official row it was compared with; None if there is none.

    Differences are scaled so that the largest is white. The folder is created if needed, an existing file overwritten.
    """
    import cv2

    if row.ours is None or row.theirs is None:
        return None
    difference = np.abs(row.ours.astype(np.int16) - row.theirs)
    largest = int(difference.max())
    scaled = (difference.astype(np.int32) * 255 // max(largest, 1)).astype(np.uint8)
    panels = [_enlarged(image) for image in (row.ours, row.theirs, scaled)]
    heads = ("ours", f"official {row.place}", f"difference, at most {largest}")
    side = panels[0].shape[0]
    page = np.full((2 * _TEXT + side + _GAP, 3 * (side + _GAP) + _GAP, 3), 255, np.uint8)
    _write(page, f"{title}: {row.source}", _GAP, _TEXT - 7)
    for number, (panel, head) in enumerate(zip(panels, heads, strict=True)):
        left = _GAP + number * (side + _GAP)
        _write(page, head, left, 2 * _TEXT - 7)
        page[2 * _TEXT : 2 * _TEXT + side, left : left + side] = panel
    _, data = cv2.imencode(".png", page)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, lambda file: file.write(data.tobytes()), force=True)
    return out


def _enlarged(image: Array) -> Array:
    """The image as BGR, each pixel enlarged to a square."""
    times = max(1, _SIDE // image.shape[0])
    colour = image[:, :, ::-1] if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
    return colour.repeat(times, axis=0).repeat(times, axis=1)


def _write(page: Array, text: str, left: int, bottom: int) -> None:
    import cv2

    cv2.putText(page, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
