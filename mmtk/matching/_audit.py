"""What inflates scores: equal and nearly equal pictures, labels that contradict, subjects in several splits.

Of CT volumes also those whose images show another place than their label.
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
    """A row: its split and number, its source and subject (empty if unknown), its label."""

    split: str
    index: int
    source: str
    subject: str
    label: tuple[int, ...]

    @property
    def label_text(self) -> str:
        """One number, or a word of digits for several labels."""
        return "".join(map(str, self.label))

    def __str__(self) -> str:
        return f"{self.split}[{self.index}] {self.source}".rstrip()


@dataclass(frozen=True, slots=True)
class Alike:
    """Rows of equal pictures (distance 0), or two of nearly equal ones; root mean square grey levels."""

    places: tuple[Place, ...]
    distance: float

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values."""
        rows = [{"split": p.split, "index": p.index, "source": p.source, "label": p.label_text} for p in self.places]
        return {"distance": self.distance, "across": self.across, "conflict": self.conflict, "rows": rows}

    @property
    def across(self) -> bool:
        """Whether they stand in several splits."""
        return len({place.split for place in self.places}) > 1

    @property
    def conflict(self) -> bool:
        """Whether their labels differ."""
        return len({place.label for place in self.places}) > 1


@dataclass(frozen=True)
class Overlap:
    """Subjects that stand in two splits; pairs of numbers are in the order of `splits`.

    Attributes
    ----------
    splits : (str, str)
    shared : int
        Subjects that both have.
    subjects : (int, int)
        Subjects that each has.
    images : (int, int)
        Images of shared subjects in each.
    totals : (int, int)
        Images in each.
    """

    splits: tuple[str, str]
    shared: int
    subjects: tuple[int, int]
    images: tuple[int, int]
    totals: tuple[int, int]

    def __str__(self) -> str:
        (first, second), (_, subjects), (_, images), (_, total) = self.splits, self.subjects, self.images, self.totals
        of_second = f"{self.shared} of {second}'s {subjects} subjects also in {first}"
        return f"{of_second}: {images} of {total} {second} images, {self.images[0]} of {self.totals[0]} {first} images"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    name : str
        The store's path, or the flag.
    near_limit : float or None
        How far apart near duplicates may be; None where no pictures were looked at.
    exact, near : tuple of Alike
        Groups of equal pictures, in the order of their first rows; pairs of nearly equal ones, the nearest first.
    overlaps : tuple of Overlap
        Those pairs of splits that share subjects.
    crossing : tuple of (str, tuple of Place)
        Each subject that stands in several splits, with all its rows.
    known_subjects : int
        Rows whose subject is known.
    volumes : tuple of VolumeAxes
        How each CT volume lies against its boxes, where volumes were looked at.
    """

    name: str
    near_limit: float | None
    exact: tuple[Alike, ...]
    near: tuple[Alike, ...]
    overlaps: tuple[Overlap, ...]
    crossing: tuple[tuple[str, tuple[Place, ...]], ...]
    known_subjects: int
    volumes: tuple[VolumeAxes, ...] = ()

    @property
    def conflicts(self) -> tuple[Alike, ...]:
        """Equal or nearly equal pictures of different labels."""
        return tuple(alike for alike in (*self.exact, *self.near) if alike.conflict)

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, for ``mmtk audit --json``."""
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
        """Whether there is anything to tell."""
        return bool(self.exact or self.near or self.crossing or any(volume.elsewhere for volume in self.volumes))


def across(groups: Iterable[Alike]) -> int:
    """How many groups of pictures stand in several splits."""
    return sum(group.across for group in groups)


def _listed(groups: Sequence[Alike]) -> dict[str, Any]:
    return {"across": across(groups), "found": [group.facts() for group in groups]}


def audit_named(
    name: str, near: float = NEAR, sources: str | Path | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> Audit:
    """Audit what a name stands for: a store, or where no such file is, the official membership of a dataset.

    Parameters
    ----------
    name : str
        A store's file, a dataset's flag or an alias.
    near : float
        As `audit` takes it.
    sources : path, optional
        Folder with raw CT volumes, for the flag of a dataset that is cut from them.
    progress : callable, optional
        Given a title, gives a callable of what is done and how much it is in all.

    Raises
    ------
    MmtkError
        As of `audit`; or if there is neither a dataset nor a store of that name.
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
    """Look for duplicates, contradicting labels, subjects that stand in several splits, and misplaced CT crops.

    Parameters
    ----------
    store : Store or str
        A flag stands for the known official membership, of which subjects alone are looked at.
    near : float
        Root mean square grey levels at which pictures count as near duplicates; 0 looks for none.
    progress : callable, optional
        Told the images compared with all others and their number, or the volumes looked at and theirs.
    listing : Listing, optional
        The raw files of a flag that is cut from CT volumes: each volume's axes are held against its boxes.

    Raises
    ------
    ArgumentError
        If the flag's official membership is not known and there are no volumes, or `near` is not from 0 to 255.
    SourceError
        If a volume cannot be read.
    MmtkError
        If a million pairs of pictures are that near.
    """
    if not 0 <= near <= 255:
        raise ArgumentError("near", expected="0 to 255 grey levels", found=str(near))
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
        remedy = f"give a store, for which it is{volumes}"
        raise ArgumentError(dataset.flag, expected="a known official membership", found="none", remedy=remedy)
    return [
        Place(split, row, r.source or "", r.subject, r.labels)
        for split in SPLITS for row, r in enumerate(known.rows[split])
    ]


def _equal(places: list[Place], keys: list[bytes]) -> Iterator[Alike]:
    groups = defaultdict(list)
    for place, key in zip(places, keys, strict=True):
        groups[key].append(place)
    return (Alike(tuple(group), 0.0) for group in groups.values() if len(group) > 1)


def _near(places: list[Place], pictures: Pictures, near: float, progress: Progress | None) -> Iterator[Alike]:
    if near == 0 or len(pictures) < 2:
        return
    everything = np.arange(len(pictures))
    radius = np.full(len(pictures), math.floor(near * near * pictures.width))
    search = Neighbours(pictures, pictures, everything)
    pairs = search.within(everything, radius, beyond=everything, progress=progress)
    order = np.argsort(pairs.squared, kind="stable")
    for first, second, squared in zip(*(column[order].tolist() for column in pairs), strict=True):
        if squared:
            yield Alike((places[first], places[second]), round(math.sqrt(squared / pictures.width), 4))


def _audited(
    name: str, near: float | None, exact: tuple[Alike, ...], pairs: tuple[Alike, ...], places: list[Place]
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
            each = tuple(sum(count[split] > 0 for count in counts) for split in (a, b))
            images = tuple(sum(count[split] for count in both) for split in (a, b))
            yield Overlap((a, b), len(both), (each[0], each[1]), (images[0], images[1]), (totals[a], totals[b]))


def write_audit(found: Iterable[Audit], path: str | Path, force: bool = False) -> Path:
    """Write everything that audits found as one CSV file.

    Its columns are ``store,kind,group,split,index,source,subject,label,distance``, a row for each place; those of one
    kind (exact, near, subject) and group belong together. A CT volume that lies against its boxes has a row of the kind
    volume, with its file as source.

    Raises
    ------
    StoreError
        If another file is there, unless `force` allows it to be replaced, or the disk is full or cannot be written.
    """
    lines: list[tuple[object, ...]] = [_COLUMNS]
    for one in found:
        groups = [("exact", alike.places, "0") for alike in one.exact]
        groups += [("near", alike.places, str(alike.distance)) for alike in one.near]
        groups += [("subject", places, "") for _, places in one.crossing]
        for number, (kind, places, distance) in enumerate(groups):
            for p in places:
                row = (p.split, p.index, p.source, p.subject, p.label_text, distance)
                lines.append((one.name, kind, number, *row))
        for number, volume in enumerate(volume for volume in one.volumes if volume.elsewhere):
            for split in volume.images:
                lines.append((one.name, "volume", number, split, "", volume.file, "", "", ""))
    write_csv(Path(path), lines, force)
    return Path(path)
