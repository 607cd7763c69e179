"""Tell which record of a store each row of an official ``.npz`` is, by their pixels."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from mmtk.base import Progress
from mmtk.datasets import find_dataset
from mmtk.datasets.delimiters import delimiter_of
from mmtk.errors import ArgumentError, StoreError
from mmtk.files import write_csv
from mmtk.matching._neighbours import MOST_RIVALS, Array, Neighbours, Pairs, Pictures
from mmtk.store import SPLITS, Store, flag_named, read_npz, refuse_other_edition

# what JPEG 75 does to a 28 px image: 2.6 to 7.7 root mean square grey levels, half of them above 4.5
LIMIT = 8.0
EVIDENCE = ("exact", "nearest", "tie", "none")
_COLUMNS = ("split", "index", "label", "source", "evidence", "distance", "rivals")


@dataclass(frozen=True, slots=True)
class MatchRow:
    """One official row.

    Attributes
    ----------
    label : tuple of int
        Its label, or one value for each label.
    source : str or None
        The record of the store that it is.
    evidence : {"exact", "nearest", "tie", "none"}
        Equal pixels; the nearest free source; one of several sources at the same distance; no source is near and free.
    distance : float
        To that source, or, where there is none, to the nearest of all; root mean square grey levels.
    rivals : tuple of str
        Other sources at most 10 % farther than that, nearer ones that are other rows among them; where no source is
        near enough, those at that distance. 64 at most.
    """

    label: tuple[int, ...]
    source: str | None
    evidence: str
    distance: float
    rivals: tuple[str, ...] = ()

    @property
    def ambiguous(self) -> bool:
        """Whether the pixels do not tell: they differ from the source's, and another is about as near."""
        return self.source is not None and self.distance > 0 and bool(self.rivals)


@dataclass(frozen=True)
class Match:
    """The rows of each split of an official file, in their order."""

    rows: dict[str, tuple[MatchRow, ...]]

    @property
    def everything(self) -> tuple[MatchRow, ...]:
        """Rows of all splits, in the order train, val, test."""
        return tuple(row for split in SPLITS for row in self.rows[split])

    @property
    def sure(self) -> bool:
        """Whether every row has a source and none is ambiguous."""
        return all(row.source is not None and not row.ambiguous for row in self.everything)

    def summary(self) -> dict[str, int | float | None]:
        """Rows in all, of each evidence and ambiguous, and the largest and smallest distance that count."""
        rows = self.everything
        return {
            "rows": len(rows), **{word: sum(row.evidence == word for row in rows) for word in EVIDENCE},
            "ambiguous": sum(row.ambiguous for row in rows),
            "farthest": max((row.distance for row in rows if row.source is not None), default=None),
            "nearest_none": min((row.distance for row in rows if row.source is None), default=None),
        }


def match(store: Store, npz: str | Path, limit: float = LIMIT, progress: Progress | None = None) -> Match:
    """Recover which record of a store each row of an official file is.

    Equal pixels come first: equal pictures are shared out in their order, equal labels before others. Each other row
    takes the nearest source that no nearer row takes, again equal labels first where distances are equal. A source is
    one row at most.

    Parameters
    ----------
    store : Store
        Its records over all splits are the sources. They may be built in any order.
    npz : path
        MedMNIST's file of the same dataset and size.
    limit : float
        Farthest distance of a source, in root mean square grey levels. The default covers JPEG's noise of quality 75;
        0 takes equal pixels only.
    progress : callable, optional
        Told the rows searched for and their number.

    Raises
    ------
    StoreError
        If the file is damaged, of another dataset, edition, size or number of channels, or the store does not name its
        sources.
    """
    if not 0 <= limit <= 255:
        raise ArgumentError("limit", expected="0 to 255 grey levels", found=str(limit))
    names = _source_names(store)
    official = _read_official(store, Path(npz))
    pictures = Pictures([split.images for split in store.splits])
    queries = Pictures([official[split][0] for split in SPLITS])
    labels = np.concatenate([official[split][1] for split in SPLITS])
    sharing = _Sharing(np.concatenate([split.labels for split in store.splits]), labels)
    sharing.give_equals(pictures.digests(), queries.digests())
    if len(pictures):
        sharing.give_nearest(pictures, queries, math.floor(limit * limit * queries.width), progress)
    rows = iter(sharing.rows(names, queries.width))
    return Match({split: tuple(islice(rows, len(official[split][1]))) for split in SPLITS})


def _source_names(store: Store) -> list[str]:
    names = [name for split in store.splits for name in decoded(split.records["source"])]
    if len(set(names)) != len(names) or "" in names:
        repeated = next((name for name, n in Counter(names).items() if n > 1), "")
        remedy = "build it from raw images"
        raise StoreError(store.path, expected="records of different sources", found=repr(repeated), remedy=remedy)
    unfit = next((name for name in names if set(name) & set("|\r\n")), None)
    if unfit is not None:
        raise StoreError(store.path, expected="sources named without | and line breaks", found=repr(unfit))
    return names


def decoded(names: Array) -> list[str]:
    """Texts of a field of records."""
    return [name.decode("utf-8", "backslashreplace") for name in names.tolist()]


def _read_official(store: Store, npz: Path) -> dict[str, tuple[Array, Array]]:
    info, named = store.info, flag_named(npz)
    known, other = find_dataset(info.flag), find_dataset(named) if named else None
    flag, told = known.flag if known else info.flag, other.flag if other else named
    if told not in (flag, None):
        raise StoreError(npz, expected=f"a file of {flag}, as {store.path} is", found=f"one of {told}")
    if known and not info.own and npz.is_file():
        refuse_other_edition(npz, known, info.edition, info.size, store.path)
    found = read_npz(npz, info)
    size = found[SPLITS[0]][0].shape[1]
    if size != info.size:
        wanted = f"images of {info.size} px and {info.channels} channels, as {store.path} has"
        raise StoreError(npz, expected=wanted, found=f"{size} px and {info.channels} channels")
    return found


class _Sharing:
    """Gives sources to rows; both are numbers here, and distances are squared."""

    def __init__(self, source_labels: Array, row_labels: Array) -> None:
        self._source_labels = [tuple(label) for label in source_labels.tolist()]
        self._labels = [tuple(label) for label in row_labels.tolist()]
        self._given: list[tuple[int, int] | None] = [None] * len(self._labels)  # source and distance
        self._near: list[list[tuple[int, int]]] = [[] for _ in self._labels]  # the same, the nearest first
        self._holder: dict[int, int] = {}

    def give_equals(self, source_keys: list[bytes], row_keys: list[bytes]) -> None:
        """Share equal pictures out, in their order, first between equal labels."""
        sources, rows = defaultdict(list), defaultdict(list)
        for source, key in enumerate(source_keys):
            sources[key].append(source)
        for row, key in enumerate(row_keys):
            if key in sources:
                rows[key].append(row)
        for key, waiting in rows.items():
            by_label = defaultdict(list)
            for source in reversed(sources[key]):
                by_label[self._source_labels[source]].append(source)
            late = []
            for row in waiting:
                if by_label[self._labels[row]]:
                    self._give(row, by_label[self._labels[row]].pop(), 0)
                else:
                    late.append(row)
            for row, source in zip(late, sorted(chain(*by_label.values())), strict=False):
                self._give(row, source, 0)
            few = [(source, 0) for source in sources[key][: MOST_RIVALS + 1]]
            for row in waiting:
                self._near[row] = few

    def give_nearest(self, pictures: Pictures, queries: Pictures, limit: int, progress: Progress | None) -> None:
        """Give each other row the nearest source that no nearer row takes.

        Rows ask for their sources in turn and a source leaves a row for a nearer one. As pairs have one order, by
        distance, labels, row and source, this ends as if the nearest pair of all were given first, and so on.
        """
        rows = np.flatnonzero([given is None for given in self._given])
        if not len(rows):
            return
        search = Neighbours(pictures, queries, rows)
        position = {row: i for i, row in enumerate(rows.tolist())}
        for row, candidates in self._sorted(rows, search.nearest(limit, progress)).items():
            self._near[row] = candidates
        lists = {row: [pair for pair in self._near[row] if pair[1] <= limit] for row in position}
        asking = [row for row, candidates in lists.items() if candidates]
        asked = dict.fromkeys(asking, 0)
        complete: set[int] = set()
        while asking:
            ended = [row for row in asking if asked[row] == len(lists[row]) and row not in complete]
            if ended:
                at = np.array([position[row] for row in ended])
                lists.update(self._sorted(rows, search.within(at, np.full(len(at), limit), MOST_RIVALS)))
                complete.update(ended)
            asking = [left for row in asking for left in self._ask(row, lists[row], asked)]
        given = {row: pair[1] for row in position if (pair := self._given[row]) is not None}
        moved = [row for row, squared in given.items() if squared > self._near[row][0][1]]
        at, reach = np.array([(position[row], given[row] * 121 // 100) for row in moved]).reshape(-1, 2).T
        for row, candidates in self._sorted(rows, search.within(at, reach, MOST_RIVALS)).items():
            self._near[row] = candidates

    def _sorted(self, rows: Array, pairs: Pairs) -> dict[int, list[tuple[int, int]]]:
        """Candidates of each row, the nearest first, among equally near ones those of its label."""
        lists: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for query, source, squared in zip(*(column.tolist() for column in pairs), strict=True):
            lists[int(rows[query])].append((source, squared))
        for row, candidates in lists.items():
            candidates.sort(key=lambda pair: (*self._key(row, *pair)[:2], pair[0]))
        return lists

    def _key(self, row: int, source: int, squared: int) -> tuple[int, bool, int]:
        return squared, self._source_labels[source] != self._labels[row], row

    def _ask(self, row: int, candidates: list[tuple[int, int]], asked: dict[int, int]) -> list[int]:
        """Let a row ask for its next source; gives the row that goes on asking, if one does."""
        if asked[row] == len(candidates):
            return []
        source, squared = candidates[asked[row]]
        asked[row] += 1
        holder = self._holder.get(source)
        if holder is not None:
            held = self._given[holder]
            assert held is not None
            if self._key(holder, *held) < self._key(row, source, squared):
                return [row]
            self._given[holder] = None
        self._give(row, source, squared)
        return [] if holder is None else [holder]

    def _give(self, row: int, source: int, squared: int) -> None:
        self._given[row], self._holder[source] = (source, squared), row

    def rows(self, names: list[str], width: int) -> list[MatchRow]:
        """The rows in their order, with what was found; `width` is the bytes of a picture."""
        found = []
        for label, given, near in zip(self._labels, self._given, self._near, strict=True):
            source, squared = given or (None, near[0][1] if near else None)
            if squared is None:
                found.append(MatchRow(label, None, "none", math.inf))
                continue
            rivals = [pair for pair in near if pair[0] != source and pair[1] * 100 <= squared * 121][:MOST_RIVALS]
            if source is None:
                evidence = "none"
            elif any(rival[1] == squared for rival in rivals):
                evidence = "tie"
            else:
                evidence = "nearest" if squared else "exact"
            distance = round(math.sqrt(squared / width), 4)
            name = None if source is None else names[source]
            found.append(MatchRow(label, name, evidence, distance, tuple(names[rival] for rival, _ in rivals)))
        return found


def write_match(found: Match, path: str | Path, force: bool = False) -> Path:
    """Write a match as a CSV file of the columns ``split,index,label,source,evidence,distance,rivals``.

    Several labels of a row are written as one word of digits, rivals are joined by ``|``.

    Parameters
    ----------
    found : Match
    path : path
        Its folder is made if need be.
    force : bool
        Replace another file of that name; an equal one is left alone.

    Raises
    ------
    StoreError
        If another file is there, or the disk is full or cannot be written.
    """
    lines: list[tuple[object, ...]] = [_COLUMNS]
    for split in SPLITS:
        for index, row in enumerate(found.rows[split]):
            label = "".join(map(str, row.label))
            rivals = "|".join(row.rivals)
            distance = str(row.distance).removesuffix(".0")
            lines.append((split, index, label, row.source or "", row.evidence, distance, rivals))
    write_csv(Path(path), lines, force)
    return Path(path)


def read_match(path: str | Path) -> Match:
    """Read what `write_match` wrote.

    Raises
    ------
    StoreError
        If the file is missing or no such table; it names the line.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "no text"
        raise StoreError(path, expected="a match as mmtk match writes it", found=found) from None
    rows: dict[str, list[MatchRow]] = {split: [] for split in SPLITS}
    sources: set[str] = set()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(text, _COLUMNS))
    try:
        if tuple(next(reader, ())) != _COLUMNS:
            raise ValueError(f"other columns than {','.join(_COLUMNS)}")
        for split, index, label, source, evidence, distance, rivals in reader:
            if split not in rows or index != str(len(rows[split])):
                raise ValueError(f"row {split}[{index}] out of its place")
            if evidence not in EVIDENCE or (evidence == "none") != (not source):
                raise ValueError(f"evidence {evidence!r} for source {source!r}")
            if source in sources:
                raise ValueError(f"source {source!r} a second time")
            sources.update(filter(None, [source]))
            values = tuple(map(int, label if len(label) > 2 else [label]))
            others = tuple(rivals.split("|")) if rivals else ()
            rows[split].append(MatchRow(values, source or None, evidence, float(distance), others))
    except (ValueError, csv.Error) as error:
        where = f"{path} line {reader.line_num}"
        raise StoreError(where, expected="a match as mmtk match writes it", found=str(error)) from None
    return Match({split: tuple(kept) for split, kept in rows.items()})
