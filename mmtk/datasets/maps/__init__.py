"""The official memberships that are known: which file of the provider is which official row.

A CSV a dataset, ``split,label,source,evidence`` and, where the provider tells it, ``subject`` as the dataset's scan
gives it; its rows of a split in the official order. ``source`` is empty where the row's file is unknown; ``split`` is
empty for files of the provider whose row, if they have one, is unknown.

ChestMNIST's has a row a patient instead, ``patient,split,findings``: of each of the patient's images in turn its
findings as a hexadecimal number, the first finding in the lowest bit. The order of its official rows is not known.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from mmtk.datasets.base import SPLITS
from mmtk.errors import MmtkError

# the evidence column's letters
EVIDENCE = {
    "e": "exact: the pixels are equal",
    "n": "nearest: the only file that comes near, found through resized copies",
    "t": "tie: one of several files with equal pictures",
    "l": "listed: as a recovered list says; class counts agree, pixels unchecked",
    "": "unknown",
}


@dataclass(frozen=True)
class MapRow:
    """One official row: its file (None if unknown), its labels, how that is known, and the file's subject if any."""

    source: str | None
    labels: tuple[int, ...]
    evidence: str
    subject: str = ""


@dataclass(frozen=True)
class OfficialMap:
    """The official rows of each split, and the provider's files that are none of the known rows.

    ``ordered`` says whether the rows stand in the official order, ``origin`` where the map comes from if not from mmtk.
    """

    rows: dict[str, tuple[MapRow, ...]]
    unplaced: tuple[MapRow, ...] = ()
    ordered: bool = True
    origin: str = ""

    @cached_property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """Every file the provider's source has, with its labels."""
        named = [row for split in SPLITS for row in self.rows[split]] + list(self.unplaced)
        return {row.source: row.labels for row in named if row.source is not None}


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
    from mmtk.datasets import get_dataset

    dataset = get_dataset(flag)
    file = files(__name__) / f"{dataset.flag}.csv"
    if not file.is_file():
        return None
    rows: dict[str, list[MapRow]] = {name: [] for name in ("", *SPLITS)}
    table = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    by_patient = "findings" in (table.fieldnames or ())
    for line in table:
        if by_patient:
            rows[line["split"]] += _images(line, dataset.labels)
        else:
            row = MapRow(line["source"] or None, (int(line["label"]),), line["evidence"], line.get("subject", ""))
            rows[line["split"]].append(row)
    unplaced = tuple(rows.pop(""))
    found = OfficialMap({name: tuple(kept) for name, kept in rows.items()}, unplaced, ordered=not by_patient)
    counts = {name: len(kept) for name, kept in found.rows.items()}
    named = sum(row.source is not None for kept in found.rows.values() for row in kept) + len(unplaced)
    published = dataset.counts["2020"]
    if any(n != getattr(published, name) for name, n in counts.items()) or len(found.labels) != named:
        raise MmtkError(
            str(file), expected=f"{published}, each file once", found=str(counts), remedy="install mmtk again"
        )
    return found


def _images(line: dict[str, str], labels: int) -> list[MapRow]:
    """The rows of one patient of ChestX-ray14."""
    patient = f"{int(line['patient']):08d}"
    rows = []
    for number, findings in enumerate(line["findings"].split()):
        bits = int(findings, 16)
        flags = tuple(bits >> finding & 1 for finding in range(labels))
        rows.append(MapRow(f"{patient}_{number:03d}.png", flags, "l", patient))
    return rows
