"""What all scans share: natural sort order, junk and duplicate files, missing and surplus images."""

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
    """Sort key that puts ``benign (9)`` before ``benign (10)``: numbers are compared by length, then by digits."""
    parts = [(part, part.lstrip("0")) for part in _NUMBERS.split(text)]
    return tuple([(len(number), number) if part.isdecimal() else (-1, part) for part, number in parts])


def is_junk(name: str) -> bool:
    """Whether a file is a by-product of a desktop or archiver: ``__MACOSX``, ``.DS_Store``, ``._*``, ``Thumbs.db``."""
    *folders, last = name.split("/")  # pathlib would take seconds for the names of a large source
    return "__MACOSX" in folders or last.lower() in _JUNK_NAMES or last.startswith("._")


def matching(listing: Listing, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Match a pattern against all names in full, except junk."""
    return (match for match in map(pattern.fullmatch, listing.names) if match and not is_junk(match[0]))


def folder_of(name: str) -> str:
    """A file's folder; empty at the top level."""
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
    """Turn records into a scan: sorted, without copies, and compared with what the source should contain.

    Parameters
    ----------
    dataset : Dataset
    listing : Listing
    records : iterable of Record
        One per file that looks like an image of the dataset, in any order.
    absent : iterable of str
        Images that the source itself lists but does not contain.
    belongs : callable
        Whether an image file without a record is expected among the images, as masks are.
    expected : mapping of str to int, optional
        Number of images in each of the provider's folders of part and class, if no map lists its files.
    doubts : iterable of Finding
        Further findings.

    Returns
    -------
    Scan
        Records in natural order of part (train before test) and source name. A second file of an image is junk if
        their folders differ only in case or by a nested folder of the same name (Kaggle's ``chest_xray/chest_xray``),
        or if it is in an archive next to its unpacked copy. Files that the provider's source does not have are surplus.

    Raises
    ------
    SourceError
        If there are no images of the dataset, an image occurs twice, or a label differs from the official one.
    """
    by_source, junk = _without_copies(listing, records)
    folders = {folder_of(file) for file in (*junk, *(record.file for record in by_source.values()))}
    junk |= {name for name in listing.names if is_junk(name)}
    files = {record.file for record in by_source.values()} | junk
    images = {name for name in listing.names if name.lower().endswith(IMAGES) and name not in files}
    surplus = {name for name in images if folder_of(name) in folders and not belongs(name)}
    missing = list(absent)
    if listing.phantom is not None:
        missing += _lost(int(listing.phantom["images"]), len(by_source) + len(missing), "the phantom's")
    elif (official := official_map(dataset.flag)) is not None:
        labels = official.labels
        surplus |= {by_source.pop(source).file for source in by_source.keys() - labels.keys()}
        missing = sorted(labels.keys() - by_source.keys(), key=natural_key)
        _expect_labels(dataset, listing, by_source, labels)
    elif expected is not None:
        missing += _lacking(by_source.values(), expected)
    elif by_source and not missing and not dataset.own:  # the number of an own dataset's images is unknown
        missing = _lost(dataset.counts[dataset.first_edition].total, len(by_source), "the source's")
    if not by_source:
        provider, others = dataset.source, len(images | surplus)
        problem = f"contains no images of {provider.name} in its layout {provider.layout}"
        problem += f", only {others} image files with other names" if others else ""
        remedy = f"get them from {provider.page} (licence: {provider.licence})"
        raise SourceError(listing.root, problem, remedy=remedy)
    ordered = sorted(by_source.values(), key=lambda r: (r.part == "test", r.part == "val", natural_key(r.source)))
    kinds = (("missing", missing), ("surplus", sorted(surplus)), ("junk", sorted(junk)))
    findings = tuple(Finding(kind, _shown(name)) for kind, names in kinds for name in names)
    return Scan(tuple(ordered), (*findings, *doubts))


def _lost(wanted: int, known: int, whose: str) -> list[str]:
    return [f"{wanted - known} of {whose} {wanted} images"] if wanted > known else []


def _lacking(records: Iterable[Record], expected: Mapping[str, int]) -> list[str]:
    """What is missing in a provider's folders of part and class; surplus files would be another edition."""
    counts = Counter(folder_of(record.source) for record in records)
    return [
        f"{wanted - counts[folder]:,} of the {wanted:,} images of {folder}"
        for folder, wanted in expected.items()
        if counts[folder] < wanted
    ]


def _without_copies(listing: Listing, records: Iterable[Record]) -> tuple[dict[str, Record], set[str]]:
    """The outermost record of each source name, and the files that are copies of it."""
    by_source: dict[str, Record] = {}
    copies = set()
    inside = tuple(f"{archive}/" for archive in listing.archives if archive)
    for record in sorted(records, key=lambda r: (r.file.startswith(inside), r.file.count("/"), r.file)):
        first = by_source.setdefault(record.source, record)
        if first is not record:
            if not record.file.startswith(inside) and _plain(listing, first.file) != _plain(listing, record.file):
                problem = f"contains {record.source} twice: {first.file} and {record.file}"
                raise SourceError(listing.root, problem, remedy="remove one of them")
            copies.add(record.file)
    return by_source, copies


def _expect_labels(
    dataset: Dataset, listing: Listing, by_source: dict[str, Record], labels: dict[str, tuple[int, ...]]
) -> None:
    for source, record in by_source.items():
        if record.labels != labels[source]:
            raise SourceError(
                listing.path(record.file), "does not have the official class", found=_classes(dataset, record.labels),
                expected=_classes(dataset, labels[source]), remedy="download the provider's files again",
            )


def _classes(dataset: Dataset, labels: tuple[int, ...]) -> str:
    if dataset.task is not Task.MULTILABEL:
        return dataset.classes[labels[0]]
    return " and ".join(name for name, on in zip(dataset.classes, labels, strict=True) if on) or "no finding"


def _plain(listing: Listing, name: str) -> tuple[str, ...]:
    """The parts of a path in lower case, with nested folders of the same name merged."""
    parts = [part.lower() for part in (listing.root.name, *PurePosixPath(name).parts)]
    return tuple(part for i, part in enumerate(parts) if i == 0 or part != parts[i - 1])


def _shown(name: str) -> str:
    """A file name as printable text, even if it is not valid UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()
