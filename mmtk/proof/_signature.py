"""The signature of JPEG: whether images have been through quality 75 before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmtk.datasets.base import Dataset
from mmtk.datasets.steps import Pipeline
from mmtk.imaging import round_trip_stack
from mmtk.store import Store

_ROWS = 300
# A second trip changes an image that has made one before about half as much as that one did; an image that has made
# none loses 6 to 15 times as much on its first trip as on the next. Measured at 28 px, means over a file: official
# Pneumonia 1.8 and Retina 1.6, images of six providers after one trip 1.7 to 2.6; official Breast 15, Organ 5.6, Path
# 8.8, images of those providers without a trip 8 to 15. A single photograph of DeepDRiD, edited, gave 2.8 and 3.2: one
# image is not enough, and what lies between the two thresholds tells nothing.
_MADE, _NOT_MADE = 3.0, 4.5
# Levels. Above 28 px a second trip changes the providers' images by 0.00 to 0.02, a first one by 1.4 to 5.4, so that
# a ratio of two trips after the first is of noise.
_STILL = 0.05


@dataclass(frozen=True)
class Signature:
    """What one more round trip does to images.

    Attributes
    ----------
    rows : images looked at
    change : mean change of a pixel in grey levels
    again : the same by a second trip
    jpeg : whether they have been through JPEG before; None if that cannot be told
    """

    rows: int
    change: float
    again: float

    @property
    def jpeg(self) -> bool | None:
        ratio = self.change / max(self.again, _STILL)
        return True if ratio < _MADE else False if ratio > _NOT_MADE else None


def signature(store: Store) -> Signature | None:
    """Measure up to 300 images of a store, spread evenly over it; None if it has none."""
    places = [(split, row) for split in store.splits for row in _spread(len(split), sum(store.counts.values()))]
    if not places:
        return None
    images = np.stack([split.images[row] for split, row in places])
    once = np.array(images, order="C")
    round_trip_stack(once)
    twice = once.copy()
    round_trip_stack(twice)
    change, again = (
        float(np.abs(after.astype(np.int16) - before).mean()) for before, after in ((images, once), (once, twice))
    )
    return Signature(len(places), change, again)


def expects_jpeg(dataset: Dataset, size: int) -> bool:
    """Whether the recipe of a size ends in JPEG of quality 75."""
    return Pipeline(dataset.recipe_for("official", size)).round_trips


def _spread(rows: int, everything: int) -> list[int]:
    chosen = min(rows, -(-_ROWS * rows // max(everything, 1)))
    return sorted(set(np.linspace(0, rows - 1, chosen).astype(int).tolist()))
