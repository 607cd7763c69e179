"""What every scan shares: natural order, junk, copies, and what a source lacks or has too much."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mmtk.datasets.base import Dataset, Finding, Record, Scan, Task
from mmtk.datasets.maps import official_map
from mmtk.errors import SourceError

if TYPE_CHECKING:
    from mmtk.datasets.listing import Listing

_JUNK_NAMES = {".ds_store", "thumbs.db", "desktop.ini"}
_NUMBERS = re.compile("([0-9]+)")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def natural_key(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key under which ``benign (9)`` comes before ``benign (10)``; a number is compared by length, then digits."""
    parts = [(part, part.lstrip("0")) for part in _NUMBERS.split(text)]
    return tuple([(len(number), number) if part.isdecimal() else (-1, part) for part, number in parts])


def is_junk(name: str) -> bool:
    """Whether a file is left over from a desktop or an archive: ``__MACOSX``, ``.DS_Store``, ``._*``, ``Thumbs.db``."""
    *folders, last = name.split("/")  # not pathlib, which takes seconds for the names of a large source
    return "__MACOSX" in folders or last.lower() in _JUNK_NAMES or last.startswith("._")


def matching(listing: Listing, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """The names that are no junk and fit a pattern from end to end."""
    return (match for match in map(pattern.fullmatch, listing.names) if match and not is_junk(match[0]))


def folder_of(name: str) -> str:
    """A file's folder, empty at the top."""
    return name.rpartition("/")[0]


def collect(
    dataset: Dataset,
    listing: Listing,
    records: Iterable[Record],
    *,
    absent: Iterable[str] = (),
    belongs: Callable[[str], bool] = lambda name: False,
    expected: Mapping[str, int] | None = None,
    doubts: Iterable[Finding] = (),
) -> Scan:
    """Make a scan of the records found: in order, without copies, held against what the source should have.

    Parameters
    ----------
    dataset : Dataset
    listing : Listing
    records : iterable of Record
        One for each file that looks like an image of the dataset, in any order.
    absent : iterable of str
        Images that the source itself names but does not have.
    belongs : callable
        Whether an image file that is no record is known to lie among them, as masks do.
    expected : mapping of str to int, optional
        Where no map names the provider's files: how many there are in each of its folders of part and class.
    doubts : iterable of Finding
        What else a user should know.

    Returns
    -------
    Scan
        Records in natural order of part (train before test) and source name. A second file of the same image is junk
        where their folders differ only in case or in a folder nested in one of its name (Kaggle's
        ``chest_xray/chest_xray``), or where it lies in an archive beside its unpacked copy. What the provider's source
        does not have is surplus and no record.

    Raises
    ------
    SourceError
        If nothing of the dataset is there, an image is listed twice, or its label is not the official one.
    """
    found, junk = _without_copies(listing, records)
    folders = {folder_of(file) for file in (*junk, *(record.file for record in found.values()))}
    junk |= {name for name in listing.names if is_junk(name)}
    files = {record.file for record in found.values()} | junk
    images = {name for name in listing.names if name.lower().endswith(IMAGES) and name not in files}
    surplus = {name for name in images if folder_of(name) in folders and not belongs(name)}
    missing = list(absent)
    if listing.phantom is not None:
        missing += _lost(int(listing.phantom["images"]), len(found) + len(missing), "the phantom's")
    elif (official := official_map(dataset.flag)) is not None:
        labels = official.labels
        surplus |= {found.pop(source).file for source in found.keys() - labels.keys()}
        missing = sorted(labels.keys() - found.keys(), key=natural_key)
        _expect_labels(dataset, listing, found, labels)
    elif expected is not None:
        missing += _lacking(found.values(), expected)
    elif found and not missing and not dataset.own:  # which does not say how many there are
        missing = _lost(dataset.counts[dataset.first_edition].total, len(found), "the source's")
    if not found:
        provider = dataset.source
        raise SourceError(
            listing.root, expected=f"images of {provider.name} as {provider.layout}",
            found=f"{len(images | surplus)} image files under other names" if images | surplus else "none",
            remedy=f"get them from {provider.page} (licence: {provider.licence})",
        )
    ordered = sorted(found.values(), key=lambda r: (r.part == "test", r.part == "val", natural_key(r.source)))
    kinds = (("missing", missing), ("surplus", sorted(surplus)), ("junk", sorted(junk)))
    findings = tuple(Finding(kind, _shown(name)) for kind, names in kinds for name in names)
    return Scan(tuple(ordered), (*findings, *doubts))


def _lost(wanted: int, known: int, whose: str) -> list[str]:
    return [f"{wanted - known} of {whose} {wanted} images"] if wanted > known else []


def _lacking(records: Iterable[Record], expected: Mapping[str, int]) -> list[str]:
    """What a provider's folders of part and class lack, by their counts; too many files make another edition of it."""
    found = Counter(folder_of(record.source) for record in records)
    return [
        f"{wanted - found[folder]:,} of the {wanted:,} images of {folder}"
        for folder, wanted in expected.items()
        if found[folder] < wanted
    ]


def _without_copies(listing: Listing, records: Iterable[Record]) -> tuple[dict[str, Record], set[str]]:
    """The outermost record of each source name, and the files that are copies of it."""
    found: dict[str, Record] = {}
    copies = set()
    inside = tuple(f"{archive}/" for archive in listing.archives if archive)
    for record in sorted(records, key=lambda r: (r.file.startswith(inside), r.file.count("/"), r.file)):
        first = found.setdefault(record.source, record)
        if first is not record:
            if not record.file.startswith(inside) and _plain(listing, first.file) != _plain(listing, record.file):
                raise SourceError(
                    listing.root, expected=f"{record.source} once", found=f"{first.file} and {record.file}",
                    remedy="remove one of them",
                )
            copies.add(record.file)
    return found, copies


def _expect_labels(
    dataset: Dataset, listing: Listing, found: dict[str, Record], labels: dict[str, tuple[int, ...]]
) -> None:
    for source, record in found.items():
        if record.labels != labels[source]:
            raise SourceError(
                listing.path(record.file), expected=f"class {_named(dataset, labels[source])}, as official",
                found=_named(dataset, record.labels), remedy="get the provider's files again",
            )


def _named(dataset: Dataset, labels: tuple[int, ...]) -> str:
    if dataset.task is not Task.MULTILABEL:
        return dataset.classes[labels[0]]
    return " and ".join(name for name, on in zip(dataset.classes, labels, strict=True) if on) or "no finding"


def _plain(listing: Listing, name: str) -> tuple[str, ...]:
    """A name's folders in lower case, nested ones of the same name as one."""
    parts = [part.lower() for part in (listing.root.name, *PurePosixPath(name).parts)]
    return tuple(part for i, part in enumerate(parts) if i == 0 or part != parts[i - 1])


def _shown(name: str) -> str:
    """A file name as text that any terminal and file takes, also where it is no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
