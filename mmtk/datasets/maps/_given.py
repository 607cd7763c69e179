"""Maps that a user gives: a CSV that names the file of each official row, held against the records of a scan."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from mmtk.datasets.base import SPLITS, Dataset, Record, Task
from mmtk.datasets.delimiters import delimiter_of
from mmtk.datasets.maps._rows import LETTERS, MapRow, OfficialMap
from mmtk.errors import SourceError

_SPLITS = {**{split: split for split in SPLITS}, "validation": "val"}
_IDS = ("image_id", "source", "source_file")
_OTHERS = ("split", "index", "label", "evidence", "distance", "rivals", "maxabsdiff")
_FORM = f"the columns split, index, one of {', '.join(_IDS)}, and perhaps label and evidence"
_INDEX = re.compile("[0-9]{1,9}")
_LABEL = re.compile("[0-9]{1,3}")


def read_map(path: str | Path, dataset: Dataset) -> OfficialMap:
    """Read which file each official row is from a CSV.

    Its columns are those that MedMNIST's authors gave, ``split,index,image_id``, those that ``mmtk match`` writes,
    ``split,index,label,source,evidence,...``, or ``split,index,label,source_file,...``. Rows stand in any order;
    ``index`` counts from 0 in a split, without a gap. A row whose file is unknown has an empty id, and a label.

    Parameters
    ----------
    path : path
    dataset : Dataset
        Whose rows they are.

    Returns
    -------
    OfficialMap
        Its sources are the ids as they stand in the file, its labels empty where the file has none; see `resolve_map`.

    Raises
    ------
    SourceError
        If the file is missing or no such table; it names the line.
    """
    path = Path(path)
    found: dict[str, dict[int, MapRow]] = {split: {} for split in SPLITS}
    places: dict[str, str] = {}
    for where, line in _lines(path):
        split = _SPLITS.get(line["split"].lower())
        if split is None:
            raise SourceError(where, expected=f"split {', '.join(SPLITS)}", found=repr(line["split"]))
        if not _INDEX.fullmatch(line["index"]):
            raise SourceError(where, expected="an index counted from 0", found=repr(line["index"]))
        number = int(line["index"])
        place = f"{split}[{number}]"
        if number in found[split]:
            raise SourceError(where, expected="each row once", found=f"{place} a second time")
        source = next(line[name] for name in _IDS if name in line) or None
        labels = _labels(where, line.get("label", ""), dataset)
        if source is None and not labels:
            raise SourceError(where, expected="an id or a label", found=f"neither for {place}")
        if source is not None and (first := places.setdefault(source, place)) != place:
            raise SourceError(where, expected="each image once", found=f"{source} as {first} and {place}")
        found[split][number] = MapRow(source, labels, LETTERS.get(line.get("evidence", ""), ""))
    for split, kept in found.items():
        lacking = max(kept, default=-1) + 1 - len(kept)
        if lacking:
            gap = next(number for number in count() if number not in kept)
            found_none = f"no {split}[{gap}]" + (f" and {lacking - 1} more" if lacking > 1 else "")
            remedy = "where a row's file is unknown, leave its id empty and give its label"
            raise SourceError(path, expected=f"{split} without a gap", found=found_none, remedy=remedy)
    if not any(found.values()):
        raise SourceError(path, expected="at least one row", found="none")
    rows = {split: tuple(kept[number] for number in range(len(kept))) for split, kept in found.items()}
    return OfficialMap(rows, origin=f"by the map {path.name}")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line's name and its fields by their columns."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or "no UTF-8 text"
        raise SourceError(path, expected="a CSV file", found=found) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(text, (*_IDS, *_OTHERS)))
    try:
        columns = next(reader, [])
        ids = [name for name in columns if name in _IDS]
        unknown = [name for name in columns if name not in (*_IDS, *_OTHERS)]
        if unknown or len(ids) != 1 or len(set(columns)) != len(columns) or not {"split", "index"} <= set(columns):
            raise SourceError(path, expected=_FORM, found=",".join(columns) or "none")
        for fields in reader:
            where = f"{path} line {reader.line_num}"
            if len(fields) != len(columns):
                raise SourceError(where, expected=f"{len(columns)} fields", found=f"{len(fields)}")
            yield where, dict(zip(columns, fields, strict=True))
    except csv.Error as error:
        raise SourceError(f"{path} line {reader.line_num}", expected="a line of CSV", found=str(error)) from None


def _labels(where: str, text: str, dataset: Dataset) -> tuple[int, ...]:
    """A number, or a word of digits for several labels; nothing where the field is empty."""
    if not text:
        return ()
    several = dataset.task is Task.MULTILABEL
    words = list(text) if several else [text]
    top = 1 if several else len(dataset.classes) - 1
    fit = len(words) == dataset.labels and all(_LABEL.fullmatch(word) and int(word) <= top for word in words)
    if not fit:
        expected = f"a word of {dataset.labels} digits 0 or 1" if several else f"a label from 0 to {top}"
        raise SourceError(where, expected=expected, found=repr(text))
    return tuple(map(int, words))


def resolve_map(
    given: OfficialMap, records: Iterable[Record], path: str | Path, *, allow_partial: bool = False
) -> OfficialMap:
    """Find the records that the ids of a map mean: by their source, else their file's name, else that without ending.

    Parameters
    ----------
    given : OfficialMap
        As `read_map` gives it.
    records : iterable of Record
        Those of the dataset's scan.
    path : path
        The map's file, for errors.
    allow_partial : bool
        Let ids pass that no record has; else they are an error.

    Returns
    -------
    OfficialMap
        The same rows with the sources, labels and subjects of their records; records of no row are its unplaced ones.

    Raises
    ------
    SourceError
        If an id means no record or several, two ids mean one, or a label is not the record's.
    """
    records = list(records)
    tables = _tables(records)
    places: dict[str, str] = {}
    lost: list[str] = []
    rows: dict[str, list[MapRow]] = {split: [] for split in SPLITS}
    for split in SPLITS:
        for number, row in enumerate(given.rows[split]):
            place = f"{split}[{number}]"
            record = None if row.source is None else _find(tables, row.source, f"{path}: {place}")
            if record is None:
                lost += [] if row.source is None else [f"{row.source} ({place})"]
                rows[split].append(row)
                continue
            if row.labels and row.labels != record.labels:
                expected, found = (",".join(map(str, labels)) for labels in (record.labels, row.labels))
                what = f"{path}: {place} {row.source}"
                raise SourceError(what, expected=f"label {expected}, as the image has", found=found)
            if (first := places.setdefault(record.source, place)) != place:
                raise SourceError(path, expected="each image once", found=f"{record.source} as {first} and {place}")
            rows[split].append(MapRow(record.source, record.labels, row.evidence, record.subject))
    if lost and not allow_partial:
        remedy = "give the map of this source, or add --allow-partial"
        found = f"{len(lost)} that no image has, the first {lost[0]}"
        raise SourceError(path, expected="ids of images that are there", found=found, remedy=remedy)
    unplaced = tuple(MapRow(r.source, r.labels, "", r.subject) for r in records if r.source not in places)
    return OfficialMap({split: tuple(kept) for split, kept in rows.items()}, unplaced, given.ordered, given.origin)


_Table = dict[str, list[Record]]


def _tables(records: list[Record]) -> tuple[_Table, _Table, _Table]:
    """Records by their source, by the names of their file, and by those without ending."""
    sources: _Table = {}
    names: _Table = {}
    stems: _Table = {}
    for record in records:
        sources.setdefault(record.source, []).append(record)
        own = {whole.rpartition("/")[2] for whole in (record.source, record.file)}
        for name in own:
            names.setdefault(name, []).append(record)
        for stem in {name.rpartition(".")[0] for name in own} - {""}:
            stems.setdefault(stem, []).append(record)
    return sources, names, stems


def _find(tables: tuple[_Table, ...], wanted: str, where: str) -> Record | None:
    names = [wanted]
    if "\\" in wanted:  # a path as Windows writes it
        names += [slashed := wanted.replace("\\", "/"), slashed.rpartition("/")[2]]
    found = next((table[name] for name in names for table in tables if name in table), [])
    if len(found) > 1:
        several = f"{len(found)}, {found[0].source} and {found[1].source} among them"
        raise SourceError(f"{where} {wanted}", expected="one image of that name", found=several)
    return found[0] if found else None
