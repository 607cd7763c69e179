"""Compare a store with the official file, row by row and by the published MD5."""

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
from mmtk.store._npz import OpenedNpz, expect_temporary_space, medmnist_name, opened_npz, write_npz
from mmtk.store._published import published_as
from mmtk.store._reader import Split, Store


@dataclass(frozen=True)
class SplitComparison:
    """Comparison of a split with the official split.

    Attributes
    ----------
    rows, official : number of rows of the store and of the official file
    in_place : rows whose pixels and labels equal the official row of the same number
    anywhere : rows whose pixels and labels equal any official row of this split, each official row counted once
    difference : largest pixel difference (grey levels) between rows of the same number; None if the row counts differ

    Examples
    --------
    >>> from mmtk.store import SplitComparison
    >>> print(SplitComparison(rows=6, official=6, in_place=5, anywhere=5, difference=3))
    5 of 6 rows equal official rows, 5 in the same place; largest pixel difference 3 (the official file has 6 rows)
    """

    rows: int
    official: int
    in_place: int
    anywhere: int
    difference: int | None

    def __str__(self) -> str:
        line = f"{self.anywhere} of {self.rows} rows equal official rows"
        if self.difference is not None:
            line += f", {self.in_place} in the same place; largest pixel difference {self.difference}"
        return f"{line} (the official file has {self.official} rows)"


@dataclass(frozen=True)
class Comparison:
    """Comparison of a store with the official file.

    Attributes
    ----------
    splits : comparison of each split, empty if no official file is available
    npz : the official file, if available
    md5 : MD5 of the store exported as ``.npz``, None if there is nothing to compare it with
    published : the published MD5
    remark : why there was nothing to compare, in one line; empty otherwise

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import compare_official
    >>> compare_official(mmtk.open("stores/breastmnist_28.h5"), ".").differs
    False
    """

    splits: dict[str, SplitComparison]
    npz: Path | None
    md5: str | None
    published: str | None
    remark: str = ""

    @property
    def differs(self) -> bool:
        """Whether anything that was compared differs from the official file."""
        rows = any(split.anywhere < split.rows for split in self.splits.values())
        return rows or (self.md5 is not None and self.md5 != self.published)

    def facts(self) -> dict[str, Any]:
        """The comparison as JSON values, for ``mmtk verify --json``."""
        return {**asdict(self), "npz": self.npz and str(self.npz), "differs": self.differs}

    def lines(self, info: StoreInfo) -> list[str]:
        """The comparison in words, for the store with these facts."""
        if info.own:
            return [self.remark]
        if info.synthetic:
            return ["synthetic: nothing official to compare with"]
        lines = ["imported from a file that was never published"] if info.unpublished else []
        lines += [f"{name}: {split}" for name, split in self.splits.items()]
        if self.remark:
            lines.append(self.remark)
        elif self.npz is None:
            get_it = "; see mmtk fetch" if self.published else ""
            edition = "" if info.own else f", edition {info.edition}"
            lines.append(f"no official file of {info.size} px{edition} here{get_it}")
        if info.partial:
            lines.append(f"a partial store cannot have the published MD5 {self.published or ''}".rstrip())
        elif self.published is None:
            lines.append("no MD5 was published for this size and edition")
        else:
            same = "as published" if self.md5 == self.published else f"but {self.published} was published"
            lines.append(f"MD5 as .npz: {self.md5}, {same}")
        return lines


def compare_official(store: Store, folder: str | Path) -> Comparison:
    """Compare a store with the official file of its dataset, edition and size, and with the published MD5.

    Only a published MD5 makes a file official, whatever its name: rows are never compared with any other file. Files
    above 28 px belong to both editions of a dataset that never changed. A store of unknown edition is compared with
    any official file of its size; a synthetic store, or one of an unknown dataset, with none.

    Parameters
    ----------
    store : Store
    folder : path
        Folder to search for official ``.npz`` files.

    Returns
    -------
    Comparison

    Raises
    ------
    StoreError
        If the file of that name is corrupt or not the published one, or there is no space for a temporary copy.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.store import compare_official
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> compare_official(store, ".").lines(store.info)
    ['synthetic: nothing official to compare with']
    """
    if store.info.own:
        return Comparison({}, None, None, None, "never published: nothing official to compare with")
    if store.info.synthetic:
        return Comparison({}, None, None, None)
    dataset = find_dataset(store.info.flag)
    if dataset is None:
        return Comparison({}, None, None, None, f"unknown dataset {store.info.flag}: nothing official to compare with")
    published = dataset.published(store.info.edition, store.info.size)
    whole = published is not None and not store.info.partial
    if whole:
        arrays = (array for split in store.splits for array in (split.images, split.labels))
        expect_temporary_space(sum(array.nbytes for array in arrays), f"the MD5 of {store.path} as .npz")
    npz, remark = _find_official(store, dataset, Path(folder))
    splits: dict[str, SplitComparison] = {}
    if npz is not None:
        with opened_npz(npz, dataset) as official:
            splits = {split.name: _compare(split, official) for split in store.splits}
    return Comparison(splits, npz, _md5_as_npz(store) if whole else None, published, remark)


def _find_official(store: Store, dataset: Dataset, folder: Path) -> tuple[Path | None, str]:
    """The official file of a store's edition and size, or a remark on the file that is there instead."""
    edition, size = store.info.edition, store.info.size
    editions = [edition] if edition in dataset.counts else list(dataset.counts)
    files = (published_as(dataset, dataset.published(year, size)) for year in editions)
    wanted = list(dict.fromkeys(file for file in files if file))
    others: list[StoreError] = []
    for flag in dict.fromkeys((dataset.alias_of(edition), dataset.flag, *dataset.aliases)):
        npz = folder / f"{sized_name(flag, size)}.npz"
        if not npz.is_file():
            continue
        official = published_as(dataset, md5 := md5_of(npz))
        if official in wanted:
            return npz, ""
        remedy = f"get the right one by {wanted[-1].fetched(edition)}" if wanted else ""
        if official and official.size == size and wanted:
            remedy += f", or {official.made_for(dataset)}"
        problem = "is not the official file of this store" if official else "is not official: its MD5 was not published"
        if not wanted:
            problem += f" (there is none of {size} px), so nothing was compared"
        actual, expected = str(official or f"MD5 {md5}"), " or ".join(map(str, wanted))
        others.append(StoreError(npz, problem, expected=expected, found=actual, remedy=remedy))
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
    unmatched = Counter(theirs)
    anywhere = 0
    for digest in ours:
        if unmatched[digest]:
            unmatched[digest] -= 1
            anywhere += 1
    in_place = sum(a == b for a, b in zip(ours, theirs, strict=False))
    return SplitComparison(len(ours), len(theirs), in_place, anywhere, largest if same else None)


def _digests(images: Images, labels: NDArray[np.uint8]) -> Iterator[bytes]:
    for image, label in zip(images, labels, strict=True):
        yield hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()


def _md5_as_npz(store: Store) -> str:
    """MD5 of a store's ``.npz``; its headers hold sizes known only afterwards, so it is written to disk first."""
    try:
        with tempfile.TemporaryFile() as file:
            write_npz(store, file)
            file.seek(0)
            return md5_in(file)
    except OSError as error:
        problem = f"cannot write {store.path} as .npz: {reason_of(error)}"
        raise StoreError(tempfile.gettempdir(), problem) from None
