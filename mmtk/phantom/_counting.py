"""How many images a phantom needs."""

from __future__ import annotations

from mmtk.datasets.splits import FloorCut

LEAST = 2  # images per class and split, whatever the scale


def enough(count: int, split: FloorCut) -> int:
    """The smallest number from `count` up that a floor cut divides into at least two images per split it fills."""
    while True:
        train, val = int(split.first * count), int(split.second * count)
        if min(train, val - train) >= LEAST and (split.within or count - val >= LEAST):
            return count
        count += 1
