"""Which official file a file is: its MD5 tells, its name does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmtk.base import md5_of
from mmtk.datasets.base import Dataset
from mmtk.datasets.official import SIZES
from mmtk.errors import StoreError


@dataclass(frozen=True)
class PublishedFile:
    """An official file: the dataset's flag, the editions that have it, in their order, its images' size, its MD5."""

    flag: str
    editions: tuple[str, ...]
    size: int
    md5: str

    def __str__(self) -> str:
        return f"the official file of {self.size} px, edition {' and '.join(self.editions)} (MD5 {self.md5})"

    def fetched(self, edition: str) -> str:
        """The command that gets it, by preference in the words of an edition."""
        size = "" if self.size == SIZES[0] else f" --size {self.size}"
        return f"mmtk fetch {self.flag}{size} --edition {edition if edition in self.editions else self.editions[-1]}"

    def made_for(self, dataset: Dataset) -> str:
        """What to do so that a store is of this file's edition."""
        return f"build with --edition {self.editions[-1]}" if dataset.has_raw_pipeline else "import that file"


def published_as(dataset: Dataset, md5: str | None) -> PublishedFile | None:
    """The official file of an MD5, None if none of the dataset has it."""
    keys = [key.split(":") for key, value in dataset.md5.items() if value == md5]
    if md5 is None or not keys:
        return None
    return PublishedFile(dataset.flag, tuple(edition for edition, _ in keys), int(keys[0][1]), md5)


def unpublished(md5: str) -> str:
    """What to call a file of an MD5 that no official one has."""
    return f"one that was never published (MD5 {md5})"


def refuse_other_edition(npz: Path, dataset: Dataset, edition: str, size: int, store: Path) -> None:
    """Refuse a file that is the official one of another edition than a store is.

    Raises
    ------
    StoreError
        If it is. Files that were never published pass, and so does everything beside a store of no known edition.
    """
    found = published_as(dataset, md5_of(npz))
    if found is None or found.size != size or edition not in dataset.counts:
        return
    wanted = published_as(dataset, dataset.published(edition, size))
    if found != wanted:
        remedy = found.made_for(dataset)
        remedy += f", or match with what {wanted.fetched(edition)} gets" if wanted else ""
        raise StoreError(npz, expected=f"a file of edition {edition}, as {store} is", found=str(found), remedy=remedy)
