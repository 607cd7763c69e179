"""The rule that gives the published counts where no official membership is known."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from mmtk.datasets.base import Record


@dataclass(frozen=True)
class FloorCut:
    """Cut each class of n items: ``int(first * n)`` to train, up to ``int(second * n)`` to val, the rest to test.

    Which images of a class come first is drawn by `seed`: the official splits are drawn too, by a seed nobody knows.
    An image's place in the draw depends on its own name and the seed alone, so it is the same on every machine and
    changes little when an image is taken away. Rows inside a split stay in scan order.

    Parameters
    ----------
    first, second : float
        The cuts, as fractions of a class.
    within : str, optional
        The provider's part that is cut; records of its other parts are test. By default all records are cut.
    seed : int
        Of the draw.
    """

    first: float
    second: float = 1.0
    within: str = ""
    seed: int = 0

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """The split of each record: train, val or test, in the records' order."""
        splits = ["test"] * len(records)
        classes: dict[tuple[int, ...], list[int]] = {}
        for row, record in enumerate(records):
            if not self.within or record.part == self.within:
                classes.setdefault(record.labels, []).append(row)
        for rows in classes.values():
            rows.sort(key=lambda row: sha256(f"{self.seed} {records[row].source}".encode()).digest())
            train, val = int(self.first * len(rows)), int(self.second * len(rows))
            for name, chosen in (("train", rows[:train]), ("val", rows[train:val])):
                for row in chosen:
                    splits[row] = name
        return splits
