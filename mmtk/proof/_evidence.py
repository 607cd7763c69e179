"""What a proof consists of: evidence, what differs, and what is missing to prove the rest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = {  # strongest first
    "md5": "built from raw images and written as .npz, it has the published MD5",
    "rows": "rows built from the raw images at hand equal official ones, bit for bit, label and all",
    "counts": "the split rule, on all raw files or lists of them, gives the published counts",
    "container": "the official file, imported and exported again, has its published MD5",
    "signature": "official pixels bear the trace of JPEG quality 75, or do not, as the recipe says",
}


@dataclass(frozen=True)
class Evidence:
    """One thing that holds.

    Attributes
    ----------
    kind : one of `KINDS`
    text : what a table says of it, such as ``rows 46 of 46``
    detail : the figures behind it, in words
    """

    kind: str
    text: str
    detail: str


@dataclass(frozen=True)
class Difference:
    """One thing that does not hold.

    Attributes
    ----------
    flag, size : of which dataset and size
    kind : the kind of evidence that it speaks against
    reason : what was expected and what was found
    split, source : of a row the split it was built for and the raw image; else empty
    picture : the file that shows the row beside the official one, if one was written
    """

    flag: str
    size: int
    kind: str
    reason: str
    split: str = ""
    source: str = ""
    picture: str | None = None


@dataclass(frozen=True)
class Need:
    """Something that is missing to prove more.

    Attributes
    ----------
    flag : the dataset
    size : of an official file, else None
    kind : ``raw`` files, an ``official`` file, or something ``other``
    text : what it is and where to get it
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
    flag, size, edition : whose official file it is held against
    evidence : what holds, the strongest first
    differences : what does not; of rows all of them
    needs : what is missing
    npz : the official file that was at hand, None if there was none
    remark : what else a reader of the table must know, in a word or two
    """

    flag: str
    size: int
    edition: str
    evidence: tuple[Evidence, ...]
    differences: tuple[Difference, ...]
    needs: tuple[Need, ...]
    npz: str | None
    remark: str = ""

    @property
    def strongest(self) -> Evidence | None:
        """The strongest evidence, None if there is none."""
        return self.evidence[0] if self.evidence else None

    @property
    def text(self) -> str:
        """What a table says: the strongest evidence and, in brackets, weaker kinds that hold as well."""
        words = [evidence.text for evidence in self.evidence]
        more = [*words[1:], *([self.remark] if self.remark else [])]
        said = (words[0] if words else "nothing") + (f" ({', '.join(more)})" if more else "")
        if not self.differences:
            return said
        kinds = ", ".join(dict.fromkeys(_SHORT.get(one.kind, one.kind) for one in self.differences))
        return f"DIFFERS: {kinds}" + (f"; {said}" if words else "")


@dataclass(frozen=True)
class Proof:
    """What is proved of several datasets at several sizes, one cell each."""

    cells: tuple[Cell, ...]

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All that does not hold."""
        return tuple(one for cell in self.cells for one in cell.differences)

    @property
    def needs(self) -> tuple[Need, ...]:
        """All that is missing, each thing once."""
        return tuple(dict.fromkeys(need for cell in self.cells for need in cell.needs))

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        cells = [{**asdict(cell), "strongest": cell.strongest and cell.strongest.kind} for cell in self.cells]
        return {"cells": cells, "differs": bool(self.differences), "kinds": KINDS}


_SHORT = {"md5": "MD5"}
