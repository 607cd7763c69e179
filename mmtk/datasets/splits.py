"""Split rules: those that reproduce published counts where no official map is known, and splits by subject."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from math import lcm

from mmtk.datasets.base import SPLITS, Counts, Record, SplitRule


def _draw(seed: int, name: str) -> bytes:
    """Sort key for a seeded shuffle; it only depends on name and seed, so it is the same on every machine."""
    return sha256(f"{seed} {name}".encode()).digest()


def _within(part: str, split: str) -> tuple[str, ...]:
    """Possible official splits for a rule that draws train and val, perhaps from one of the provider's parts."""
    return SPLITS if not part else ("test",) if split == "test" else ("train", "val")


@dataclass(frozen=True)
class FloorCut(SplitRule):
    """Split each class of n images: ``int(first * n)`` to train, up to ``int(second * n)`` to val, the rest to test.

    The images of a class are shuffled with `seed`, as the official splits were with an unknown seed. Removing an image
    hardly changes the order of the others. Rows within a split stay in scan order.

    Parameters
    ----------
    first, second : float
        Ends of train and val, as fractions of a class.
    within : str, optional
        Only split this part of the provider; records of other parts are test. By default all records are split.
    seed : int
        Seed of the shuffle.

    Examples
    --------
    >>> from mmtk.datasets.base import Record
    >>> from mmtk.datasets.splits import FloorCut
    >>> records = tuple(Record(f"{n}.png", f"{n}.png", (0,)) for n in range(10))
    >>> sorted(FloorCut(0.7, 0.8).assign(records))
    ['test', 'test', 'train', 'train', 'train', 'train', 'train', 'train', 'train', 'val']
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
    """Split the n subjects of one of the provider's parts: ``int(first * n)`` to train, the rest to val.

    Parameters
    ----------
    first : float
        End of train, as a fraction of the subjects.
    within : str
        The provider's part to split; records of other parts are test.
    seed : int
        Seed of the shuffle.

    Examples
    --------
    >>> from mmtk.datasets.base import Record
    >>> from mmtk.datasets.splits import SubjectCut
    >>> records = tuple(Record(f"{n}.png", f"{n}.png", (0,), f"p{n // 5}", "train") for n in range(10))
    >>> sorted(SubjectCut(0.5, within="train").assign(records))
    ['train', 'train', 'train', 'train', 'train', 'val', 'val', 'val', 'val', 'val']
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
    """Use the provider's parts as splits.

    Examples
    --------
    >>> from mmtk.datasets.base import Record
    >>> from mmtk.datasets.splits import ByPart
    >>> ByPart().assign((Record("a.png", "a.png", (0,), part="test"),))
    ['test']
    """

    name = "provider_parts"

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        return [record.part for record in records]

    def may_be(self, split: str) -> tuple[str, ...]:
        return (split,)


@dataclass(frozen=True)
class GroupedCut(SplitRule):
    """Split without subjects in two splits, with counts per class as close as possible to the published ones.

    Subjects are assigned largest first, equally large ones in an order shuffled with `seed`, each to the split that
    lacks most of its classes; subjects with a single image come last and fill up the splits. In multi-label tasks, or
    if a class is too small, only total counts are matched.

    Parameters
    ----------
    counts : Counts
        The published counts; for an incomplete source their proportions are used.
    seed : int
        Seed of the shuffle.

    Examples
    --------
    >>> from mmtk.datasets.base import Counts, Record
    >>> from mmtk.datasets.splits import GroupedCut
    >>> records = tuple(Record(f"{n}.png", f"{n}.png", (0,), f"p{n // 2}") for n in range(10))
    >>> sorted(GroupedCut(Counts(6, 2, 2)).assign(records))
    ['test', 'test', 'train', 'train', 'train', 'train', 'train', 'train', 'val', 'val']
    """

    name = "grouped_cut"
    counts: Counts
    seed: int = 0

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """Return the split of each record, in the same order; a record without a subject is its own subject."""
        groups = _subjects(records)
        strata: list[list[_Stratum]] = [[r.labels if len(r.labels) == 1 else ()] for r in records]
        shares = {split: Fraction(getattr(self.counts, split), self.counts.total) for split in SPLITS}
        dealt = _deal(groups, strata, _targets(strata, shares), self.seed)
        chosen = {row: dealt[name] for name, rows in groups.items() for row in rows}
        return [chosen[row] for row in range(len(records))]


@dataclass(frozen=True)
class Shares(SplitRule):
    """Split by shares without subjects in two splits, with every class as close to its share as possible.

    Subjects are assigned as by `GroupedCut`; in multi-label tasks each label and the total are matched. If a split
    would lack a class, the smallest subject that another split can spare is moved there.

    Parameters
    ----------
    train, val, test : float
        Shares of the images, in any unit.
    seed : int
        Seed of the shuffle among subjects of equal size.
    within : str, optional
        Only split this part of the source; records of other parts stay there. By default all records are split.

    Examples
    --------
    >>> from mmtk.datasets.splits import Shares
    >>> print(Shares(70, 10, 20))
    shares train 70, val 10, test 20 by subject, seed 0
    """

    name = "shares"
    train: float
    val: float
    test: float
    seed: int = 0
    within: str = ""

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """Return the split of each record, in the same order; a record without a subject is its own subject."""
        cut = [row for row, record in enumerate(records) if not self.within or record.part == self.within]
        some = tuple(records[row] for row in cut)
        groups = _subjects(some)
        strata: list[list[_Stratum]] = [
            [r.labels] if len(r.labels) == 1 else [(), *((label,) for label, on in enumerate(r.labels) if on)]
            for r in some
        ]
        parts = {split: Fraction(getattr(self, split)) for split in SPLITS}
        shares = {split: part / sum(parts.values()) for split, part in parts.items()}
        dealt = _deal(groups, strata, _targets(strata, shares), self.seed)
        _fill_gaps(dealt, groups, strata, [split for split in SPLITS if shares[split]])
        splits = [record.part for record in records]
        for name, rows in groups.items():
            for row in rows:
                splits[cut[row]] = dealt[name]
        return splits

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {getattr(self, name):g}" for name in SPLITS if getattr(self, name))
        return f"shares {shares} by subject, seed {self.seed}" + (f", within {self.within}" if self.within else "")

    def may_be(self, split: str) -> tuple[str, ...]:
        return _within(self.within, split)


_Stratum = tuple[int, ...]  # a class; the empty tuple means all images


def _subjects(records: tuple[Record, ...]) -> dict[str, list[int]]:
    """The rows of each subject; a record without a subject is its own subject."""
    groups: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(record.subject or f"\0{record.source}", []).append(row)
    return groups


def _held(rows: list[int], strata: list[list[_Stratum]]) -> Counter[_Stratum]:
    """The number of rows in each stratum."""
    return Counter(stratum for row in rows for stratum in strata[row])


def _deal(
    groups: dict[str, list[int]], strata: list[list[_Stratum]], lacking: dict[tuple[str, _Stratum], int], seed: int
) -> dict[str, str]:
    """Assign each subject to the split that lacks most of its strata."""
    wanted = {key: max(count, 1) for key, count in lacking.items()}
    common = lcm(*wanted.values())  # with this denominator all shares are integers
    parts = {key: common // count for key, count in wanted.items()}
    dealt = {}
    for name in sorted(groups, key=lambda name: (-len(groups[name]), _draw(seed, name))):
        held = _held(groups[name], strata)

        def fit(split: str, held: Counter[_Stratum] = held) -> tuple[int, int]:
            over = sum(max(0, n - lacking[split, stratum]) for stratum, n in held.items())
            return (-over, sum(n * lacking[split, stratum] * parts[split, stratum] for stratum, n in held.items()))

        dealt[name] = max(SPLITS, key=fit)
        for stratum, n in held.items():
            lacking[dealt[name], stratum] -= n
    return dealt


def _targets(strata: list[list[_Stratum]], shares: dict[str, Fraction]) -> dict[tuple[str, _Stratum], int]:
    """Integer counts per split and stratum that add up to the strata and, as closely as possible, to the splits."""
    classes = _held(list(range(len(strata))), strata)
    exact = {(split, stratum): shares[split] * n for split in SPLITS for stratum, n in classes.items()}
    targets = {key: int(value) for key, value in exact.items()}
    owed = {split: round(shares[split] * classes.total()) - sum(targets[split, stratum] for stratum in classes)
            for split in SPLITS}
    for stratum, n in classes.items():
        for _ in range(n - sum(targets[split, stratum] for split in SPLITS)):
            split = max(SPLITS, key=lambda s: (owed[s] > 0, exact[s, stratum] - targets[s, stratum]))
            targets[split, stratum] += 1
            owed[split] -= 1
    return targets


def _fill_gaps(
    dealt: dict[str, str], groups: dict[str, list[int]], strata: list[list[_Stratum]], splits: list[str]
) -> None:
    """Move subjects to splits that lack a class, from splits that keep another subject of each of its classes."""
    held = {name: frozenset(_held(rows, strata)) for name, rows in groups.items()}
    having = Counter((dealt[name], stratum) for name in groups for stratum in held[name])
    smallest_first = sorted(groups, key=lambda name: (len(groups[name]), name))
    for stratum in sorted(set().union(*held.values())):
        for split in splits[::-1]:
            if having[split, stratum]:
                continue
            spare = (
                name for name in smallest_first
                if stratum in held[name] and all(having[dealt[name], other] > 1 for other in held[name])
            )
            if (moved := next(spare, None)) is not None:
                having.subtract((dealt[moved], other) for other in held[moved])
                dealt[moved] = split
                having.update((split, other) for other in held[moved])
