"""Rows built from raw images, each held against the official row that it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmtk.datasets.base import SPLITS
from mmtk.matching import decoded
from mmtk.store import Images, Split, Store, blocks

Array = np.ndarray[Any, Any]
Place = tuple[str, int]


@dataclass(frozen=True)
class RowDifference:
    """A row that differs from the official one.

    Attributes
    ----------
    split, source : the split it was built for and its raw image
    reason : what differs
    ours, theirs : for the first such row its image, and the official image it should equal or that is closest
    place : place of the official image, such as ``train[12]``
    """

    split: str
    source: str
    reason: str
    ours: Array | None = field(default=None, repr=False)
    theirs: Array | None = field(default=None, repr=False)
    place: str = ""


@dataclass(frozen=True)
class RowComparison:
    """Comparison of all built rows with the official ones.

    Attributes
    ----------
    built : number of rows that can be compared
    equal : rows that equal an official row, label included, each official row counted once
    in_place : those of them whose official row is known in advance
    differing : rows that differ; the first with the closest official image
    unknown : further rows, of files known to be none of the known official rows
    """

    built: int
    equal: int
    in_place: int
    differing: tuple[RowDifference, ...]
    unknown: int


@dataclass(frozen=True)
class KnownRows:
    """What is known about the official rows of sources.

    Attributes
    ----------
    in_order : the store has all official rows in their order
    places : otherwise the known official rows, by source
    unplaced : sources that are none of the known rows; some may not be in the dataset at all
    pools : for each split of the store the official splits in which its other rows may be
    """

    in_order: bool
    places: Mapping[str, Place]
    unplaced: frozenset[str]
    pools: Mapping[str, tuple[str, ...]]


def compare_rows(built: Store, official: Store, known: KnownRows) -> RowComparison:
    """Compare every row of a store with the official ones, of the same dataset and size."""
    return _Comparison(built, official, known).run()


class _Comparison:
    def __init__(self, built: Store, official: Store, known: KnownRows) -> None:
        self._official = {split.name: split for split in official.splits}
        self._built = built.splits
        self._known = known
        self._where: dict[bytes, list[Place]] = {}
        for split in official.splits:
            for number, digest in enumerate(_digests(split.images)):
                self._where.setdefault(digest, []).append((split.name, number))
        self._taken: set[Place] = set()

    def run(self) -> RowComparison:
        """Rows with a known place take it first; each of the others then takes a free one."""
        equal = in_place = unknown = 0
        waiting: list[tuple[Split, int, str, bytes]] = []
        wrong: list[tuple[Split, int, str, bytes, Place]] = []
        for split in self._built:
            names = decoded(split.records["source"])
            for number, (name, digest) in enumerate(zip(names, _digests(split.images), strict=True)):
                place = self._place(split.name, number, name)
                if place is None:
                    waiting.append((split, number, name, digest))
                elif place in self._where.get(digest, ()) and self._label(place) == _label(split, number):
                    self._taken.add(place)
                    equal, in_place = equal + 1, in_place + 1
                else:
                    wrong.append((split, number, name, digest, place))
        differing = [self._misplaced(*row, first=i == 0) for i, row in enumerate(wrong)]
        unmatched = [row for row in waiting if not self._take(row[0], row[1], row[3])]
        equal += len(waiting) - len(unmatched)
        for split, number, name, digest in unmatched:
            if name in self._known.unplaced:
                unknown += 1
            else:
                differing.append(self._unmatched(split, number, name, digest, first=not differing))
        return RowComparison(equal + len(differing), equal, in_place, tuple(differing), unknown)

    def _place(self, split: str, number: int, name: str) -> Place | None:
        return (split, number) if self._known.in_order else self._known.places.get(name)

    def _label(self, place: Place) -> list[int]:
        return _label(self._official[place[0]], place[1])

    def _free(self, digest: bytes, pool: tuple[str, ...]) -> Iterator[Place]:
        return (p for p in self._where.get(digest, ()) if p[0] in pool and p not in self._taken)

    def _take(self, split: Split, number: int, digest: bytes) -> bool:
        label = _label(split, number)
        for place in self._free(digest, self._known.pools[split.name]):
            if self._label(place) == label:
                self._taken.add(place)
                return True
        return False

    def _misplaced(
        self, split: Split, number: int, name: str, digest: bytes, place: Place, first: bool
    ) -> RowDifference:
        """A row that differs from the official row at its known place."""
        theirs = self._official[place[0]].images[place[1]]
        ours = np.array(split.images[number])
        elsewhere = next(self._free(digest, SPLITS), None)
        if place in self._where.get(digest, ()):
            reason = f"label {_text(_label(split, number))}, but {_at(place)} has {_text(self._label(place))}"
        elif elsewhere is not None:
            reason = f"its pixels are at {_at(elsewhere)}, expected at {_at(place)}"
        else:
            reason = f"differs from {_at(place)}{_extent(ours, theirs)}"
        return _difference(split, name, reason, place, ours, theirs, first)

    def _unmatched(self, split: Split, number: int, name: str, digest: bytes, first: bool) -> RowDifference:
        """A row without a known place that equals no free official row."""
        pool = self._known.pools[split.name]
        ours = np.array(split.images[number])
        same = next(self._free(digest, pool), None)
        used = next((p for p in self._where.get(digest, ()) if p[0] in pool), None)
        where = " or ".join(pool)
        if same is not None:
            mine, official = _text(_label(split, number)), _text(self._label(same))
            reason = f"label {mine}, but {_at(same)}, which has its pixels, has {official}"
        elif used is not None:
            reason = f"its pixels are in {where} only at {_at(used)}, which matches another image"
        else:
            reason = f"no row of {where} has its pixels"
        nearest = same or used or (self._nearest(ours, pool) if first else None)
        if nearest is None:
            return RowDifference(split.name, name, reason)
        theirs = self._official[nearest[0]].images[nearest[1]]
        if not (same or used):
            reason += f"; the closest, {_at(nearest)}, differs{_extent(ours, theirs)}"
        return _difference(split, name, reason, nearest, ours, theirs, first)

    def _nearest(self, image: Array, pool: tuple[str, ...]) -> Place | None:
        best: tuple[float, Place] | None = None
        wanted = image.reshape(-1).astype(np.float32)
        for name in pool:
            start = 0
            for block in blocks(self._official[name].images):
                difference = block.reshape(len(block), -1).astype(np.float32) - wanted
                squared = np.einsum("ij,ij->i", difference, difference)
                row = int(squared.argmin())
                if best is None or squared[row] < best[0]:
                    best = float(squared[row]), (name, start + row)
                start += len(block)
        return best[1] if best else None


def _difference(
    split: Split, name: str, reason: str, place: Place, ours: Array, theirs: Array, first: bool
) -> RowDifference:
    """Only the first row keeps its images, since every row of the dataset may differ."""
    if not first:
        return RowDifference(split.name, name, reason, place=_at(place))
    return RowDifference(split.name, name, reason, ours, np.array(theirs), _at(place))


def _digests(images: Images) -> Iterator[bytes]:
    for block in blocks(images):
        for image in block:
            yield hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _label(split: Split, number: int) -> list[int]:
    label: list[int] = split.labels[number].tolist()
    return label


def _text(label: list[int]) -> str:
    return " ".join(map(str, label))


def _at(place: Place) -> str:
    return f"{place[0]}[{place[1]}]"


def _extent(ours: Array, theirs: Array) -> str:
    difference = np.abs(ours.astype(np.int16) - theirs)
    if difference.ndim == 3:
        difference = difference.max(axis=2)
    return f" in {np.count_nonzero(difference):,} of {difference.size:,} pixels, by up to {difference.max()} levels"
