"""What a source has, what the provider's own lists say it should have, and the counts the split rule gives on those."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mmtk.datasets.base import SPLITS, Dataset, Scan
from mmtk.datasets.listing import Listing, find_source
from mmtk.errors import SourceError

_LISTS = (".txt", ".csv", ".tab")
_LARGEST = 1 << 26  # bytes of a list
_IMAGE = re.compile(r"\.(?:png|jpe?g|tiff?|nii)$", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A dataset's raw files.

    Attributes
    ----------
    listing, scan : what is there; None where nothing of it is
    missing : what the provider's source has and this one lacks
    problem : why it cannot be used, or what it lacks, in a line; empty for a complete one, or where none is needed
    """

    listing: Listing | None
    scan: Scan | None
    missing: tuple[str, ...]
    problem: str

    @property
    def complete(self) -> bool:
        return self.scan is not None and not self.missing and not self.synthetic

    @property
    def synthetic(self) -> bool:
        return self.listing is not None and self.listing.phantom is not None


def look(sources: Path | None, dataset: Dataset) -> Source:
    """See what of a dataset's raw files a folder has; one that is not built from raw images needs none."""
    if not dataset.has_raw_pipeline:
        return Source(None, None, (), "")
    where = f"{dataset.source.name} ({dataset.source.licence}), {dataset.source.page}"
    if sources is None:
        return Source(None, None, (), f"raw files: {where}; give their folder with --sources")
    try:
        listing = find_source(sources, dataset)
    except SourceError as error:
        return Source(None, None, (), f"raw files: {where}; {error.found}")
    try:
        scan = dataset.scan(listing)
    except SourceError as error:
        return Source(listing, None, (), f"raw files: {where}; {_inside(error, sources)}found {error.found}")
    if listing.phantom is not None:
        return Source(listing, scan, (), f"raw files: {where}; those here are synthetic")
    missing = tuple(finding.name for finding in scan.findings if finding.kind == "missing")
    if not missing:
        return Source(listing, scan, missing, "")
    if dataset.volumetric:
        there = len({record.file for record in scan.records})
        absent = sum(_IMAGE.search(name) is not None for name in missing)
        lacking = f"{there} of {there + absent} volumes here"
    else:
        lacking = f"{len(scan.records):,} of {dataset.counts[dataset.first_edition].total:,} images here"
    return Source(listing, scan, missing, f"raw files: {where}; {lacking}")


def _inside(error: SourceError, sources: Path) -> str:
    """The file or folder at fault, as seen from the folder the user gave."""
    inside = str(error.what).removeprefix(str(sources.absolute())).lstrip("/")
    return f"in {inside}: " if inside else ""


def counts_by_rule(dataset: Dataset, source: Source) -> dict[str, int] | None:
    """Images of each split by the dataset's rule, from the source if it is whole, else from lists that lie in it.

    Returns
    -------
    dict of split to int, or None
        None where neither source nor lists name all images.
    """
    if source.listing is None or source.synthetic:
        return None
    scan = source.scan if source.complete else _scan_lists(dataset, source)
    if scan is None:
        return None
    counts = Counter(dataset.split.assign(scan.records))
    return {split: counts[split] for split in SPLITS}


def _scan_lists(dataset: Dataset, source: Source) -> Scan | None:
    """Scan the source as if every image that its lists name were there; None if that does not make it whole."""
    listing = source.listing
    assert listing is not None
    listed = dataset.listed(listing) if dataset.listed is not None else _images(listing, source)
    try:
        scan = dataset.scan(replace(listing, names=tuple(sorted({*listing.names, *listed}))))
    except SourceError:
        return None
    return None if any(finding.kind == "missing" for finding in scan.findings) else scan


def _images(listing: Listing, source: Source) -> Iterator[str]:
    """Names of images in the source's lists, and missing ones whose name such a list has without its ending."""
    words: set[str] = set()
    for name in listing.names:
        if name.lower().endswith(_LISTS) and listing.size(name) <= _LARGEST:
            try:
                words.update(re.split(r"[\s,;\"]+", listing.read_text(name)))
            except SourceError:
                continue
    have = {name.rpartition("/")[2] for name in listing.names}
    for word in filter(_IMAGE.search, words):
        image = word.replace("\\", "/").removeprefix("./")
        if image.rpartition("/")[2] not in have:
            yield image
    if source.scan is not None:
        ending = source.scan.records[0].file.rpartition(".")[2]
        yield from (f"{name}.{ending}" for name in source.missing if name in words)
