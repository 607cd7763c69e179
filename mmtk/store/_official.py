"""How close a store is to the official file: row by row, and by the published MD5."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets import get_dataset
from mmtk.errors import StoreError
from mmtk.store._chunks import Images
from mmtk.store._npz import export_npz, md5_of, medmnist_name, read_npz
from mmtk.store._reader import Split, Store
from mmtk.store._writer import block_rows


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


@dataclass(frozen=True)
class Comparison:
    """A store beside what is official.

    Attributes
    ----------
    splits : each split beside the official arrays, empty if no official file is at hand
    npz : that file, if there is one
    md5 : of the store written as MedMNIST's file, None where there is nothing to compare it with
    published : the MD5 that was published
    """

    splits: dict[str, SplitComparison]
    npz: Path | None
    md5: str | None
    published: str | None

    @property
    def differs(self) -> bool:
        """Whether anything that could be compared is not official."""
        rows = any(one.anywhere < one.rows for one in self.splits.values())
        return rows or (self.md5 is not None and self.md5 != self.published)


def compare_official(store: Store, folder: str | Path) -> Comparison:
    """Compare a store with the official file of its dataset, edition and size, and with the published MD5.

    Parameters
    ----------
    store : Store
    folder : path
        Folder where official ``.npz`` files are looked for.

    Raises
    ------
    StoreError
        If the official file is damaged, is not the published one or does not fit, or there is no room for a copy.
    """
    if store.info.synthetic:
        return Comparison({}, None, None, None)
    dataset = get_dataset(store.info.flag)
    published = dataset.md5.get(f"{store.info.edition}:{store.info.size}")
    npz = Path(folder) / f"{medmnist_name(store)}.npz"
    splits: dict[str, SplitComparison] = {}
    if npz.is_file():
        if published is not None and (found := md5_of(npz)) != published:
            remedy = "mmtk fetch gets it"
            raise StoreError(npz, expected=f"the official file (MD5 {published})", found=f"MD5 {found}", remedy=remedy)
        arrays = read_npz(npz, dataset)
        for split in store.splits:
            images, labels = arrays[split.name]
            if images.shape[1:] != split.images.shape[1:]:
                raise StoreError(npz, expected=f"images of {store.info.size} px", found=f"{images.shape[1]} px")
            splits[split.name] = _compare(split, images, labels)
    md5 = None if store.info.partial or published is None else _md5_as_npz(store)
    return Comparison(splits, npz if splits else None, md5, published)


def _compare(split: Split, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> SplitComparison:
    ours, theirs = list(_digests(split.images, split.labels)), list(_digests(images, labels))
    left = Counter(theirs)
    anywhere = 0
    for digest in ours:
        if left[digest]:
            left[digest] -= 1
            anywhere += 1
    same = len(ours) == len(theirs)
    in_place = sum(one == other for one, other in zip(ours, theirs, strict=False))
    return SplitComparison(
        len(ours), len(theirs), in_place, anywhere, _largest(split.images, images) if same else None
    )


def _digests(images: Images, labels: NDArray[np.uint8]) -> Iterator[bytes]:
    for image, label in zip(images, labels, strict=True):
        yield hashlib.blake2b(image.tobytes() + label.tobytes(), digest_size=16).digest()


def _largest(one: Images, other: NDArray[np.uint8]) -> int:
    step = block_rows(one.shape, one.dtype)
    return max(
        (int(np.abs(one[at : at + step].astype(np.int16) - other[at : at + step]).max())
         for at in range(0, len(one), step)),
        default=0,
    )


def _md5_as_npz(store: Store) -> str:
    with tempfile.TemporaryDirectory(prefix="mmtk-") as folder:
        return md5_of(export_npz(store, folder))
