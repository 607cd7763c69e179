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
from mmtk.datasets.pipelines import Pipeline
from mmtk.datasets.splits import GroupedCut
from mmtk.datasets.steps import Recipe, facts_hash, recipe_hash, recipe_to_json
from mmtk.errors import ArgumentError, SourceError
from mmtk.imaging import Header, center_box
from mmtk.store import StoreInfo, record_dtype


@dataclass(frozen=True)
class PlannedRow:
    """A row to be built: its record and the header of its file."""

    record: Record
    header: Header


@dataclass(frozen=True)
class Plan:
    """Everything that determines the bytes of a dataset's stores.

    Attributes
    ----------
    dataset : Dataset
    edition, pixels, split : str
        The choices recorded in the store. `split` is official or grouped, or own for a user's own dataset.
    membership : str
        How rows were assigned to splits, in words.
    basis : dict
        The same as JSON values, for the hash.
    synthetic, partial : bool
        Whether the source is synthetic or incomplete.
    rows : dict of str to tuple
        The rows of each split, in order.
    findings : tuple of Finding
    bad : dict of str to str
        Images whose header cannot be used, with the reason; they are not among the rows.
    identity : str
        Digest that replaces that of the rows in the plan's hash: that of the plan including its blank slices.

    Examples
    --------
    >>> from mmtk.builder import preview
    >>> (plan,) = preview(["breastmnist"], sources="sources", allow_partial=True)
    >>> plan.info(28).flag, plan.partial
    ('breastmnist', False)
    """

    dataset: Dataset
    edition: str
    pixels: str
    split: str
    membership: str
    basis: dict[str, Any]
    synthetic: bool
    partial: bool
    rows: dict[str, tuple[PlannedRow, ...]]
    findings: tuple[Finding, ...]
    bad: dict[str, str]
    identity: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of images per split."""
        return {split: len(self.rows[split]) for split in SPLITS}

    def recipe(self, size: int) -> Recipe:
        """The recipe for a store of one size."""
        return self.dataset.recipe_for(self.pixels, size)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The steps of all recipes, of every size."""
        return self.dataset.pipeline(self.pixels)

    @property
    def keeps_blank(self) -> bool:
        """Whether slices with a single grey level are images."""
        return self.edition in self.dataset.blank_in

    def labels(self) -> dict[str, np.ndarray[Any, Any]]:
        """Labels of each split, ``(n, l)`` uint8."""
        width = self.dataset.labels
        rows = {split: [row.record.labels for row in self.rows[split]] for split in SPLITS}
        return {split: np.array(labels, np.uint8).reshape(-1, width) for split, labels in rows.items()}

    def records(self, size: int) -> dict[str, np.ndarray[Any, Any]]:
        """Records of each split for the store of one size, ``(n,)`` of `record_dtype`."""
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
        description: dict[str, Any] = {
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
        # the description of a published dataset is mmtk's own and does not identify a plan
        decides = {**facts, **description} if dataset.own else facts
        return StoreInfo(
            **facts,
            **description,
            membership=self.membership,
            recipe_hash=recipe_hash(self.recipe(size)),
            unchecked=dataset.unchecked_at(size, self.edition),
            plan_hash=facts_hash({**decides, "membership": self.basis, "rows": self.identity or self.digest}),
            mmtk_version=__version__,
        )


def _place(row: PlannedRow, cropped: bool) -> tuple[str | int, ...]:
    """The fields of a record that locate its image; for a slice, the box in its plane."""
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
    edition, pixels, split : str, optional
        The choices recorded in the store, as for `build`.
    known : OfficialMap, optional
        The official membership, if it was recovered; by default the map known to mmtk, else the dataset's split rule.
    allow_partial : bool
        Plan with the files at hand; otherwise an incomplete source is an error.
    headers : bool
        Read each image's header; without it, only counts and membership are meaningful.
    skip_bad : bool
        Skip images whose header cannot be used, and list them in ``bad``; otherwise the first is an error.
    without : collection of str
        Sources of records to skip: images known to be bad.
    blank : collection of str
        Sources of records that the edition does not have: slices known to be blank.

    Returns
    -------
    Plan

    Raises
    ------
    ArgumentError
        If edition, pixels or split are unknown, or a grouped split is requested and the source names no subjects.
    SourceError
        If the source is incomplete, or has no usable image.
    ImageError
        If an image's header cannot be used.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.builder import make_plan
    >>> from mmtk.datasets.listing import find_source
    >>> dataset = mmtk.get_dataset("breastmnist")
    >>> plan = make_plan(dataset, find_source("sources", dataset), allow_partial=True)
    >>> len(plan.rows["train"]) == plan.counts["train"]
    True
    """
    expect_raw_pipeline(dataset)
    edition = edition or dataset.first_edition
    if edition and edition not in dataset.counts:
        if not dataset.counts:
            raise ArgumentError("edition", f"{dataset.flag} was never published, so it has no editions", found=edition)
        raise ArgumentError("edition", expected=" or ".join(dataset.counts), found=edition)
    pixels, split = pixels or dataset.pixel_choices[0], split or dataset.split_choices[0]
    if split not in dataset.split_choices:
        raise ArgumentError("split", expected=" or ".join(dataset.split_choices), found=split)
    pipeline = dataset.pipeline(pixels)
    if listing.packed:
        raise SourceError(listing.root / listing.packed[0], "is a packed archive", remedy="unpack it")
    scan = dataset.scan(listing)
    missing = [finding for finding in scan.findings if finding.kind == "missing"]
    if missing and not allow_partial:
        source, first = dataset.source, missing[0].name
        lacking = f"{len(missing):,} files missing, first {first}" if len(missing) > 1 else f"{first} is missing"
        remedy = "add them" if dataset.own else f"get it from {source.page} ({source.licence})"
        remedy += ", or use --allow-partial"
        raise SourceError(listing.root, f"{source.name} is incomplete: {lacking}", remedy=remedy)
    if scan.bad and not skip_bad:
        raise scan.bad[0][1]
    check_records(dataset, scan.records)
    records = [record for record in scan.records if record.source not in without and record.source not in blank]
    bad = {name: str(error) for name, error in scan.bad}
    by_source: dict[str, Header] = {}
    findings = list(scan.findings)
    if headers and pipeline.takes_volumes:
        expect_slices(dataset, records, pipeline)
        by_source, doubts = slice_headers(records, listing, dataset, pipeline, bad if skip_bad else None)
        findings += doubts
    elif headers:
        by_source = read_headers(records, listing, pipeline, bad if skip_bad else None, dataset.own)
    records = [record for record in records if record.source not in bad]
    if not records:
        reason = f": {next(iter(bad.values()))}" if bad else ""
        raise SourceError(listing.root, f"has no usable image{reason}")
    if known is None and listing.phantom is None:
        known = official_map(dataset.flag)
    unmatched: list[Finding] = []
    if known is None:
        rows, membership, basis = _by_rule(dataset.split, records)
    else:
        rows, membership, unmatched = _by_map(known, records)
        basis = {"map": known.origin, "ordered": known.ordered}
        if known.origin:  # files missing from mmtk's own map are among the findings already
            findings += unmatched
            counts, given = dataset.counts[edition], {split: len(known.rows[split]) for split in SPLITS}
            short = [f"{split} {n:,} of {getattr(counts, split):,}" for split, n in given.items()
                     if n < getattr(counts, split) and listing.phantom is None]
            unmatched += [Finding("unmatched", "rows that the map lacks", ", ".join(short))] if short else []
    if split == "grouped":
        if _crosses(dataset, rows, records):
            rows, membership, basis = _by_rule(GroupedCut(dataset.counts[edition]), records)
        else:
            membership += "; no subject crosses it"
    if dataset.own:
        gap = check_rows(dataset, rows)
        if gap and not allow_partial:
            raise gap
        unmatched += [Finding("missing", str(gap))] if gap else []
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
        partial=bool(missing or without or bad or unmatched),
        rows={s: tuple(PlannedRow(r, by_source.get(r.source, unknown_header)) for r in rows[s]) for s in SPLITS},
        findings=tuple(findings),
        bad=bad,
    )


def _by_rule(rule: SplitRule, records: list[Record]) -> tuple[dict[str, list[Record]], str, dict[str, Any]]:
    """Rows, and how they were assigned: in words, and as JSON values for the hash."""
    rows: dict[str, list[Record]] = {split: [] for split in SPLITS}
    for record, split in zip(records, rule.assign(tuple(records)), strict=True):
        rows[split].append(record)
    return rows, f"by rule: {rule}", rule.facts()


def _crosses(dataset: Dataset, rows: dict[str, list[Record]], records: list[Record]) -> bool:
    """Whether any subject is in two splits."""
    if not any(record.subject for record in records):
        problem = f"{dataset.source.name} does not name patients, lesions or volumes"
        raise ArgumentError(f"split grouped of {dataset.flag}", problem, remedy="use the official split")
    held = [{record.subject for record in rows[split] if record.subject} for split in SPLITS]
    return sum(map(len, held)) > len(set().union(*held))


def _by_map(
    known: OfficialMap, records: list[Record]
) -> tuple[dict[str, list[Record]], str, list[Finding]]:
    """Rows in the official order, how they were assigned in words, and the official rows without an image.

    A row whose file is unknown takes the next file with its label that has no row.
    """
    by_source = {record.source: record for record in records}
    unplaced = {row.source for row in known.unplaced}
    spare: dict[tuple[int, ...], list[Record]] = {}
    for record in reversed(records):
        if record.source in unplaced:
            spare.setdefault(record.labels, []).append(record)
    rows: dict[str, list[Record]] = {}
    unmatched = []
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
                unmatched.append(Finding("unmatched", name, row.source or "no matching raw image is known"))
    text = "the official rows, in their order" if known.ordered else "the official rows of each split, in scan order"
    text += f", {known.origin}" if known.origin else ""
    text += f"; {filled} rows whose file is unknown filled in scan order" if filled else ""
    return rows, text, unmatched
