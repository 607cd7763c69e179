"""The parts of a map: official rows, with the evidence for each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mmtk.datasets.base import SPLITS

# the letters in the column evidence
EVIDENCE = {
    "e": "exact: the pixels are equal",
    "n": "nearest: the only close file, matched with resized copies",
    "t": "tie: one of several files with identical images",
    "l": "listed: according to a recovered list; class counts agree, pixels were not checked",
    "": "unknown",
}
LETTERS = {text.split(":")[0]: letter for letter, text in EVIDENCE.items()}  # by the words that mmtk match writes


@dataclass(frozen=True)
class MapRow:
    """An official row: its file (None if unknown), its labels, the evidence, and the file's subject if known."""

    source: str | None
    labels: tuple[int, ...]
    evidence: str
    subject: str = ""


@dataclass(frozen=True)
class OfficialMap:
    """The official rows of each split, and the provider's files that do not belong to a known row.

    ``ordered`` is whether the rows are in the official order; ``origin`` is where the map comes from if not from mmtk.
    """

    rows: dict[str, tuple[MapRow, ...]]
    unplaced: tuple[MapRow, ...] = ()
    ordered: bool = True
    origin: str = ""

    @cached_property
    def labels(self) -> dict[str, tuple[int, ...]]:
        """All files of the provider's source, with their labels."""
        named = [row for split in SPLITS for row in self.rows[split]] + list(self.unplaced)
        return {row.source: row.labels for row in named if row.source is not None}
