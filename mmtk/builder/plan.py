"""The plan: which record becomes which row, fixed before any pixel work starts."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmtk import __version__
from mmtk.datasets.base import (
    SPLITS,
    CenterCrop,
    Colour,
    Dataset,
    Finding,
    Record,
    recipe_hash,
    recipe_to_json,
)
from mmtk.datasets.listing import Listing
from mmtk.datasets.maps import OfficialMap, official_map
from mmtk.errors import ArgumentError, ImageError, SourceError
from mmtk.imaging import Box, Header, center_box, probe
from mmtk.store import StoreInfo, record_dtype

_NAMED = 3  # missing files named in an error, the rest is counted


@dataclass(frozen=True)
class Planned:
    """One row to be: its record and what its file's header says."""

    record: Record
    header: Header

    def box(self, cropped: bool) -> Box | None:
        """The square that is cut out; None where the recipe takes the whole image."""
        return center_box(self.header.height, self.header.width) if cropped else None


@dataclass(frozen=True)
class Plan:
    """Everything that determines the bytes of a dataset's stores.

    Attributes
    ----------
    rows : the rows of each split, in their order
    membership : how it came about
    bad : images whose header cannot be used, with the reason; they are in no row
    """

    dataset: Dataset
    edition: str
    pixels: str
    membership: str
    synthetic: bool
    partial: bool
    rows: dict[str, tuple[Planned, ...]]
    findings: tuple[Finding, ...]
    bad: dict[str, str]

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split."""
        return {split: len(self.rows[split]) for split in SPLITS}

    @property
    def colour(self) -> bool:
        return any(isinstance(step, Colour) for step in self.dataset.recipe)

    @property
    def cropped(self) -> bool:
        return any(isinstance(step, CenterCrop) for step in self.dataset.recipe)

    def labels(self) -> dict[str, np.ndarray[Any, Any]]:
        """Label rows ``(n, l)`` uint8 of each split."""
        width = self.dataset.labels
        return {
            split: np.array([row.record.labels for row in self.rows[split]], np.uint8).reshape(-1, width)
            for split in SPLITS
        }

    def records(self) -> dict[str, np.ndarray[Any, Any]]:
        """Records of each split, as stores keep them."""
        everything = [row.record for split in SPLITS for row in self.rows[split]]
        widths = [
            max((len(getattr(r, name).encode()) for r in everything), default=1) for name in ("source", "subject")
        ]
        dtype = record_dtype(*widths)
        return {split: np.array([self._record(row) for row in self.rows[split]], dtype) for split in SPLITS}

    def _record(self, row: Planned) -> tuple[bytes, bytes, int, int, int, int, int]:
        height, width = row.header.height, row.header.width
        box = row.box(self.cropped) or Box(0, 0, min(height, width))
        return (row.record.source.encode(), row.record.subject.encode(), height, width, *box)

    def info(self, size: int) -> StoreInfo:
        """The facts of the store of one size."""
        dataset, recipe = self.dataset, self.dataset.recipe_for(self.pixels)
        facts: dict[str, Any] = {
            "flag": dataset.flag,
            "edition": self.edition,
            "pixels": self.pixels,
            "membership": self.membership,
            "recipe": recipe_to_json(recipe),
            "synthetic": self.synthetic,
            "partial": self.partial,
            "size": size,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for split in SPLITS:
            for row in self.rows[split]:
                digest.update(repr((split, row.record.labels, *self._record(row))).encode())
        return StoreInfo(
            **facts,
            title=dataset.title,
            modality=dataset.modality,
            task=dataset.task.value,
            classes=dataset.classes,
            channels=dataset.channels,
            split="official",
            recipe_hash=recipe_hash(recipe),
            licence=dataset.source.licence,
            citation=dataset.source.citation,
            source=dataset.source.name,
            plan_hash=digest.hexdigest(),
            mmtk_version=__version__,
        )


def make_plan(
    dataset: Dataset,
    listing: Listing,
    *,
    edition: str = "2020",
    pixels: str = "official",
    allow_partial: bool = False,
    headers: bool = True,
    skip_bad: bool = False,
    without: Collection[str] = (),
) -> Plan:
    """Plan a dataset's stores from a listing of its raw files.

    Parameters
    ----------
    dataset : Dataset
    listing : Listing
    edition, pixels : the two choices a store records
    allow_partial : bool
        Plan with what is there; else an incomplete source is an error.
    headers : bool
        Read each image's header; without, only counts and membership hold.
    skip_bad : bool
        Leave out images whose header cannot be used, and name them in ``bad``; else the first is an error.
    without : collection of str
        Sources of records to leave out: images found bad before.

    Raises
    ------
    ArgumentError
        If the dataset cannot be built from raw files, or edition or pixels are unknown.
    SourceError
        If the source is incomplete, or nothing of it is left.
    ImageError
        If an image's header cannot be used.
    """
    if dataset.scan is None or dataset.split is None:
        remedy = "mmtk list shows which can; mmtk import takes the official .npz"
        raise ArgumentError(dataset.flag, expected="a dataset that can be built from raw files", remedy=remedy)
    if edition not in dataset.counts:
        raise ArgumentError("edition", expected=" or ".join(dataset.counts), found=edition)
    dataset.recipe_for(pixels)
    scan = dataset.scan(listing)
    missing = [finding for finding in scan.findings if finding.kind == "missing"]
    if missing and not allow_partial:
        names = ", ".join(finding.name for finding in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        source = dataset.source
        remedy = f"get it from {source.page} ({source.licence}), or add --allow-partial"
        raise SourceError(listing.root, expected=f"all of {source.name}", found=f"no {names}{more}", remedy=remedy)
    records = [record for record in scan.records if record.source not in without]
    bad: dict[str, str] = {}
    found = _read_headers(records, listing, bad if skip_bad else None) if headers else {}
    records = [record for record in records if record.source not in bad]
    if not records:
        raise SourceError(listing.root, expected="at least one image that can be used", found="none")
    known = None if listing.phantom else official_map(dataset.flag)
    if known is None:
        rows = _by_rule(dataset, records)
        membership = f"by rule: {dataset.split!r}"
    else:
        rows, membership = _by_map(known, records)
    unknown_header = Header("unknown", 1, 1, dataset.channels)
    return Plan(
        dataset=dataset,
        edition=edition,
        pixels=pixels,
        membership=membership,
        synthetic=bool(listing.phantom),
        partial=bool(missing or without or bad),
        rows={s: tuple(Planned(r, found.get(r.source, unknown_header)) for r in rows[s]) for s in SPLITS},
        findings=scan.findings,
        bad=bad,
    )


def _read_headers(records: list[Record], listing: Listing, bad: dict[str, str] | None) -> dict[str, Header]:
    def read(record: Record) -> Header | ImageError:
        try:
            return probe(listing.path(record.file))
        except ImageError as error:
            return error

    headers: dict[str, Header] = {}
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for record, answer in zip(records, pool.map(read, records), strict=True):
            if isinstance(answer, Header):
                headers[record.source] = answer
            elif bad is None:
                raise answer
            else:
                bad[record.source] = str(answer)
    return headers


def _by_rule(dataset: Dataset, records: Iterable[Record]) -> dict[str, list[Record]]:
    records = tuple(records)
    assert dataset.split is not None
    rows: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for record, split in zip(records, dataset.split.assign(records), strict=True):
        rows[split].append(record)
    return rows


def _by_map(known: OfficialMap, records: list[Record]) -> tuple[dict[str, list[Record]], str]:
    """Rows in the official order; a row whose file is unknown takes the next file of its label that has no row."""
    by_source = {record.source: record for record in records}
    unplaced = {row.source for row in known.unplaced}
    spare: dict[int, list[Record]] = {}
    for record in reversed(records):
        if record.source in unplaced:
            spare.setdefault(record.labels[0], []).append(record)
    rows: dict[str, list[Record]] = {}
    filled = 0
    for split in SPLITS:
        rows[split] = []
        for row in known.rows[split]:
            if row.source is not None:
                taken = by_source.get(row.source)
            else:
                taken = spare[row.label].pop() if spare.get(row.label) else None
                filled += taken is not None
            if taken is not None:
                rows[split].append(taken)
    text = "the official rows, in their order"
    return rows, text + (f"; {filled} rows whose file is unknown filled in scan order" if filled else "")
