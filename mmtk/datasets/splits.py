"""The rules that give the published counts where no official membership is known, and the split by subject."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256

from mmtk.datasets.base import SPLITS, Counts, Record, SplitRule


def _draw(seed: int, name: str) -> bytes:
    """A name's place in a draw: it depends on the name and the seed alone, so it is the same on every machine."""
    return sha256(f"{seed} {name}".encode()).digest()


def _within(part: str, split: str) -> tuple[str, ...]:
    """Where a record may stand of a rule that draws train and val from a part of the provider, if it names one."""
    return SPLITS if not part else ("test",) if split == "test" else ("train", "val")


@dataclass(frozen=True)
class FloorCut(SplitRule):
    """Cut each class of n items: ``int(first * n)`` to train, up to ``int(second * n)`` to val, the rest to test.

    Which images of a class come first is drawn by `seed`: the official splits are drawn too, by a seed nobody knows.
    An image's place in the draw changes little when another is taken away. Rows inside a split stay in scan order.

    Parameters
    ----------
    first, second : float
        The cuts, as fractions of a class.
    within : str, optional
        The provider's part that is cut; records of its other parts are test. By default all records are cut.
    seed : int
        Of the draw.
    """

    name = "floor_cut"
    first: float
    second: float = 1.0
    within: str = ""
    seed: int = 0

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        splits = ["test"] * len(records)
        classes: dict[tuple[int, ...], list[int]] = {}
        for row, record in enumerate(records):
            if not self.within or record.part == self.within:
                classes.setdefault(record.labels, []).append(row)
        for rows in classes.values():
            rows.sort(key=lambda row: _draw(self.seed, records[row].source))
            train, val = int(self.first * len(rows)), int(self.second * len(rows))
            for name, chosen in (("train", rows[:train]), ("val", rows[train:val])):
                for row in chosen:
                    splits[row] = name
        return splits

    def may_be(self, split: str) -> tuple[str, ...]:
        return _within(self.within, split)


@dataclass(frozen=True)
class SubjectCut(SplitRule):
    """Cut the subjects of one part of the provider: ``int(first * n)`` of them to train, the rest to val.

    Parameters
    ----------
    first : float
        The cut, as a fraction of the subjects.
    within : str
        The provider's part that is cut; records of its other parts are test.
    seed : int
        Of the draw.
    """

    name = "subject_cut"
    first: float
    within: str
    seed: int = 0

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        subjects = {record.subject for record in records if record.part == self.within}
        drawn = sorted(subjects, key=lambda subject: _draw(self.seed, subject))
        train = set(drawn[: int(self.first * len(drawn))])
        return ["test" if r.part != self.within else "train" if r.subject in train else "val" for r in records]

    def may_be(self, split: str) -> tuple[str, ...]:
        return _within(self.within, split)


@dataclass(frozen=True)
class ByPart(SplitRule):
    """The provider's parts are the splits."""

    name = "provider_parts"

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        return [record.part for record in records]

    def may_be(self, split: str) -> tuple[str, ...]:
        return (split,)


@dataclass(frozen=True)
class GroupedCut(SplitRule):
    """Cut so that no subject stands in two splits, counts as near as possible to the published ones in every class.

    Subjects are dealt out largest first, equal ones in an order drawn by `seed`, each to the split that lacks most of
    its classes; those with a single image come last and fill each split up. With several labels a row, or where a
    class is too small, only the totals count.

    Parameters
    ----------
    counts : Counts
        The published counts; of an incomplete source the same shares are aimed at.
    seed : int
        Of the draw.
    """

    name = "grouped_cut"
    counts: Counts
    seed: int = 0

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """The split of each record: train, val or test, in the records' order.

        A record without a subject is a subject of its own.
        """
        groups: dict[str, list[int]] = {}
        for row, record in enumerate(records):
            groups.setdefault(record.subject or f"\0{record.source}", []).append(row)
        kinds: list[tuple[int, ...]] = [r.labels if len(r.labels) == 1 else () for r in records]
        lacking = self._targets(kinds)
        wanted = {key: max(count, 1) for key, count in lacking.items()}
        order = sorted(groups, key=lambda name: (-len(groups[name]), _draw(self.seed, name)))
        splits = [""] * len(records)
        for name in order:
            rows = groups[name]
            held: dict[tuple[int, ...], int] = {}
            for row in rows:
                held[kinds[row]] = held.get(kinds[row], 0) + 1

            def fit(split: str, held: dict[tuple[int, ...], int] = held) -> tuple[int, Fraction]:
                over = sum(max(0, n - lacking[split, kind]) for kind, n in held.items())
                share = sum((Fraction(n * lacking[split, kind], wanted[split, kind]) for kind, n in held.items()),
                            Fraction(0))
                return (-over, share)

            chosen = max(SPLITS, key=fit)
            for kind, n in held.items():
                lacking[chosen, kind] -= n
            for row in rows:
                splits[row] = chosen
        return splits

    def _targets(self, kinds: list[tuple[int, ...]]) -> dict[tuple[str, tuple[int, ...]], int]:
        """Whole numbers for each split and class that add up to the classes and, as near as can be, to the splits."""
        shares = {split: Fraction(getattr(self.counts, split), self.counts.total) for split in SPLITS}
        classes: dict[tuple[int, ...], int] = {}
        for kind in kinds:
            classes[kind] = classes.get(kind, 0) + 1
        exact = {(split, kind): shares[split] * n for split in SPLITS for kind, n in classes.items()}
        targets = {key: int(value) for key, value in exact.items()}
        owed = {split: round(shares[split] * len(kinds)) - sum(targets[split, kind] for kind in classes)
                for split in SPLITS}
        for kind, n in classes.items():
            for _ in range(n - sum(targets[split, kind] for split in SPLITS)):
                split = max(SPLITS, key=lambda s: (owed[s] > 0, exact[s, kind] - targets[s, kind]))
                targets[split, kind] += 1
                owed[split] -= 1
        return targets
