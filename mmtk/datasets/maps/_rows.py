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
    """An official row.

    Attributes
    ----------
    source : str or None
        Its file; None if unknown.
    labels : tuple of int
    evidence : str
        A letter of `EVIDENCE`.
    subject : str
        The file's subject; empty if unknown.

    Examples
    --------
    >>> from mmtk.datasets.maps import official_map
    >>> row = official_map("breastmnist").rows["val"][0]
    >>> row.labels, row.evidence
    ((0,), 'e')
    """

    source: str | None
    labels: tuple[int, ...]
    evidence: str
    subject: str = ""


@dataclass(frozen=True)
class OfficialMap:
    """The official rows of each split, and the provider's files that do not belong to a known row.

    Attributes
    ----------
    rows : dict of str to tuple of MapRow
        The rows of each split.
    unplaced : tuple of MapRow
        Files without a known row.
    ordered : bool
        Whether the rows are in the official order.
    origin : str
        Where the map comes from; empty for those that mmtk contains.

    Examples
    --------
    >>> from mmtk.datasets.maps import official_map
    >>> breast = official_map("breastmnist")
    >>> len(breast.rows["test"]), breast.ordered
    (156, True)
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
