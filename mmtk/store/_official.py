"""How close a store is to the official file: row by row, and by the published MD5."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.base import md5_in, md5_of
from mmtk.datasets import find_dataset
from mmtk.datasets.base import Dataset
from mmtk.datasets.official import sized_name
from mmtk.errors import StoreError, reason_of
from mmtk.store._chunks import Images
from mmtk.store._format import StoreInfo
from mmtk.store._npz import OpenedNpz, expect_room, medmnist_name, opened_npz, write_npz
from mmtk.store._published import published_as, unpublished
from mmtk.store._reader import Split, Store


@dataclass(frozen=True)
class SplitComparison:
    """One split beside the official one.

    Attributes
    ----------
    rows, official : rows of the store and of the official file
    in_place : rows whose pixels and labels equal the official row of the same number
    anywhere : rows whose pixels and labels are those of some official row of this split, each official row counted once
    difference : largest difference of a pixel in rows of the same number, None where the numbers of rows differ
    """

    rows: int
    official: int
    in_place: int
    anywhere: int
    difference: int | None

    def __str__(self) -> str:
        line = f"{self.anywhere} of {self.rows} rows are official ones"
        if self.difference is not None:
            line += f", {self.in_place} in their place; largest difference {self.difference}"
        return f"{line} (the official file has {self.official})"


@dataclass(frozen=True)
class Comparison:
    """A store beside what is official.

    Attributes
    ----------
    splits : each split beside the official arrays, empty if no official file is at hand
    npz : that file, if there is one; its MD5 was published
    md5 : of the store written as MedMNIST's file, None where there is nothing to compare it with
    published : the MD5 that was published
    remark : what is there in place of the official file, or that there is none, in one line; empty if nothing is
    """

    splits: dict[str, SplitComparison]
    npz: Path | None
    md5: str | None
    published: str | None
    remark: str = ""

    @property
    def differs(self) -> bool:
        """Whether anything that could be compared is not official."""
        rows = any(one.anywhere < one.rows for one in self.splits.values())
        return rows or (self.md5 is not None and self.md5 != self.published)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, for ``mmtk verify --json``."""
        return {**asdict(self), "npz": self.npz and str(self.npz), "differs": self.differs}

    def lines(self, info: StoreInfo) -> list[str]:
        """What to tell of it to who has a store of these facts."""
        if info.own:
            return [self.remark]
        if info.synthetic:
            return ["synthetic: there is nothing official to compare it with"]
        lines = ["imported from a file that was never published"] if info.unpublished else []
        lines += [f"{name}: {split}" for name, split in self.splits.items()]
        if self.remark:
            lines.append(self.remark)
        elif self.npz is None:
            get_it = "; see mmtk fetch" if self.published else ""
            edition = "" if info.own else f", edition {info.edition}"
            lines.append(f"no official file of {info.size} px{edition}, here{get_it}")
        if info.partial:
            lines.append(f"a part of the dataset cannot have the published MD5 {self.published or ''}".rstrip())
        elif self.published is None:
            lines.append("no MD5 was published for this size and edition")
        else:
            same = "as published" if self.md5 == self.published else f"published was {self.published}"
            lines.append(f"as .npz it has the MD5 {self.md5}, {same}")
        return lines


def compare_official(store: Store, folder: str | Path) -> Comparison:
    """Compare a store with the official file of its dataset, edition and size, and with the published MD5.

    A file is official by its MD5 alone, whatever it is called: no row is held against another one. Files above 28 px
    are of either edition where the dataset never changed. A store of no known edition is held against any of its size;
    of one of no known dataset, or a synthetic one, nothing is compared.

    Parameters
    ----------
    store : Store
    folder : path
        Folder where official ``.npz`` files are looked for.

    Raises
    ------
    StoreError
        If the file of that name is not the published one or damaged, or there is no room for a copy.
    """
    if store.info.own:
        return Comparison({}, None, None, None, "nobody published this dataset: there is nothing official to compare")
    if store.info.synthetic:
        return Comparison({}, None, None, None)
    dataset = find_dataset(store.info.flag)
    if dataset is None:
        return Comparison({}, None, None, None, f"nothing official is known of a dataset {store.info.flag}")
    published = dataset.published(store.info.edition, store.info.size)
    whole = published is not None and not store.info.partial
    if whole:
        arrays = (array for split in store.splits for array in (split.images, split.labels))
        expect_room(sum(array.nbytes for array in arrays), f"{store.path} as .npz, for its MD5")
    npz, remark = _find_official(store, dataset, Path(folder))
    splits: dict[str, SplitComparison] = {}
    if npz is not None:
        with opened_npz(npz, dataset) as official:
            splits = {split.name: _compare(split, official) for split in store.splits}
    return Comparison(splits, npz, _md5_as_npz(store) if whole else None, published, remark)


def _find_official(store: Store, dataset: Dataset, folder: Path) -> tuple[Path | None, str]:
    """The official file of a store's edition and size, or in words what is there in its place."""
    edition, size = store.info.edition, store.info.size
    editions = [edition] if edition in dataset.counts else list(dataset.counts)
    files = (published_as(dataset, dataset.published(one, size)) for one in editions)
    wanted = list(dict.fromkeys(file for file in files if file))
    others: list[StoreError] = []
    for flag in dict.fromkeys((dataset.alias_of(edition), dataset.flag, *dataset.aliases)):
        npz = folder / f"{sized_name(flag, size)}.npz"
        if not npz.is_file():
            continue
        found = published_as(dataset, md5 := md5_of(npz))
        if found in wanted:
            return npz, ""
        remedy = f"{wanted[-1].fetched(edition)} gets it" if wanted else "nothing was compared with it"
        if found and found.size == size:
            remedy += f", or {found.made_for(dataset)}"
        expected = " or ".join(map(str, wanted)) or f"an official file, of which there is none of {size} px"
        others.append(StoreError(npz, expected=expected, found=str(found or unpublished(md5)), remedy=remedy))
    if others and wanted and edition in editions and others[0].what == str(folder / f"{medmnist_name(store)}.npz"):
        raise others[0]
    return None, str(others[0]) if others else ""


def _compare(split: Split, official: OpenedNpz) -> SplitComparison:
    labels = official.labels[split.name]
    ours = list(_digests(split.images, split.labels))
    same = len(ours) == len(labels)
    theirs: list[bytes] = []
    largest = row = 0
    for block in official.images(split.name):
        rows = slice(row, row + len(block))
        theirs += _digests(block, labels[rows])
        if same and len(block):
            largest = max(largest, int(np.abs(split.images[rows].astype(np.int16) - block).max()))
        row += len(block)
    left = Counter(theirs)
    anywhere = 0
    for digest in ours:
        if left[digest]:
            left[digest] -= 1
            anywhere += 1
    in_place = sum(one == other for one, other in zip(ours, theirs, strict=False))
    return SplitComparison(len(ours), len(theirs), in_place, anywhere, largest if same else None)


def _digests(images: Images, labels: NDArray[np.uint8]) -> Iterator[bytes]:
    for image, label in zip(images, labels, strict=True):
        yield hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()


def _md5_as_npz(store: Store) -> str:
    """MD5 of a store's ``.npz``; its headers tell of what comes after them, so it has to lie on disk first."""
    try:
        with tempfile.TemporaryFile() as file:
            write_npz(store, file)
            file.seek(0)
            return md5_in(file)
    except OSError as error:
        expected, found = f"room for {store.path} as .npz", reason_of(error)
        raise StoreError(tempfile.gettempdir(), expected=expected, found=found) from None
