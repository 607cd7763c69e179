"""The rules that give the published counts where no official membership is known, and the split by subject."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from math import lcm

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
        groups = _subjects(records)
        kinds: list[list[_Kind]] = [[r.labels if len(r.labels) == 1 else ()] for r in records]
        shares = {split: Fraction(getattr(self.counts, split), self.counts.total) for split in SPLITS}
        dealt = _deal(groups, kinds, _targets(kinds, shares), self.seed)
        chosen = {row: dealt[name] for name, rows in groups.items() for row in rows}
        return [chosen[row] for row in range(len(records))]


@dataclass(frozen=True)
class Shares(SplitRule):
    """Cut into shares so that no subject stands in two splits, every class as near to its share as that allows.

    Subjects are dealt out as by `GroupedCut`; with several labels a row each label counts, and all rows together. Where
    a split that is to have images would lack a class, the smallest subject that others can spare is moved there.

    Parameters
    ----------
    train, val, test : float
        Parts of the images, in any unit.
    seed : int
        Of the draw among subjects of equal size.
    within : str, optional
        The source's part that is cut; records of its other parts stay there. By default all records are cut.
    """

    name = "shares"
    train: float
    val: float
    test: float
    seed: int = 0
    within: str = ""

    def assign(self, records: tuple[Record, ...]) -> list[str]:
        """The split of each record; one without a subject is a subject of its own."""
        cut = [row for row, record in enumerate(records) if not self.within or record.part == self.within]
        some = tuple(records[row] for row in cut)
        groups = _subjects(some)
        kinds: list[list[_Kind]] = [
            [r.labels] if len(r.labels) == 1 else [(), *((label,) for label, on in enumerate(r.labels) if on)]
            for r in some
        ]
        parts = {split: Fraction(getattr(self, split)) for split in SPLITS}
        shares = {split: part / sum(parts.values()) for split, part in parts.items()}
        dealt = _deal(groups, kinds, _targets(kinds, shares), self.seed)
        _fill_gaps(dealt, groups, kinds, [split for split in SPLITS if shares[split]])
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


_Kind = tuple[int, ...]  # a class, or all images where it is empty


def _subjects(records: tuple[Record, ...]) -> dict[str, list[int]]:
    """The rows of each subject; a record without one is a subject of its own."""
    groups: dict[str, list[int]] = {}
    for row, record in enumerate(records):
        groups.setdefault(record.subject or f"\0{record.source}", []).append(row)
    return groups


def _held(rows: list[int], kinds: list[list[_Kind]]) -> Counter[_Kind]:
    """How many of some rows are of each class."""
    return Counter(kind for row in rows for kind in kinds[row])


def _deal(
    groups: dict[str, list[int]], kinds: list[list[_Kind]], lacking: dict[tuple[str, _Kind], int], seed: int
) -> dict[str, str]:
    """The split of each subject: the one that lacks most of its classes."""
    wanted = {key: max(count, 1) for key, count in lacking.items()}
    common = lcm(*wanted.values())  # over which all shares are whole numbers
    parts = {key: common // count for key, count in wanted.items()}
    dealt = {}
    for name in sorted(groups, key=lambda name: (-len(groups[name]), _draw(seed, name))):
        held = _held(groups[name], kinds)

        def fit(split: str, held: Counter[_Kind] = held) -> tuple[int, int]:
            over = sum(max(0, n - lacking[split, kind]) for kind, n in held.items())
            return (-over, sum(n * lacking[split, kind] * parts[split, kind] for kind, n in held.items()))

        dealt[name] = max(SPLITS, key=fit)
        for kind, n in held.items():
            lacking[dealt[name], kind] -= n
    return dealt


def _targets(kinds: list[list[_Kind]], shares: dict[str, Fraction]) -> dict[tuple[str, _Kind], int]:
    """Whole numbers for each split and class that add up to the classes and, as near as can be, to the splits."""
    classes = _held(list(range(len(kinds))), kinds)
    exact = {(split, kind): shares[split] * n for split in SPLITS for kind, n in classes.items()}
    targets = {key: int(value) for key, value in exact.items()}
    owed = {split: round(shares[split] * classes.total()) - sum(targets[split, kind] for kind in classes)
            for split in SPLITS}
    for kind, n in classes.items():
        for _ in range(n - sum(targets[split, kind] for split in SPLITS)):
            split = max(SPLITS, key=lambda s: (owed[s] > 0, exact[s, kind] - targets[s, kind]))
            targets[split, kind] += 1
            owed[split] -= 1
    return targets


def _fill_gaps(
    dealt: dict[str, str], groups: dict[str, list[int]], kinds: list[list[_Kind]], splits: list[str]
) -> None:
    """Move subjects to splits that lack a class, from those that keep another subject of each of its classes."""
    held = {name: frozenset(_held(rows, kinds)) for name, rows in groups.items()}
    having = Counter((dealt[name], kind) for name in groups for kind in held[name])
    smallest_first = sorted(groups, key=lambda name: (len(groups[name]), name))
    for kind in sorted(set().union(*held.values())):
        for split in splits[::-1]:
            if having[split, kind]:
                continue
            spare = (
                name for name in smallest_first
                if kind in held[name] and all(having[dealt[name], other] > 1 for other in held[name])
            )
            if (moved := next(spare, None)) is not None:
                having.subtract((dealt[moved], other) for other in held[moved])
                dealt[moved] = split
                having.update((split, other) for other in held[moved])
