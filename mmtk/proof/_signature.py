"""The signature of JPEG: detect whether images have been through quality 75 before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmtk.datasets.base import Dataset
from mmtk.datasets.pipelines import Pipeline
from mmtk.imaging import round_trip_stack
from mmtk.store import Store

_ROWS = 300
# Ratio of the changes by two further round trips. In images that have made a round trip before, the second changes
# about half as much as the first; images that have made none lose 6 to 15 times as much on their first trip as on the
# next. Measured at 28 px, averaged over a file: official Pneumonia 1.8 and Retina 1.6, images of six providers after
# one trip 1.7 to 2.6; official Breast 15, Organ 5.6, Path 8.8, images of those providers without a trip 8 to 15. A
# single edited photograph of DeepDRiD gave 2.8 and 3.2: one image is not enough, and values between the two thresholds
# prove nothing.
_JPEG, _NO_JPEG = 3.0, 4.5
# Grey levels. Above 28 px a second trip changes the providers' images by 0.00 to 0.02, a first one by 1.4 to 5.4, so
# the ratio of two trips after the first is noise.
_NOISE = 0.05


@dataclass(frozen=True)
class Signature:
    """Effect of one more round trip on images.

    Attributes
    ----------
    rows : number of images examined
    change : mean change of a pixel in grey levels
    again : the same for a second trip
    jpeg : whether they have been through JPEG before; None if undecided
    """

    rows: int
    change: float
    again: float

    @property
    def jpeg(self) -> bool | None:
        ratio = self.change / max(self.again, _NOISE)
        return True if ratio < _JPEG else False if ratio > _NO_JPEG else None


def signature(store: Store) -> Signature | None:
    """Measure up to 300 images, evenly spaced over a store; None if it has no images."""
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
    """Whether the recipe for a size ends with a JPEG round trip at quality 75."""
    return Pipeline(dataset.recipe_for("official", size)).round_trips


def _spread(rows: int, everything: int) -> list[int]:
    chosen = min(rows, -(-_ROWS * rows // max(everything, 1)))
    return sorted(set(np.linspace(0, rows - 1, chosen).astype(int).tolist()))
