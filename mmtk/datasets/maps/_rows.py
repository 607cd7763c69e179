"""What a map is made of: official rows, and how each is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mmtk.datasets.base import SPLITS

# the evidence column's letters
EVIDENCE = {
    "e": "exact: the pixels are equal",
    "n": "nearest: the only file that comes near, found through resized copies",
    "t": "tie: one of several files with equal pictures",
    "l": "listed: as a recovered list says; class counts agree, pixels unchecked",
    "": "unknown",
}
LETTERS = {text.split(":")[0]: letter for letter, text in EVIDENCE.items()}  # by the words that mmtk match writes


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
