"""Check which raw data is available: the requested datasets, and the state of their sources in a folder."""

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
    """The state of a dataset's source in a folder.

    Attributes
    ----------
    dataset : Dataset
    folder : Path or None
        Where the source is.
    synthetic : bool
        Whether it is a phantom.
    images, expected : int
        Number of images present, and in a complete source.
    bytes : int
        Size of the files of the images present.
    findings : dict of str to int
        Number of findings by kind.
    missing : tuple of str
        Names of what is missing.
    problem : str
        Why the source could not be examined; empty if it was.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.sources import SourceReport
    >>> report = SourceReport(mmtk.get_dataset("breastmnist"), images=390, expected=780, bytes=26_000_000)
    >>> report.complete, report.expected_bytes
    (False, 52000000)
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
        """Whether all images of the dataset are present."""
        return not self.problem and self.images >= self.expected and not self.missing

    @property
    def expected_bytes(self) -> int:
        """Size of the complete source, extrapolated from the files present."""
        return self.bytes * self.expected // max(self.images, 1)

    def count(self, kind: str) -> int:
        """Number of images that a kind of finding concerns; a single "missing" finding may concern many."""
        count = self.findings[kind]
        return max(count, self.expected - self.images) if kind == "missing" else count

    def facts(self) -> dict[str, Any]:
        """All facts as JSON values, for ``mmtk sources --json``."""
        provider = self.dataset.source
        return {
            "flag": self.dataset.flag, "source": provider.name, "licence": provider.licence, "page": provider.page,
            "folder": self.folder and str(self.folder), "synthetic": self.synthetic, "complete": self.complete,
            "images": self.images, "expected": self.expected, "bytes": self.bytes, "findings": self.findings,
            "missing": list(self.missing), "problem": self.problem,
        }


def choose(flags: Iterable[str]) -> tuple[Dataset, ...]:
    """Resolve names to datasets, without duplicates.

    Parameters
    ----------
    flags : iterable of str
        Flags, aliases, dataset files, or names of families; if empty, all datasets that are built from raw images.

    Returns
    -------
    tuple of Dataset

    Raises
    ------
    ArgumentError
        If a name is none of these.

    Examples
    --------
    >>> from mmtk.datasets.sources import choose
    >>> [dataset.flag for dataset in choose(["organmnist"])]
    ['organamnist', 'organcmnist', 'organsmnist']
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


def inspect_source(dataset: Dataset, folder: str | os.PathLike[str]) -> SourceReport:
    """Examine a dataset's source in a folder without unpacking archives.

    Parameters
    ----------
    dataset : Dataset
    folder : path-like
        As for `find_source`.

    Returns
    -------
    SourceReport

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.sources import inspect_source
    >>> report = inspect_source(mmtk.get_dataset("breastmnist"), "sources")
    >>> report.synthetic, report.problem
    (True, '')
    """
    place, synthetic = None, False
    try:
        listing = find_source(folder, dataset, unpack=False)
        place, synthetic = listing.root, listing.phantom is not None
        if listing.packed:
            problem = f"still packed in {', '.join(listing.packed)}; mmtk build unpacks them in place"
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
    """Find all datasets whose source is in a folder.

    Parameters
    ----------
    folder : path-like
        As for `find_source`.
    allow_partial : bool
        Allow sources to be missing.

    Returns
    -------
    available : tuple of Dataset
        Those with a source.
    absent : dict of str to SourceError
        The flags of the others, with the reason.

    Raises
    ------
    SourceError
        If all sources are missing, or any without `allow_partial`.

    Examples
    --------
    >>> from mmtk.datasets.sources import available
    >>> "breastmnist" in [dataset.flag for dataset in available("sources", allow_partial=True)[0]]
    True
    """
    known = _built_from_raw()
    absent: dict[str, SourceError] = {}
    for dataset in known:
        try:
            listing = find_source(folder, dataset, unpack=False)
            if allow_partial and not listing.packed:
                dataset.scan(listing)  # a folder without any of its images does not count as a source
        except SourceError as error:
            absent[dataset.flag] = error
    if len(absent) == len(known):
        raise next(iter(absent.values()))
    if absent and not allow_partial:
        remedy = "see mmtk sources for where to get them, name the FLAGs to build, or add --allow-partial"
        raise SourceError(folder, f"does not contain the sources of {', '.join(absent)}", remedy=remedy)
    return tuple(dataset for dataset in known if dataset.flag not in absent), absent
