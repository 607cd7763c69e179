"""Find the official files in a folder, by published MD5, not by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mmtk.base import md5_of
from mmtk.datasets.base import EDITIONS, Dataset
from mmtk.errors import StoreError, reason_of

_SIZE = re.compile(r"_([0-9]+)$")


@dataclass(frozen=True)
class OfficialFile:
    """A file with a published MD5, and its edition, the latest of several."""

    path: Path
    edition: str


@dataclass(frozen=True)
class UnofficialFile:
    """A file whose name starts with a dataset's but that is not official, and why not."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Files:
    """Files by dataset and size."""

    official: dict[tuple[str, int], OfficialFile]
    unofficial: dict[tuple[str, int], UnofficialFile]


def find_official(folder: Path, datasets: Iterable[Dataset], sizes: Iterable[int]) -> Files:
    """Separate the official files in a folder from others.

    Only files whose names start with that of a dataset are considered. A file without a size in its name is taken as
    28 px unless its MD5 says otherwise.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    wanted = tuple(sizes)
    by_name = {name: dataset for dataset in datasets for name in (dataset.flag, *dataset.aliases)}
    official: dict[tuple[str, int], OfficialFile] = {}
    unofficial: dict[tuple[str, int], UnofficialFile] = {}
    for path in sorted(folder.glob("*.npz")):
        named = [name for name in by_name if re.match(rf"{name}(?![a-z])", path.stem)]
        if not named:
            continue
        name = max(named, key=len)
        dataset, suffix = by_name[name], _SIZE.search(path.stem)
        size = int(suffix[1]) if suffix else 28
        if size not in wanted:
            continue
        try:
            md5 = md5_of(path)
        except OSError as error:
            raise StoreError(path, f"cannot be read: {reason_of(error)}") from None
        for fits in (s for s in wanted if _editions(dataset, s, md5)):
            edition = _editions(dataset, fits, md5)[-1]
            before = official.get((dataset.flag, fits))
            if before is None or EDITIONS.index(before.edition) < EDITIONS.index(edition):
                official[dataset.flag, fits] = OfficialFile(path, edition)
            break
        else:
            reason = _why_unofficial(dataset, size, md5, path, name)
            unofficial.setdefault((dataset.flag, size), UnofficialFile(path, reason))
    return Files(official, unofficial)


def _editions(dataset: Dataset, size: int, md5: str) -> list[str]:
    return [e for e in EDITIONS if e in dataset.counts and dataset.published(e, size) == md5]


def _why_unofficial(dataset: Dataset, size: int, md5: str, path: Path, name: str) -> str:
    published = dict.fromkeys(filter(None, (dataset.published(e, size) for e in dataset.counts)))
    other_name = path.stem not in (name, f"{name}_{size}")
    return (
        f"not official: its MD5 is {md5}, but {' and '.join(published) or 'none'} "
        f"{'was' if len(published) < 2 else 'were'} published for {size} px"
        + (", and its name is not one of MedMNIST's" if other_name else "")
    )
