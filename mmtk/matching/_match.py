"""Match each row of an official ``.npz`` with a record of a store by pixels."""

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
from mmtk.errors import ArgumentError, StoreError, reason_of
from mmtk.files import write_csv
from mmtk.matching._neighbours import MOST_RIVALS, Array, Neighbours, Pairs, Pictures
from mmtk.store import SPLITS, Store, flag_named, read_npz, refuse_other_edition

# JPEG 75 changes a 28 px image by 2.6 to 7.7 root mean square grey levels, with a median of 4.5
LIMIT = 8.0
EVIDENCE = ("exact", "nearest", "tie", "none")
_COLUMNS = ("split", "index", "label", "source", "evidence", "distance", "rivals")


@dataclass(frozen=True, slots=True)
class MatchRow:
    """The match of an official row.

    Attributes
    ----------
    label : tuple of int
        Its label; several values in a multi-label task.
    source : str or None
        The matching record of the store.
    evidence : {"exact", "nearest", "tie", "none"}
        Identical pixels; the nearest available source; one of several equally near sources; no available source is
        near enough.
    distance : float
        Root mean square difference in grey levels to the source, or to the nearest source if there is none.
    rivals : tuple of str
        Other sources at most 10 % farther away, including nearer ones assigned to other rows; if no source is near
        enough, those at the smallest distance. At most 64.

    Examples
    --------
    >>> from mmtk.matching import MatchRow
    >>> MatchRow((0,), "benign/benign (1).png", "nearest", 3.2, ("benign/benign (2).png",)).ambiguous
    True
    """

    label: tuple[int, ...]
    source: str | None
    evidence: str
    distance: float
    rivals: tuple[str, ...] = ()

    @property
    def ambiguous(self) -> bool:
        """Whether pixels do not decide: they differ from the source's, and another source is about as near."""
        return self.source is not None and self.distance > 0 and bool(self.rivals)


@dataclass(frozen=True)
class Match:
    """The matches of all rows of an official file, in order.

    Attributes
    ----------
    rows : dict of str to tuple of MatchRow
        By split.

    Examples
    --------
    >>> import mmtk
    >>> result = mmtk.matching.match(mmtk.open("stores/breastmnist_28.h5"), "breastmnist.npz")
    >>> result.sure, result.summary()["none"]
    (True, 0)
    """

    rows: dict[str, tuple[MatchRow, ...]]

    @property
    def everything(self) -> tuple[MatchRow, ...]:
        """The rows of all splits, in the order train, val, test."""
        return tuple(row for split in SPLITS for row in self.rows[split])

    @property
    def sure(self) -> bool:
        """Whether every row has a source and no row is ambiguous."""
        return all(row.source is not None and not row.ambiguous for row in self.everything)

    def summary(self) -> dict[str, int | float | None]:
        """Number of rows by evidence, and the extreme distances of matched and unmatched rows."""
        rows = self.everything
        return {
            "rows": len(rows), **{word: sum(row.evidence == word for row in rows) for word in EVIDENCE},
            "ambiguous": sum(row.ambiguous for row in rows),
            "farthest": max((row.distance for row in rows if row.source is not None), default=None),
            "nearest_none": min((row.distance for row in rows if row.source is None), default=None),
        }


def match(store: Store, npz: str | Path, limit: float = LIMIT, progress: Progress | None = None) -> Match:
    """Find the record of a store for each row of an official file.

    Identical pixels are matched first: identical images are assigned in order, those with equal labels before others.
    Each remaining row gets the nearest source that is not assigned to a nearer row; at equal distances equal labels are
    preferred. Each source is assigned to at most one row.

    Parameters
    ----------
    store : Store
        The records of all its splits are the sources, in any order.
    npz : path
        MedMNIST's file of the same dataset and size.
    limit : float
        Largest distance to a source, as root mean square difference in grey levels. The default covers the noise of
        JPEG quality 75; 0 only accepts identical pixels.
    progress : callable, optional
        Called with the number of rows searched for and their total.

    Returns
    -------
    Match

    Raises
    ------
    ArgumentError
        If `limit` is not from 0 to 255.
    StoreError
        If the file is damaged, or of another dataset, edition, size or number of channels, or the store does not have
        source names.

    Examples
    --------
    >>> import mmtk
    >>> result = mmtk.matching.match(mmtk.open("stores/breastmnist_28.h5"), "breastmnist.npz")
    >>> result.rows["train"][0].distance
    0.0
    """
    if not 0 <= limit <= 255:
        raise ArgumentError("limit", found=str(limit), expected="0 to 255 grey levels")
    names = _source_names(store)
    official = _read_official(store, Path(npz))
    pictures = Pictures([split.images for split in store.splits])
    queries = Pictures([official[split][0] for split in SPLITS])
    labels = np.concatenate([official[split][1] for split in SPLITS])
    assignment = _Assignment(np.concatenate([split.labels for split in store.splits]), labels)
    assignment.give_equals(pictures.digests(), queries.digests())
    if len(pictures):
        assignment.give_nearest(pictures, queries, math.floor(limit * limit * queries.width), progress)
    rows = iter(assignment.rows(names, queries.width))
    return Match({split: tuple(islice(rows, len(official[split][1]))) for split in SPLITS})


def _source_names(store: Store) -> list[str]:
    names = [name for split in store.splits for name in decoded(split.records["source"])]
    if len(set(names)) != len(names) or "" in names:
        repeated = next((name for name, n in Counter(names).items() if n > 1), "")
        problem = f"has several records of source {repeated!r}" if repeated else "has records without a source"
        raise StoreError(store.path, problem, remedy="build it from raw images")
    unfit = next((name for name in names if set(name) & set("|\r\n")), None)
    if unfit is not None:
        raise StoreError(store.path, f"has the source name {unfit!r}, which contains | or a line break")
    return names


def decoded(names: Array) -> list[str]:
    """Decode a text field of records."""
    return [name.decode("utf-8", "backslashreplace") for name in names.tolist()]


def _read_official(store: Store, npz: Path) -> dict[str, tuple[Array, Array]]:
    info, named = store.info, flag_named(npz)
    known, other = find_dataset(info.flag), find_dataset(named) if named else None
    flag, of_file = known.flag if known else info.flag, other.flag if other else named
    if of_file not in (flag, None):
        raise StoreError(npz, f"is a file of {of_file}, but {store.path} is a store of {flag}")
    if known and not info.own and npz.is_file():
        refuse_other_edition(npz, known, info.edition, info.size, store.path)
    arrays = read_npz(npz, info)
    size = arrays[SPLITS[0]][0].shape[1]
    if size != info.size:
        raise StoreError(npz, f"does not have the size of {store.path}", found=f"{size} px", expected=f"{info.size} px")
    return arrays


class _Assignment:
    """Assigns sources to rows; both are given by number, and distances are squared."""

    def __init__(self, source_labels: Array, row_labels: Array) -> None:
        self._source_labels = [tuple(label) for label in source_labels.tolist()]
        self._labels = [tuple(label) for label in row_labels.tolist()]
        self._given: list[tuple[int, int] | None] = [None] * len(self._labels)  # source and distance
        self._near: list[list[tuple[int, int]]] = [[] for _ in self._labels]  # the same, the nearest first
        self._holder: dict[int, int] = {}

    def give_equals(self, source_keys: list[bytes], row_keys: list[bytes]) -> None:
        """Assign identical images in order, those with equal labels first."""
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
        """Assign to each remaining row the nearest source that is not assigned to a nearer row.

        Rows propose to their sources in turn, and a source leaves a row for a nearer one. Since pairs are totally
        ordered, by distance, labels, row and source, the result is the same as assigning the nearest pairs first.
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
        """The candidates of each row, nearest first; among equally near ones, those with the same label first."""
        lists: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for query, source, squared in zip(*(column.tolist() for column in pairs), strict=True):
            lists[int(rows[query])].append((source, squared))
        for row, candidates in lists.items():
            candidates.sort(key=lambda pair: (*self._key(row, *pair)[:2], pair[0]))
        return lists

    def _key(self, row: int, source: int, squared: int) -> tuple[int, bool, int]:
        return squared, self._source_labels[source] != self._labels[row], row

    def _ask(self, row: int, candidates: list[tuple[int, int]], asked: dict[int, int]) -> list[int]:
        """Let a row propose to its next source; return the row that has to propose again, if any."""
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
        """The rows in order with their matches; `width` is the number of bytes per image."""
        matched = []
        for label, given, near in zip(self._labels, self._given, self._near, strict=True):
            source, squared = given or (None, near[0][1] if near else None)
            if squared is None:
                matched.append(MatchRow(label, None, "none", math.inf))
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
            matched.append(MatchRow(label, name, evidence, distance, tuple(names[rival] for rival, _ in rivals)))
        return matched


def write_match(result: Match, path: str | Path, force: bool = False) -> Path:
    """Write a match to a CSV file with the columns ``split,index,label,source,evidence,distance,rivals``.

    The labels of a multi-label task are written as a string of digits, rivals are joined by ``|``.

    Parameters
    ----------
    result : Match
    path : path
        Its folder is created if necessary.
    force : bool
        Replace a different existing file.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If a different file exists, unless `force` is set, or if the file cannot be written.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.matching import read_match, write_match
    >>> result = mmtk.matching.match(mmtk.open("stores/breastmnist_28.h5"), "breastmnist.npz")
    >>> read_match(write_match(result, "match.csv")) == result
    True
    """
    lines: list[tuple[object, ...]] = [_COLUMNS]
    for split in SPLITS:
        for index, row in enumerate(result.rows[split]):
            label = "".join(map(str, row.label))
            rivals = "|".join(row.rivals)
            distance = str(row.distance).removesuffix(".0")
            lines.append((split, index, label, row.source or "", row.evidence, distance, rivals))
    write_csv(Path(path), lines, force)
    return Path(path)


def read_match(path: str | Path) -> Match:
    """Read a file written by `write_match`.

    Parameters
    ----------
    path : path

    Returns
    -------
    Match

    Raises
    ------
    StoreError
        If the file is missing or not such a table; the message names the line.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.matching import read_match, write_match
    >>> result = mmtk.matching.match(mmtk.open("stores/breastmnist_28.h5"), "breastmnist.npz")
    >>> read_match(write_match(result, "match.csv")).summary()["none"]
    0
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StoreError(path, f"cannot be read: {reason}") from None
    rows: dict[str, list[MatchRow]] = {split: [] for split in SPLITS}
    sources: set[str] = set()
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(text, _COLUMNS))
    try:
        if tuple(next(reader, ())) != _COLUMNS:
            raise ValueError(f"its columns are not {','.join(_COLUMNS)}")
        for split, index, label, source, evidence, distance, rivals in reader:
            if split not in rows or index != str(len(rows[split])):
                raise ValueError(f"row {split}[{index}] is out of order")
            if evidence not in EVIDENCE or (evidence == "none") != (not source):
                raise ValueError(f"evidence {evidence!r} is not valid for source {source!r}")
            if source in sources:
                raise ValueError(f"source {source!r} occurs a second time")
            sources.update(filter(None, [source]))
            values = tuple(map(int, label if len(label) > 2 else [label]))
            others = tuple(rivals.split("|")) if rivals else ()
            rows[split].append(MatchRow(values, source or None, evidence, float(distance), others))
    except (ValueError, csv.Error) as error:
        raise StoreError(f"{path} line {reader.line_num}", f"is not a valid match: {error}") from None
    return Match({split: tuple(kept) for split, kept in rows.items()})
