"""The known official maps: which file of the provider is which official row.

There is one CSV per dataset with the columns ``split,label,source,evidence`` and, if the provider says, ``subject`` as
given by the dataset's scan; the rows of a split are in the official order. ``source`` is empty if the row's file is
unknown; ``split`` is empty for files of the provider whose row is unknown.

For ChestMNIST there is one line per patient, ``patient,split,findings``, with the findings of each of the patient's
images in turn as a hexadecimal number, the first finding in the lowest bit. The order of its official rows is unknown.

If only some rows are known, the CSV has the columns ``edition,split,index,label,source,evidence,subject``, with rows
counted from 0 in their split. Such a file is not a complete map: `official_map` ignores it, `known_rows` reads it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from mmtk.datasets.base import SPLITS, Dataset
from mmtk.datasets.maps._given import read_map, resolve_map
from mmtk.datasets.maps._rows import EVIDENCE, LETTERS, MapRow, OfficialMap
from mmtk.errors import MmtkError

__all__ = ["EVIDENCE", "LETTERS", "MapRow", "OfficialMap", "known_rows", "official_map", "read_map", "resolve_map"]


@cache
def official_map(flag: str) -> OfficialMap | None:
    """Read the official map of a dataset.

    Parameters
    ----------
    flag : str
        The dataset's flag.

    Returns
    -------
    OfficialMap or None
        None if it is not known.

    Raises
    ------
    MmtkError
        If the installed map does not have the published counts.

    Examples
    --------
    >>> from mmtk.datasets.maps import official_map
    >>> official_map("breastmnist").rows["train"][0].labels
    (1,)
    """
    dataset, file = _installed(flag)
    table = _read(file)
    if dataset is None or not table or "index" in table[0]:
        return None
    rows: dict[str, list[MapRow]] = {name: [] for name in ("", *SPLITS)}
    by_patient = "findings" in table[0]
    for line in table:
        rows[line["split"]] += _images(line, dataset.labels) if by_patient else [_row(line)]
    unplaced = tuple(rows.pop(""))
    official = OfficialMap({name: tuple(kept) for name, kept in rows.items()}, unplaced, ordered=not by_patient)
    counts = {name: len(kept) for name, kept in official.rows.items()}
    named = sum(row.source is not None for kept in official.rows.values() for row in kept) + len(unplaced)
    published = dataset.counts[dataset.first_edition]
    if any(n != getattr(published, name) for name, n in counts.items()) or len(official.labels) != named:
        raise MmtkError(str(file), "is damaged: it does not have the published counts", remedy="install mmtk again")
    return official


@cache
def known_rows(flag: str, edition: str) -> Mapping[str, Mapping[int, MapRow]]:
    """Read the official rows of an edition whose index is known: all rows of an ordered map, or only some.

    Parameters
    ----------
    flag : str
        The dataset's flag.
    edition : str

    Returns
    -------
    mapping of split to mapping of int to MapRow
        Rows by their index, counted from 0 in their split; empty if none is known.

    Examples
    --------
    >>> from mmtk.datasets.maps import known_rows
    >>> len(known_rows("breastmnist", "2024")["val"])
    78
    """
    dataset, file = _installed(flag)
    whole = official_map(flag)
    if dataset is not None and whole is not None:
        same = whole.ordered and dataset.counts.get(edition) == dataset.counts[dataset.first_edition]
        return {split: dict(enumerate(rows)) for split, rows in whole.rows.items()} if same else {}
    known: dict[str, dict[int, MapRow]] = {}
    for line in _read(file):
        if line["edition"] == edition:
            known.setdefault(line["split"], {})[int(line["index"])] = _row(line)
    return known


def _installed(flag: str) -> tuple[Dataset | None, Traversable]:
    """A dataset, or None if it is not registered, and the path of its map, which may not exist."""
    from mmtk.datasets import find_dataset

    dataset = find_dataset(flag.lower())
    return dataset, files(__name__) / f"{dataset.flag if dataset else flag}.csv"


def _read(file: Traversable) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def _row(line: dict[str, str]) -> MapRow:
    return MapRow(line["source"] or None, (int(line["label"]),), line["evidence"], line.get("subject", ""))


def _images(line: dict[str, str], labels: int) -> list[MapRow]:
    """The rows of a patient of ChestX-ray14."""
    patient = f"{int(line['patient']):08d}"
    rows = []
    for number, findings in enumerate(line["findings"].split()):
        bits = int(findings, 16)
        flags = tuple(bits >> finding & 1 for finding in range(labels))
        rows.append(MapRow(f"{patient}_{number:03d}.png", flags, "l", patient))
    return rows
