"""Compare a source with the provider's own lists, and the counts of the split rule with the published ones."""

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
    listing, scan : the available files; None if there are none
    missing : files of the provider's source that are missing here
    problem : in one line why the source cannot be used or what it lacks; empty if it is complete or not needed
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
    """Look for a dataset's raw files in a folder; a dataset that is not built from raw images needs none."""
    if not dataset.has_raw_pipeline:
        return Source(None, None, (), "")
    where = f"{dataset.source.name} ({dataset.source.licence}), {dataset.source.page}"
    if sources is None:
        return Source(None, None, (), f"raw files: {where}; give their folder with --sources")
    try:
        listing = find_source(sources, dataset)
    except SourceError as error:
        return Source(None, None, (), f"raw files: {where}; {reason_without_remedy(error)}")
    try:
        scan = dataset.scan(listing)
    except SourceError as error:
        return Source(listing, None, (), f"raw files: {where}; {_inside(error, sources)}{reason_without_remedy(error)}")
    if listing.phantom is not None:
        return Source(listing, scan, (), f"raw files: {where}; the available ones are synthetic")
    missing = tuple(finding.name for finding in scan.findings if finding.kind == "missing")
    if not missing:
        return Source(listing, scan, missing, "")
    if dataset.volumetric:
        there = len({record.file for record in scan.records})
        absent = sum(_IMAGE.search(name) is not None for name in missing)
        lacking = f"{there} of {there + absent} volumes available"
    else:
        lacking = f"{len(scan.records):,} of {dataset.counts[dataset.first_edition].total:,} images available"
    return Source(listing, scan, missing, f"raw files: {where}; {lacking}")


def reason_without_remedy(error: SourceError) -> str:
    """What an error says, without the file it is about and without its remedy."""
    return str(SourceError("", error.problem, expected=error.expected, found=error.found)).removeprefix(": ")


def _inside(error: SourceError, sources: Path) -> str:
    """The file or folder at fault, relative to the folder given by the user."""
    inside = str(error.what).removeprefix(str(sources.absolute())).lstrip("/")
    return f"in {inside}: " if inside else ""


def counts_by_rule(dataset: Dataset, source: Source) -> dict[str, int] | None:
    """Images per split by the dataset's rule, from the source if it is complete, else from lists found in it.

    Returns
    -------
    dict of split to int, or None
        None if neither the source nor the lists name all images.
    """
    if source.listing is None or source.synthetic:
        return None
    scan = source.scan if source.complete else _scan_lists(dataset, source)
    if scan is None:
        return None
    counts = Counter(dataset.split.assign(scan.records))
    return {split: counts[split] for split in SPLITS}


def _scan_lists(dataset: Dataset, source: Source) -> Scan | None:
    """Scan the source as if every image named in its lists existed; None if it is incomplete even then."""
    listing = source.listing
    assert listing is not None
    listed = dataset.listed(listing) if dataset.listed is not None else _images(listing, source)
    try:
        scan = dataset.scan(replace(listing, names=tuple(sorted({*listing.names, *listed}))))
    except SourceError:
        return None
    return None if any(finding.kind == "missing" for finding in scan.findings) else scan


def _images(listing: Listing, source: Source) -> Iterator[str]:
    """Names of images in the source's lists, and missing images that a list names without their extension."""
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
