"""Which raw data is at hand: the datasets asked for, and what of each one's source lies in a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmtk.datasets import list_datasets
from mmtk.datasets.base import Dataset
from mmtk.datasets.checks import check_apart
from mmtk.datasets.listing import find_source
from mmtk.errors import SourceError


@dataclass(frozen=True)
class SourceReport:
    """What a folder holds of a dataset's source.

    Attributes
    ----------
    folder : where the source was found
    synthetic : whether it is a phantom
    images, expected : images that are there, and how many a whole source has
    bytes : size of the files of those images
    findings : how many there are of each kind
    missing : what is missing, by name
    problem : why nothing more could be seen; empty where all was
    """

    dataset: Dataset
    folder: Path | None = None
    synthetic: bool = False
    images: int = 0
    expected: int = 0
    bytes: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether every image of the dataset is there."""
        return not self.problem and self.images >= self.expected and not self.missing

    @property
    def expected_bytes(self) -> int:
        """Estimated size of the whole source, from the mean of what is there."""
        return self.bytes * self.expected // max(self.images, 1)

    def count(self, kind: str) -> int:
        """How many images a kind of finding is about; one that says "missing" may stand for many."""
        named = self.findings[kind]
        return max(named, self.expected - self.images) if kind == "missing" else named

    def facts(self) -> dict[str, Any]:
        """All of it as JSON values, for ``mmtk sources --json``."""
        provider = self.dataset.source
        return {
            "flag": self.dataset.flag, "source": provider.name, "licence": provider.licence, "page": provider.page,
            "folder": self.folder and str(self.folder), "synthetic": self.synthetic, "complete": self.complete,
            "images": self.images, "expected": self.expected, "bytes": self.bytes, "findings": self.findings,
            "missing": list(self.missing), "problem": self.problem,
        }


def choose(flags: Iterable[str]) -> tuple[Dataset, ...]:
    """The datasets of some names, each once.

    Parameters
    ----------
    flags : iterable of str
        Flags, aliases, dataset files, or names of a source that several datasets share; none at all means every
        dataset that is built from raw images.

    Raises
    ------
    ArgumentError
        If a name is none of these.
    """
    from mmtk.datasets.own import named

    known = list_datasets()
    families: dict[str, list[Dataset]] = {}
    for dataset in known:
        families.setdefault(dataset.family, []).append(dataset)
    chosen = [dataset for flag in flags for dataset in families.get(flag) or [named(flag)]]
    check_apart(chosen)
    return tuple({dataset.flag: dataset for dataset in chosen or _built_from_raw()}.values())


def _built_from_raw() -> tuple[Dataset, ...]:
    return tuple(dataset for dataset in list_datasets() if dataset.has_raw_pipeline)


def look(dataset: Dataset, folder: str | os.PathLike[str]) -> SourceReport:
    """Look what a folder holds of a dataset's source; nothing is unpacked.

    Parameters
    ----------
    dataset : Dataset
    folder : path-like
        As `find_source` takes it.
    """
    place, synthetic = None, False
    try:
        listing = find_source(folder, dataset, unpack=False)
        place, synthetic = listing.root, listing.phantom is not None
        if listing.packed:
            problem = f"packed in {', '.join(listing.packed)}, which mmtk build unpacks beside them"
            return SourceReport(dataset, place, synthetic, problem=problem)
        scan = dataset.scan(listing)
        if scan.bad:
            raise scan.bad[0][1]
    except SourceError as error:
        return SourceReport(dataset, place, synthetic, problem=str(error))
    if dataset.own:
        expected = len(scan.records) + sum(finding.kind == "missing" for finding in scan.findings)
    else:
        expected = dataset.counts[dataset.first_edition].total
    if listing.phantom is not None:
        expected = len(scan.records) if dataset.volumetric else int(listing.phantom["images"])
    return SourceReport(
        dataset, place, synthetic, len(scan.records), expected,
        bytes=sum(map(listing.size, {record.file for record in scan.records})),
        findings=dict(Counter(finding.kind for finding in scan.findings)),
        missing=tuple(finding.name for finding in scan.findings if finding.kind == "missing"),
    )


def available(
    folder: str | os.PathLike[str], allow_partial: bool = False
) -> tuple[tuple[Dataset, ...], dict[str, SourceError]]:
    """All datasets whose source is in a folder, among those that are built from raw images.

    Parameters
    ----------
    folder : path-like
        As `find_source` takes it.
    allow_partial : bool
        Whether sources may be absent.

    Returns
    -------
    tuple of Dataset
        Those with a source.
    dict of str to SourceError
        Flags of the others, and what is the matter with each.

    Raises
    ------
    SourceError
        If one is absent that must not be, or all are.
    """
    known = _built_from_raw()
    absent: dict[str, SourceError] = {}
    for dataset in known:
        try:
            listing = find_source(folder, dataset, unpack=False)
            if allow_partial and not listing.packed:
                dataset.scan(listing)  # a folder that holds nothing of it is no source either
        except SourceError as error:
            absent[dataset.flag] = error
    if len(absent) == len(known):
        raise next(iter(absent.values()))
    if absent and not allow_partial:
        remedy = "mmtk sources says where to get them; name the FLAGs to build, or add --allow-partial"
        raise SourceError(folder, expected="every source", found=f"none for {', '.join(absent)}", remedy=remedy)
    return tuple(dataset for dataset in known if dataset.flag not in absent), absent
