"""The parts of a proof: evidence, differences, and what is missing to prove the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = {  # strongest first
    "md5": "built from raw images and exported as .npz, it has the published MD5",
    "rows": "rows built from the available raw images equal official rows bit for bit, labels included",
    "counts": "the split rule, applied to all raw files or to lists of them, gives the published counts",
    "container": "the official file, imported and exported again, has its published MD5",
    "signature": "official pixels show traces of JPEG quality 75 exactly where the recipe has a JPEG step",
}


@dataclass(frozen=True)
class Evidence:
    """A piece of evidence.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    text : str
        Its entry in a table, such as ``rows 46 of 46``.
    detail : str
        The figures behind it, in words.

    Examples
    --------
    >>> from mmtk.proof import KINDS, Evidence
    >>> Evidence("rows", "rows 46 of 46", "46 rows are equal").kind in KINDS
    True
    """

    kind: str
    text: str
    detail: str


@dataclass(frozen=True)
class Difference:
    """A difference from the official data.

    Attributes
    ----------
    flag : str
    size : int
        Edge length in pixels.
    kind : str
        The kind of evidence that it contradicts, one of `KINDS`.
    reason : str
        What differs.
    split, source : str
        Split and raw image of a row that differs; else empty.
    picture : str, optional
        File that shows the row beside the official one.

    Examples
    --------
    >>> from mmtk.proof import Difference
    >>> Difference("breastmnist", 28, "counts", "the split rule gives train 545").picture is None
    True
    """

    flag: str
    size: int
    kind: str
    reason: str
    split: str = ""
    source: str = ""
    picture: str | None = None


@dataclass(frozen=True)
class Requirement:
    """Something that is missing to prove more.

    Attributes
    ----------
    flag : str
    size : int or None
        Size of an official file, else None.
    kind : {"raw", "official", "other"}
        Raw files, an official file, or something else.
    text : str
        What it is and where to get it.

    Examples
    --------
    >>> from mmtk.proof import Requirement
    >>> Requirement("breastmnist", 28, "official", "mmtk fetch breastmnist --size 28 --out DIR").size
    28
    """

    flag: str
    size: int | None
    kind: str
    text: str


@dataclass(frozen=True)
class Cell:
    """What is proved of one dataset at one size.

    Attributes
    ----------
    flag : str
    size : int
        Edge length in pixels.
    edition : str
        Edition of the official file it is compared with.
    evidence : tuple of Evidence
        Strongest first.
    differences : tuple of Difference
        All differences, row by row.
    needs : tuple of Requirement
        What is missing to prove more.
    npz : str or None
        The official file, if available.
    remark : str
        Anything else a reader of the table must know, in a word or two.

    Examples
    --------
    >>> from mmtk.proof import prove
    >>> (cell,) = prove("breastmnist", sizes=[28]).cells
    >>> cell.flag, cell.edition, cell.text
    ('breastmnist', '2024', 'nothing')
    """

    flag: str
    size: int
    edition: str
    evidence: tuple[Evidence, ...]
    differences: tuple[Difference, ...]
    needs: tuple[Requirement, ...]
    npz: str | None
    remark: str = ""

    @property
    def strongest(self) -> Evidence | None:
        """The strongest evidence, None if there is none."""
        return self.evidence[0] if self.evidence else None

    @property
    def text(self) -> str:
        """Its entry in a table: the strongest evidence and, in brackets, weaker evidence."""
        words = [evidence.text for evidence in self.evidence]
        more = [*words[1:], *([self.remark] if self.remark else [])]
        text = (words[0] if words else "nothing") + (f" ({', '.join(more)})" if more else "")
        if not self.differences:
            return text
        kinds = ", ".join(dict.fromkeys(_SHORT.get(item.kind, item.kind) for item in self.differences))
        return f"DIFFERS: {kinds}" + (f"; {text}" if words else "")


@dataclass(frozen=True)
class Proof:
    """What is proved of several datasets at several sizes, one cell each.

    Attributes
    ----------
    cells : tuple of Cell

    Examples
    --------
    >>> from mmtk.proof import prove
    >>> proof = prove("breastmnist", sizes=[28, 64])
    >>> [cell.size for cell in proof.cells], proof.differences
    ([28, 64], ())
    >>> sorted({need.kind for need in proof.needs})
    ['official', 'raw']
    """

    cells: tuple[Cell, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The differences of all cells."""
        return tuple(item for cell in self.cells for item in cell.differences)

    @property
    def needs(self) -> tuple[Requirement, ...]:
        """The requirements of all cells, without repetitions."""
        return tuple(dict.fromkeys(need for cell in self.cells for need in cell.needs))

    def facts(self) -> dict[str, Any]:
        """The proof as JSON values."""
        cells = [{**asdict(cell), "strongest": cell.strongest and cell.strongest.kind} for cell in self.cells]
        return {"cells": cells, "differs": bool(self.differences), "kinds": KINDS}


_SHORT = {"md5": "MD5"}
