"""The official memberships that are known: which file of the provider is which official row.

A CSV a dataset, ``split,label,source,evidence`` and, where the provider tells it, ``subject`` as the dataset's scan
gives it; its rows of a split in the official order. ``source`` is empty where the row's file is unknown; ``split`` is
empty for files of the provider whose row, if they have one, is unknown.

ChestMNIST's has a row a patient instead, ``patient,split,findings``: of each of the patient's images in turn its
findings as a hexadecimal number, the first finding in the lowest bit. The order of its official rows is not known.

Where some rows alone are known, the CSV names them: ``edition,split,index,label,source,evidence,subject``, rows counted
from 0 in their split. That is no membership, and `official_map` does not give it; `known_rows` does.
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
    """The official membership of a dataset.

    Parameters
    ----------
    flag : str
        The dataset's flag.

    Returns
    -------
    OfficialMap or None
        None where it is not known.

    Raises
    ------
    MmtkError
        If the installed map does not have the published counts.
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
    found = OfficialMap({name: tuple(kept) for name, kept in rows.items()}, unplaced, ordered=not by_patient)
    counts = {name: len(kept) for name, kept in found.rows.items()}
    named = sum(row.source is not None for kept in found.rows.values() for row in kept) + len(unplaced)
    published = dataset.counts[dataset.first_edition]
    if any(n != getattr(published, name) for name, n in counts.items()) or len(found.labels) != named:
        raise MmtkError(
            str(file), expected=f"{published}, each file once", found=str(counts), remedy="install mmtk again"
        )
    return found


@cache
def known_rows(flag: str, edition: str) -> Mapping[str, Mapping[int, MapRow]]:
    """Those official rows of an edition whose number is known: all of an official map in order, or some.

    Parameters
    ----------
    flag : str
        The dataset's flag.
    edition : str

    Returns
    -------
    mapping of split to mapping of int to MapRow
        Rows by their number, counted from 0 in their split; empty where none is known.
    """
    dataset, file = _installed(flag)
    whole = official_map(flag)
    if dataset is not None and whole is not None:
        same = whole.ordered and dataset.counts.get(edition) == dataset.counts[dataset.first_edition]
        return {split: dict(enumerate(rows)) for split, rows in whole.rows.items()} if same else {}
    found: dict[str, dict[int, MapRow]] = {}
    for line in _read(file):
        if line["edition"] == edition:
            found.setdefault(line["split"], {})[int(line["index"])] = _row(line)
    return found


def _installed(flag: str) -> tuple[Dataset | None, Traversable]:
    """A dataset, None where it was never registered, and its map, which need not be there."""
    from mmtk.datasets import find_dataset

    dataset = find_dataset(flag.lower())
    return dataset, files(__name__) / f"{dataset.flag if dataset else flag}.csv"


def _read(file: Traversable) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines())) if file.is_file() else []


def _row(line: dict[str, str]) -> MapRow:
    return MapRow(line["source"] or None, (int(line["label"]),), line["evidence"], line.get("subject", ""))


def _images(line: dict[str, str], labels: int) -> list[MapRow]:
    """The rows of one patient of ChestX-ray14."""
    patient = f"{int(line['patient']):08d}"
    rows = []
    for number, findings in enumerate(line["findings"].split()):
        bits = int(findings, 16)
        flags = tuple(bits >> finding & 1 for finding in range(labels))
        rows.append(MapRow(f"{patient}_{number:03d}.png", flags, "l", patient))
    return rows
