"""Maps provided by users: a CSV that names the file of each official row, checked against the records of a scan."""

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
from mmtk.errors import SourceError, reason_of

_SPLITS = {**{split: split for split in SPLITS}, "validation": "val"}
_IDS = ("image_id", "source", "source_file")
_OTHERS = ("split", "index", "label", "evidence", "distance", "rivals", "maxabsdiff")
_FORM = f"split, index, one of {', '.join(_IDS)}, and optionally label and evidence"
_INDEX = re.compile("[0-9]{1,9}")
_LABEL = re.compile("[0-9]{1,3}")


def read_map(path: str | Path, dataset: Dataset) -> OfficialMap:
    """Read a map from a CSV file.

    Its columns are those used by MedMNIST's authors, ``split,index,image_id``, those written by ``mmtk match``,
    ``split,index,label,source,evidence,...``, or ``split,index,label,source_file,...``. Rows may be in any order;
    ``index`` counts from 0 in each split, without gaps. A row whose file is unknown has an empty id and a label.

    Parameters
    ----------
    path : path
    dataset : Dataset
        The dataset of the rows.

    Returns
    -------
    OfficialMap
        Its sources are the ids in the file, and labels are empty if the file has none; see `resolve_map`.

    Raises
    ------
    SourceError
        If the file is missing or not such a table; the message names the line.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.maps import read_map
    >>> with open("map.csv", "w") as file:
    ...     _ = file.write("split,index,image_id\\ntrain,0,benign (1)\\n")
    >>> read_map("map.csv", mmtk.get_dataset("breastmnist")).rows["train"][0].source
    'benign (1)'
    """
    path = Path(path)
    table: dict[str, dict[int, MapRow]] = {split: {} for split in SPLITS}
    places: dict[str, str] = {}
    for where, line in _lines(path):
        split = _SPLITS.get(line["split"].lower())
        if split is None:
            raise SourceError(where, found=f"split {line['split']!r}", expected=f"one of {', '.join(SPLITS)}")
        if not _INDEX.fullmatch(line["index"]):
            raise SourceError(where, found=f"index {line['index']!r}", expected="an integer from 0")
        number = int(line["index"])
        place = f"{split}[{number}]"
        if number in table[split]:
            raise SourceError(where, f"lists {place} a second time")
        source = next(line[name] for name in _IDS if name in line) or None
        labels = _labels(where, line.get("label", ""), dataset)
        if source is None and not labels:
            raise SourceError(where, f"has neither an id nor a label for {place}")
        if source is not None and (first := places.setdefault(source, place)) != place:
            raise SourceError(where, f"lists {source} as both {first} and {place}")
        table[split][number] = MapRow(source, labels, LETTERS.get(line.get("evidence", ""), ""))
    for split, kept in table.items():
        lacking = max(kept, default=-1) + 1 - len(kept)
        if lacking:
            gap = next(number for number in count() if number not in kept)
            plural = "row" if lacking == 1 else "rows"
            remedy = "if a row's file is unknown, leave its id empty and give its label"
            raise SourceError(path, f"lacks {lacking} {split} {plural}, first {split}[{gap}]", remedy=remedy)
    if not any(table.values()):
        raise SourceError(path, "has no rows")
    rows = {split: tuple(kept[number] for number in range(len(kept))) for split, kept in table.items()}
    return OfficialMap(rows, origin=f"by the map {path.name}")


def _lines(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the name of each line and its fields by column."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SourceError(path, f"cannot be read: {reason}") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter_of(text, (*_IDS, *_OTHERS)))
    try:
        columns = next(reader, [])
        ids = [name for name in columns if name in _IDS]
        unknown = [name for name in columns if name not in (*_IDS, *_OTHERS)]
        if unknown or len(ids) != 1 or len(set(columns)) != len(columns) or not {"split", "index"} <= set(columns):
            raise SourceError(path, found=f"columns {','.join(columns)}" if columns else "no columns", expected=_FORM)
        for fields in reader:
            where = f"{path} line {reader.line_num}"
            if len(fields) != len(columns):
                raise SourceError(where, found=f"{len(fields)} fields", expected=str(len(columns)))
            yield where, dict(zip(columns, fields, strict=True))
    except csv.Error as error:
        raise SourceError(f"{path} line {reader.line_num}", f"is not valid CSV: {error}") from None


def _labels(where: str, text: str, dataset: Dataset) -> tuple[int, ...]:
    """The labels in a field: a number, or a string of 0s and 1s in a multi-label task; none if it is empty."""
    if not text:
        return ()
    several = dataset.task is Task.MULTILABEL
    words = list(text) if several else [text]
    top = 1 if several else len(dataset.classes) - 1
    fit = len(words) == dataset.labels and all(_LABEL.fullmatch(word) and int(word) <= top for word in words)
    if not fit:
        expected = f"{dataset.labels} digits 0 or 1" if several else f"an integer from 0 to {top}"
        raise SourceError(where, found=f"label {text!r}", expected=expected)
    return tuple(map(int, words))


def resolve_map(
    given: OfficialMap, records: Iterable[Record], path: str | Path, *, allow_partial: bool = False
) -> OfficialMap:
    """Find the records for the ids of a map: by source, else by file name, else by file name without suffix.

    Parameters
    ----------
    given : OfficialMap
        As returned by `read_map`.
    records : iterable of Record
        From the dataset's scan.
    path : path
        The map's file, for error messages.
    allow_partial : bool
        Allow ids without a record; otherwise they are an error.

    Returns
    -------
    OfficialMap
        The same rows with the sources, labels and subjects of their records; records without a row are unplaced.

    Raises
    ------
    SourceError
        If an id matches no record or several, two ids match the same record, or a label differs from the record's.
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
                expected, stated = (",".join(map(str, labels)) for labels in (record.labels, row.labels))
                problem = "does not have the label of its image"
                raise SourceError(f"{path}: {place} {row.source}", problem, found=stated, expected=expected)
            if (first := places.setdefault(record.source, place)) != place:
                raise SourceError(path, f"lists {record.source} as both {first} and {place}")
            rows[split].append(MapRow(record.source, record.labels, row.evidence, record.subject))
    if lost and not allow_partial:
        problem = f"lists {len(lost)} images that are not in the source, first {lost[0]}"
        raise SourceError(path, problem, remedy="give the map of this source, or add --allow-partial")
    unplaced = tuple(MapRow(r.source, r.labels, "", r.subject) for r in records if r.source not in places)
    return OfficialMap({split: tuple(kept) for split, kept in rows.items()}, unplaced, given.ordered, given.origin)


_Table = dict[str, list[Record]]


def _tables(records: list[Record]) -> tuple[_Table, _Table, _Table]:
    """Records by source, by file name, and by file name without suffix."""
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
    if "\\" in wanted:  # a Windows path
        names += [slashed := wanted.replace("\\", "/"), slashed.rpartition("/")[2]]
    records = next((table[name] for name in names for table in tables if name in table), [])
    if len(records) > 1:
        examples = f"such as {records[0].source} and {records[1].source}"
        raise SourceError(f"{where} {wanted}", f"matches {len(records)} images, {examples}")
    return records[0] if records else None
