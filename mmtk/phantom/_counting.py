"""How many images a phantom needs."""

from __future__ import annotations

from mmtk.datasets.splits import FloorCut

LEAST = 2  # images a class and split, whatever the scale


def enough(count: int, split: FloorCut) -> int:
    """The least number from `count` on of which a floor cut leaves at least two for each split it fills."""
    while True:
        train, val = int(split.first * count), int(split.second * count)
        if min(train, val - train) >= LEAST and (split.within or count - val >= LEAST):
            return count
        count += 1
