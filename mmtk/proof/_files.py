"""Which of the files at hand are official: the published MD5 tells, not the name."""

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
    """A file with a published MD5, and the edition it stands for: of several the last."""

    path: Path
    edition: str


@dataclass(frozen=True)
class Stranger:
    """A file that a dataset's name begins and that is not official: what is wrong with it."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Files:
    """Files by dataset and size."""

    official: dict[tuple[str, int], OfficialFile]
    strangers: dict[tuple[str, int], Stranger]


def find_official(folder: Path, datasets: Iterable[Dataset], sizes: Iterable[int]) -> Files:
    """Tell the official files in a folder from others.

    Files are looked at whose names begin as MedMNIST's of these datasets do. One whose name tells no size is taken to
    be of 28 px unless its MD5 says otherwise.

    Raises
    ------
    StoreError
        If a file cannot be read.
    """
    wanted = tuple(sizes)
    by_name = {name: dataset for dataset in datasets for name in (dataset.flag, *dataset.aliases)}
    official: dict[tuple[str, int], OfficialFile] = {}
    strangers: dict[tuple[str, int], Stranger] = {}
    for path in sorted(folder.glob("*.npz")):
        named = [name for name in by_name if re.match(rf"{name}(?![a-z])", path.stem)]
        if not named:
            continue
        name = max(named, key=len)
        dataset, told = by_name[name], _SIZE.search(path.stem)
        size = int(told[1]) if told else 28
        if size not in wanted:
            continue
        try:
            md5 = md5_of(path)
        except OSError as error:
            raise StoreError(path, expected="a file that can be read", found=reason_of(error)) from None
        for fits in (s for s in wanted if _editions(dataset, s, md5)):
            edition = _editions(dataset, fits, md5)[-1]
            before = official.get((dataset.flag, fits))
            if before is None or EDITIONS.index(before.edition) < EDITIONS.index(edition):
                official[dataset.flag, fits] = OfficialFile(path, edition)
            break
        else:
            strangers.setdefault((dataset.flag, size), Stranger(path, _what_is_wrong(dataset, size, md5, path, name)))
    return Files(official, strangers)


def _editions(dataset: Dataset, size: int, md5: str) -> list[str]:
    return [e for e in EDITIONS if e in dataset.counts and dataset.published(e, size) == md5]


def _what_is_wrong(dataset: Dataset, size: int, md5: str, path: Path, name: str) -> str:
    published = dict.fromkeys(filter(None, (dataset.published(e, size) for e in dataset.counts)))
    other_name = path.stem not in (name, f"{name}_{size}")
    return (
        f"not official: its MD5 is {md5}, published for {size} px {'is' if len(published) == 1 else 'are'} "
        f"{' and '.join(published) or 'none'}" + ("; nor is its name one of MedMNIST's" if other_name else "")
    )
