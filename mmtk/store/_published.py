"""Identify official files by their MD5, whatever their name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmtk.base import md5_of
from mmtk.datasets.base import Dataset
from mmtk.datasets.official import SIZES
from mmtk.errors import StoreError


@dataclass(frozen=True)
class PublishedFile:
    """An official file: the dataset's flag, its editions in order, the size of its images, and its MD5."""

    flag: str
    editions: tuple[str, ...]
    size: int
    md5: str

    def __str__(self) -> str:
        return f"the official file of {self.size} px, edition {' and '.join(self.editions)} (MD5 {self.md5})"

    def fetched(self, edition: str) -> str:
        """The command that downloads it, preferably with a given edition."""
        size = "" if self.size == SIZES[0] else f" --size {self.size}"
        return f"mmtk fetch {self.flag}{size} --edition {edition if edition in self.editions else self.editions[-1]}"

    def made_for(self, dataset: Dataset) -> str:
        """How to get a store of this file's edition, as an imperative."""
        return f"build with --edition {self.editions[-1]}" if dataset.has_raw_pipeline else "import that file"


def published_as(dataset: Dataset, md5: str | None) -> PublishedFile | None:
    """The dataset's official file with an MD5, None if there is none."""
    keys = [key.split(":") for key, value in dataset.md5.items() if value == md5]
    if md5 is None or not keys:
        return None
    return PublishedFile(dataset.flag, tuple(edition for edition, _ in keys), int(keys[0][1]), md5)


def refuse_other_edition(npz: Path, dataset: Dataset, edition: str, size: int, store: Path) -> None:
    """Refuse an official file of another edition than the store's.

    Raises
    ------
    StoreError
        If it is one. Unpublished files are accepted, and any file if the store's edition is unknown.
    """
    official = published_as(dataset, md5_of(npz))
    if official is None or official.size != size or edition not in dataset.counts:
        return
    wanted = published_as(dataset, dataset.published(edition, size))
    if official != wanted:
        remedy = official.made_for(dataset)
        remedy += f", or match with the file from {wanted.fetched(edition)}" if wanted else ""
        problem = f"is of another edition than {store}"
        raise StoreError(npz, problem, expected=f"edition {edition}", found=str(official), remedy=remedy)
