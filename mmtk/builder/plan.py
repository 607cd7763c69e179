"""The plan: which record becomes which row, fixed before any pixel work starts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mmtk import __version__
from mmtk.builder.files import sizes_of
from mmtk.builder.headers import expect_slices, read_headers, slice_headers
from mmtk.datasets.base import SPLITS, Dataset, Finding, Record, SplitRule
from mmtk.datasets.checks import check_records, check_rows, expect_raw_pipeline
from mmtk.datasets.listing import Listing
from mmtk.datasets.maps import OfficialMap, official_map
from mmtk.datasets.splits import GroupedCut
from mmtk.datasets.steps import Pipeline, Recipe, facts_hash, recipe_hash, recipe_to_json
from mmtk.errors import ArgumentError, SourceError
from mmtk.imaging import Header, center_box
from mmtk.store import StoreInfo, record_dtype

_NAMED = 3  # missing files named in an error, the rest is counted


@dataclass(frozen=True)
class Planned:
    """One row to be: its record and what its file's header says."""

    record: Record
    header: Header


@dataclass(frozen=True)
class Plan:
    """Everything that determines the bytes of a dataset's stores.

    Attributes
    ----------
    rows : the rows of each split, in their order
    split : the choice of membership: official or grouped, or own where nobody published one
    membership : how it came about, for users
    basis : the same as JSON values, for the hash
    bad : images whose header cannot be used, with the reason; they are in no row
    identity : what the rows' digest is of, where it is not these rows: the plan before its blank slices were left out
    """

    dataset: Dataset
    edition: str
    pixels: str
    split: str
    membership: str
    basis: dict[str, Any]
    synthetic: bool
    partial: bool
    rows: dict[str, tuple[Planned, ...]]
    findings: tuple[Finding, ...]
    bad: dict[str, str]
    identity: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Images in each split."""
        return {split: len(self.rows[split]) for split in SPLITS}

    def recipe(self, size: int) -> Recipe:
        """The steps of the choice of pixels for a store of one size."""
        return self.dataset.recipe_for(self.pixels, size)

    @cached_property
    def pipeline(self) -> Pipeline:
        """What the recipes of every size ask of the source."""
        return self.dataset.pipeline(self.pixels)

    @property
    def keeps_blank(self) -> bool:
        """Whether slices of one grey level are images."""
        return self.edition in self.dataset.blank_in

    def labels(self) -> dict[str, np.ndarray[Any, Any]]:
        """Label rows ``(n, l)`` uint8 of each split."""
        width = self.dataset.labels
        rows = {split: [row.record.labels for row in self.rows[split]] for split in SPLITS}
        return {split: np.array(labels, np.uint8).reshape(-1, width) for split, labels in rows.items()}

    def records(self, size: int) -> dict[str, np.ndarray[Any, Any]]:
        """Records of each split, as the store of a size keeps them."""
        cropped = Pipeline(self.recipe(size)).crops
        everything = [row.record for split in SPLITS for row in self.rows[split]]
        widths = [
            max((len(getattr(r, name).encode()) for r in everything), default=1) for name in ("source", "subject")
        ]
        dtype = record_dtype(*widths, sliced=self.pipeline.takes_volumes)
        return {split: np.array([
            (row.record.source.encode(), row.record.subject.encode(), *_place(row, cropped)) for row in self.rows[split]
        ], dtype) for split in SPLITS}

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all rows, as hex."""
        return facts_hash([
            [(r.record.labels, r.record.source, r.record.subject, *_place(r, False)) for r in self.rows[split]]
            for split in SPLITS
        ])

    def info(self, size: int) -> StoreInfo:
        """The facts of the store of one size."""
        dataset = self.dataset
        facts: dict[str, Any] = {
            "flag": dataset.flag,
            "edition": self.edition,
            "pixels": self.pixels,
            "split": self.split,
            "recipe": recipe_to_json(self.recipe(size)),
            "synthetic": self.synthetic,
            "partial": self.partial,
            "size": size,
        }
        said: dict[str, Any] = {
            "title": dataset.title,
            "modality": dataset.modality,
            "task": dataset.task.value,
            "classes": dataset.classes,
            "channels": dataset.channels,
            "licence": dataset.source.licence,
            "citation": dataset.source.citation,
            "source": dataset.source.name,
            "page": dataset.source.page,
            "family": "" if dataset.family == dataset.flag else dataset.family,
        }
        decides = {**facts, **said} if dataset.own else facts  # of the others these are what mmtk says, not a user
        return StoreInfo(
            **facts,
            **said,
            membership=self.membership,
            recipe_hash=recipe_hash(self.recipe(size)),
            unchecked=dataset.unchecked_at(size, self.edition),
            plan_hash=facts_hash({**decides, "membership": self.basis, "rows": self.identity or self.digest}),
            mmtk_version=__version__,
        )


def _place(row: Planned, cropped: bool) -> tuple[str | int, ...]:
    """What a record keeps of where its image lies; of a slice, the box in its plane."""
    cut, height, width = row.record.cut, row.header.height, row.header.width
    if cut is None:
        return (height, width, *(center_box(height, width) if cropped else (0, 0, min(height, width))))
    top, left, *_ = cut.region
    return height, width, top, left, max(height, width), cut.plane, cut.slice


def make_plan(
    dataset: Dataset,
    listing: Listing,
    *,
    edition: str | None = None,
    pixels: str | None = None,
    split: str | None = None,
    known: OfficialMap | None = None,
    allow_partial: bool = False,
    headers: bool = True,
    skip_bad: bool = False,
    without: Collection[str] = (),
    blank: Collection[str] = (),
) -> Plan:
    """Plan a dataset's stores from a listing of its raw files.

    Parameters
    ----------
    dataset : Dataset
    listing : Listing
    edition, pixels, split : the choices a store records
    known : OfficialMap, optional
        The official membership, if it was recovered; by default the one that mmtk knows, else the dataset's rule holds.
    allow_partial : bool
        Plan with what is there; else an incomplete source is an error.
    headers : bool
        Read each image's header; without, only counts and membership hold.
    skip_bad : bool
        Leave out images whose header cannot be used, and name them in ``bad``; else the first is an error.
    without : collection of str
        Sources of records to leave out: images found bad before.
    blank : collection of str
        Sources of records that the edition does not have: slices found blank.

    Raises
    ------
    ArgumentError
        If edition, pixels or split are unknown, or if it is to be grouped and its source names no subjects.
    SourceError
        If the source is incomplete, or nothing of it is left.
    ImageError
        If an image's header cannot be used.
    """
    expect_raw_pipeline(dataset)
    edition = edition or dataset.first_edition
    if edition and edition not in dataset.counts:
        expected = " or ".join(dataset.counts) or f"none, since {dataset.flag} was never published"
        raise ArgumentError("edition", expected=expected, found=edition)
    pixels, split = pixels or dataset.pixel_choices[0], split or dataset.split_choices[0]
    if split not in dataset.split_choices:
        raise ArgumentError("split", expected=" or ".join(dataset.split_choices), found=split)
    pipeline = dataset.pipeline(pixels)
    if listing.packed:
        raise SourceError(listing.root / listing.packed[0], expected="an unpacked archive", found="a packed one")
    scan = dataset.scan(listing)
    missing = [finding for finding in scan.findings if finding.kind == "missing"]
    if missing and not allow_partial:
        names = ", ".join(finding.name for finding in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        source = dataset.source
        remedy = "put them there" if dataset.own else f"get it from {source.page} ({source.licence})"
        remedy += ", or add --allow-partial"
        raise SourceError(listing.root, expected=f"all of {source.name}", found=f"no {names}{more}", remedy=remedy)
    if scan.bad and not skip_bad:
        raise scan.bad[0][1]
    check_records(dataset, scan.records)
    records = [record for record in scan.records if record.source not in without and record.source not in blank]
    bad = {name: str(error) for name, error in scan.bad}
    found: dict[str, Header] = {}
    findings = list(scan.findings)
    if headers and pipeline.takes_volumes:
        expect_slices(dataset, records, pipeline)
        found, doubts = slice_headers(records, listing, dataset, pipeline, bad if skip_bad else None)
        findings += doubts
    elif headers:
        found = read_headers(records, listing, pipeline, bad if skip_bad else None, dataset.own)
    records = [record for record in records if record.source not in bad]
    if not records:
        why = f"none: {next(iter(bad.values()))}" if bad else "none"
        raise SourceError(listing.root, expected="at least one image that can be used", found=why)
    if known is None and listing.phantom is None:
        known = official_map(dataset.flag)
    lacking: list[Finding] = []
    if known is None:
        rows, membership, basis = _by_rule(dataset.split, records)
    else:
        rows, membership, lacking = _by_map(known, records)
        basis = {"map": known.origin, "ordered": known.ordered}
        if known.origin:  # what mmtk knows itself is named as missing already
            findings += lacking
            counts, given = dataset.counts[edition], {split: len(known.rows[split]) for split in SPLITS}
            short = [f"{split} {n:,} of {getattr(counts, split):,}" for split, n in given.items()
                     if n < getattr(counts, split) and listing.phantom is None]
            lacking += [Finding("unmatched", "rows that the map lacks", ", ".join(short))] if short else []
    if split == "grouped":
        if _crosses(dataset, rows, records):
            rows, membership, basis = _by_rule(GroupedCut(dataset.counts[edition]), records)
        else:
            membership += "; no subject crosses it"
    if dataset.own:
        gap = check_rows(dataset, rows)
        if gap and not allow_partial:
            raise gap
        lacking += [Finding("missing", str(gap))] if gap else []
        basis = {**basis, "files": facts_hash(sizes_of(records, listing))} if headers else basis
    if pipeline.takes_volumes and edition not in dataset.blank_in:
        membership += "; without blank slices"
    unknown_header = Header("unknown", 1, 1, dataset.channels)
    return Plan(
        dataset=dataset,
        edition=edition,
        pixels=pixels,
        split=split,
        membership=membership,
        basis=basis,
        synthetic=bool(listing.phantom),
        partial=bool(missing or without or bad or lacking),
        rows={s: tuple(Planned(r, found.get(r.source, unknown_header)) for r in rows[s]) for s in SPLITS},
        findings=tuple(findings),
        bad=bad,
    )


def _by_rule(rule: SplitRule, records: list[Record]) -> tuple[dict[str, list[Record]], str, dict[str, Any]]:
    """Rows, and how they came about: for users, and for the hash."""
    rows: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for record, split in zip(records, rule.assign(tuple(records)), strict=True):
        rows[split].append(record)
    return rows, f"by rule: {rule}", rule.facts()


def _crosses(dataset: Dataset, rows: dict[str, list[Record]], records: list[Record]) -> bool:
    """Whether a subject stands in two splits."""
    if not any(record.subject for record in records):
        raise ArgumentError(
            f"split grouped of {dataset.flag}", expected="a source that names patients, lesions or volumes",
            found=f"{dataset.source.name}, which does not", remedy="use the official split",
        )
    held = [{record.subject for record in rows[split] if record.subject} for split in SPLITS]
    return sum(map(len, held)) > len(set().union(*held))


def _by_map(
    known: OfficialMap, records: list[Record]
) -> tuple[dict[str, list[Record]], str, list[Finding]]:
    """Rows in the official order; a row whose file is unknown takes the next file of its label that has no row.

    Also how they came about, and the official rows that there is no image of.
    """
    by_source = {record.source: record for record in records}
    unplaced = {row.source for row in known.unplaced}
    spare: dict[tuple[int, ...], list[Record]] = {}
    for record in reversed(records):
        if record.source in unplaced:
            spare.setdefault(record.labels, []).append(record)
    rows: dict[str, list[Record]] = {}
    lacking = []
    filled = 0
    for split in SPLITS:
        rows[split] = []
        for number, row in enumerate(known.rows[split]):
            if row.source is not None:
                taken = by_source.get(row.source)
            else:
                taken = spare[row.labels].pop() if spare.get(row.labels) else None
                filled += taken is not None
            if taken is not None:
                rows[split].append(taken)
            else:
                name = f"official row {split}[{number}]"
                lacking.append(Finding("unmatched", name, row.source or "no raw image is known to be it"))
    text = "the official rows, in their order" if known.ordered else "the official rows of each split, in scan order"
    text += f", {known.origin}" if known.origin else ""
    text += f"; {filled} rows whose file is unknown filled in scan order" if filled else ""
    return rows, text, lacking
