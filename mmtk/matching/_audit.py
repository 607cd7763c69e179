"""Find what inflates scores: duplicate and near-duplicate images, conflicting labels, subjects in several splits.

For datasets cut from CT volumes, also volumes whose images show a region other than their label.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.base import Progress
from mmtk.datasets import find_dataset, get_dataset
from mmtk.datasets.listing import Listing, find_source
from mmtk.datasets.maps import official_map
from mmtk.errors import ArgumentError
from mmtk.files import write_csv
from mmtk.matching._axes import VolumeAxes, audit_axes
from mmtk.matching._match import decoded
from mmtk.matching._neighbours import Neighbours, Pictures
from mmtk.store import SPLITS, Store
from mmtk.store import open as open_store

NEAR = 4.0
_COLUMNS = ("store", "kind", "group", "split", "index", "source", "subject", "label", "distance")


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a store or official map.

    Attributes
    ----------
    split : str
    index : int
        Row number in the split.
    source, subject : str
        Empty if unknown.
    label : tuple of int

    Examples
    --------
    >>> from mmtk.matching import Place
    >>> print(Place("train", 3, "benign/benign (4).png", "", (1,)))
    train[3] benign/benign (4).png
    """

    split: str
    index: int
    source: str
    subject: str
    label: tuple[int, ...]

    @property
    def label_text(self) -> str:
        """The label as a number, or as a string of digits in a multi-label task."""
        return "".join(map(str, self.label))

    def __str__(self) -> str:
        return f"{self.split}[{self.index}] {self.source}".rstrip()


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Rows with identical images (distance 0), or two rows with nearly identical ones.

    Attributes
    ----------
    places : tuple of Place
    distance : float
        Root mean square difference in grey levels.
    """

    places: tuple[Place, ...]
    distance: float

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values."""
        rows = [{"split": p.split, "index": p.index, "source": p.source, "label": p.label_text} for p in self.places]
        return {"distance": self.distance, "across": self.across, "conflict": self.conflict, "rows": rows}

    @property
    def across(self) -> bool:
        """Whether the rows are in several splits."""
        return len({place.split for place in self.places}) > 1

    @property
    def conflict(self) -> bool:
        """Whether their labels differ."""
        return len({place.label for place in self.places}) > 1


@dataclass(frozen=True)
class Overlap:
    """Subjects shared by two splits; pairs of numbers are in the order of `splits`.

    Attributes
    ----------
    splits : (str, str)
    shared : int
        Number of subjects in both splits.
    subjects : (int, int)
        Number of subjects in each split.
    images : (int, int)
        Number of images of shared subjects in each split.
    totals : (int, int)
        Number of images in each split.

    Examples
    --------
    >>> from mmtk.matching import Overlap
    >>> print(Overlap(("train", "val"), 2, (40, 10), (9, 3), (200, 25)))
    2 of 10 val subjects are also in train (3 of 25 val images, 9 of 200 train images)
    """

    splits: tuple[str, str]
    shared: int
    subjects: tuple[int, int]
    images: tuple[int, int]
    totals: tuple[int, int]

    def __str__(self) -> str:
        (first, second), (_, subjects), (_, images), (_, total) = self.splits, self.subjects, self.images, self.totals
        affected = f"{images} of {total} {second} images, {self.images[0]} of {self.totals[0]} {first} images"
        return f"{self.shared} of {subjects} {second} subjects are also in {first} ({affected})"


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    Attributes
    ----------
    name : str
        The store's path, or the flag.
    near_limit : float or None
        Largest distance of near duplicates; None if images were not compared.
    exact, near : tuple of DuplicateGroup
        Groups of identical images, in the order of their first rows; pairs of near duplicates, nearest first.
    overlaps : tuple of Overlap
        Pairs of splits that share subjects.
    crossing : tuple of (str, tuple of Place)
        Subjects in several splits, with all their rows.
    known_subjects : int
        Number of rows whose subject is known.
    volumes : tuple of VolumeAxes
        Orientation of each CT volume relative to its boxes, if volumes were examined.

    Examples
    --------
    >>> import mmtk
    >>> result = mmtk.matching.audit(mmtk.open("stores/breastmnist_28.h5"))
    >>> result.near_limit, result.known_subjects
    (4.0, 0)
    """

    name: str
    near_limit: float | None
    exact: tuple[DuplicateGroup, ...]
    near: tuple[DuplicateGroup, ...]
    overlaps: tuple[Overlap, ...]
    crossing: tuple[tuple[str, tuple[Place, ...]], ...]
    known_subjects: int
    volumes: tuple[VolumeAxes, ...] = ()

    @property
    def conflicts(self) -> tuple[DuplicateGroup, ...]:
        """Identical or nearly identical images with different labels."""
        return tuple(group for group in (*self.exact, *self.near) if group.conflict)

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values, for ``mmtk audit --json``."""
        overlaps, volumes = [vars(overlap) for overlap in self.overlaps], [v.facts() for v in self.volumes]
        return {
            "name": self.name, "near_limit": self.near_limit,
            "exact": {"groups": len(self.exact), **_listed(self.exact)},
            "near": {"pairs": len(self.near), **_listed(self.near)}, "conflicts": len(self.conflicts),
            "subjects": {"known": self.known_subjects, "crossing": len(self.crossing), "overlaps": overlaps},
            "volumes": volumes,
        }

    @property
    def findings(self) -> bool:
        """Whether there is anything to report."""
        return bool(self.exact or self.near or self.crossing or any(volume.misplaced for volume in self.volumes))


def count_across(groups: Iterable[DuplicateGroup]) -> int:
    """Count the groups with rows in several splits."""
    return sum(group.across for group in groups)


def _listed(groups: Sequence[DuplicateGroup]) -> dict[str, Any]:
    return {"across": count_across(groups), "found": [group.facts() for group in groups]}


def audit_named(
    name: str, near: float = NEAR, sources: str | Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Audit:
    """Audit a store, or the official map of a dataset, given by name.

    Parameters
    ----------
    name : str
        A store's file, or a dataset's flag or alias.
    near : float
        As for `audit`.
    sources : path, optional
        Folder with raw CT volumes, for the flag of a dataset cut from them.
    progress : callable, optional
        Takes a title and returns a callback for the work done and the total.

    Returns
    -------
    Audit

    Raises
    ------
    MmtkError
        As for `audit`, and if there is neither a dataset nor a store with this name.

    Examples
    --------
    >>> from mmtk.matching import audit_named
    >>> audit_named("stores/breastmnist_28.h5", near=0).near
    ()
    """
    dataset = None if Path(name).is_file() else find_dataset(name)
    if dataset is None:
        opened = open_store(name)
        return audit(opened, near, progress(f"comparing {name}") if progress else None)
    listing = find_source(sources, dataset) if sources is not None and dataset.volumetric else None
    return audit(name, progress=progress(f"reading volumes of {name}") if progress else None, listing=listing)


def audit(
    store: Store | str, near: float = NEAR, progress: Progress | None = None, listing: Listing | None = None
) -> Audit:
    """Find duplicates, conflicting labels, subjects in several splits, and misplaced CT crops.

    Parameters
    ----------
    store : Store or str
        A flag means the known official map, for which only subjects are examined.
    near : float
        Largest distance of near duplicates, as root mean square difference in grey levels; 0 finds none.
    progress : callable, optional
        Called with the number of images compared (or volumes examined) and their total.
    listing : Listing, optional
        Raw files for the flag of a dataset cut from CT volumes; the axes of each volume are compared with its boxes.

    Returns
    -------
    Audit

    Raises
    ------
    ArgumentError
        If the flag's official map is not known and there are no volumes, or `near` is not from 0 to 255.
    SourceError
        If a volume cannot be read.
    MmtkError
        If more than a million pairs of images are that close.

    Examples
    --------
    >>> import mmtk
    >>> result = mmtk.matching.audit(mmtk.open("stores/breastmnist_28.h5"), near=2)
    >>> result.crossing
    ()
    """
    if not 0 <= near <= 255:
        raise ArgumentError("near", found=str(near), expected="0 to 255 grey levels")
    if isinstance(store, str):
        dataset = get_dataset(store)
        volumes = audit_axes(dataset, listing, progress) if listing is not None and dataset.volumetric else ()
        places = [] if volumes and official_map(dataset.flag) is None else _official_places(store)
        return replace(_audited(dataset.flag, None, (), (), places), volumes=volumes)
    places = _store_places(store)
    pictures = Pictures([split.images for split in store.splits])
    exact = tuple(_equal(places, pictures.digests()))
    return _audited(str(store.path), near, exact, tuple(_near(places, pictures, near, progress)), places)


def _store_places(store: Store) -> list[Place]:
    return [
        Place(split.name, row, source, subject, tuple(label))
        for split in store.splits
        for row, (source, subject, label) in enumerate(zip(
            decoded(split.records["source"]), decoded(split.records["subject"]), split.labels.tolist(), strict=True
        ))
    ]


def _official_places(flag: str) -> list[Place]:
    dataset = get_dataset(flag)
    known = official_map(dataset.flag)
    if known is None:
        volumes = ", or --sources with its CT volumes" if dataset.volumetric else ""
        raise ArgumentError(dataset.flag, "has no known official map", remedy=f"give a store of it{volumes}")
    return [
        Place(split, row, r.source or "", r.subject, r.labels)
        for split in SPLITS for row, r in enumerate(known.rows[split])
    ]


def _equal(places: list[Place], keys: list[bytes]) -> Iterator[DuplicateGroup]:
    groups = defaultdict(list)
    for place, key in zip(places, keys, strict=True):
        groups[key].append(place)
    return (DuplicateGroup(tuple(group), 0.0) for group in groups.values() if len(group) > 1)


def _near(places: list[Place], pictures: Pictures, near: float, progress: Progress | None) -> Iterator[DuplicateGroup]:
    if near == 0 or len(pictures) < 2:
        return
    everything = np.arange(len(pictures))
    radius = np.full(len(pictures), math.floor(near * near * pictures.width))
    search = Neighbours(pictures, pictures, everything)
    pairs = search.within(everything, radius, beyond=everything, progress=progress)
    order = np.argsort(pairs.squared, kind="stable")
    for first, second, squared in zip(*(column[order].tolist() for column in pairs), strict=True):
        if squared:
            yield DuplicateGroup((places[first], places[second]), round(math.sqrt(squared / pictures.width), 4))


def _audited(
    name: str, near: float | None, exact: tuple[DuplicateGroup, ...], pairs: tuple[DuplicateGroup, ...],
    places: list[Place],
) -> Audit:
    by_subject = defaultdict(list)
    for place in places:
        if place.subject:
            by_subject[place.subject].append(place)
    crossing = tuple((s, tuple(rows)) for s, rows in by_subject.items() if len({row.split for row in rows}) > 1)
    overlaps = tuple(_overlaps(places, by_subject.values()))
    return Audit(name, near, exact, pairs, overlaps, crossing, sum(map(len, by_subject.values())))


def _overlaps(places: list[Place], subjects: Iterable[list[Place]]) -> Iterator[Overlap]:
    totals = Counter(place.split for place in places)
    counts = [Counter(row.split for row in rows) for rows in subjects]
    for a, b in combinations(SPLITS, 2):
        both = [count for count in counts if count[a] and count[b]]
        if both:
            in_split = tuple(sum(count[split] > 0 for count in counts) for split in (a, b))
            images = tuple(sum(count[split] for count in both) for split in (a, b))
            yield Overlap((a, b), len(both), (in_split[0], in_split[1]), (images[0], images[1]), (totals[a], totals[b]))


def write_audit(audits: Iterable[Audit], path: str | Path, force: bool = False) -> Path:
    """Write the results of audits to a CSV file.

    Its columns are ``store,kind,group,split,index,source,subject,label,distance``, with one line per row of a store;
    lines with the same kind (exact, near, subject) and group belong together. A misplaced CT volume has lines of the
    kind volume, with its file as source.

    Parameters
    ----------
    audits : iterable of Audit
    path : path
    force : bool
        Replace an existing file.

    Returns
    -------
    Path

    Raises
    ------
    StoreError
        If a different file exists, unless `force` is set, or if the file cannot be written.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.matching import audit_named, write_audit
    >>> path = write_audit([audit_named("stores/breastmnist_28.h5", near=0)], "audit.csv")
    >>> path.read_text().splitlines()[0]
    'store,kind,group,split,index,source,subject,label,distance'
    """
    lines: list[tuple[object, ...]] = [_COLUMNS]
    for result in audits:
        groups = [("exact", group.places, "0") for group in result.exact]
        groups += [("near", group.places, str(group.distance)) for group in result.near]
        groups += [("subject", places, "") for _, places in result.crossing]
        for number, (kind, places, distance) in enumerate(groups):
            for p in places:
                row = (p.split, p.index, p.source, p.subject, p.label_text, distance)
                lines.append((result.name, kind, number, *row))
        for number, volume in enumerate(volume for volume in result.volumes if volume.misplaced):
            for split in volume.images:
                lines.append((result.name, "volume", number, split, "", volume.file, "", "", ""))
    write_csv(Path(path), lines, force)
    return Path(path)
