"""The findings file of a build: images that were skipped, and whether they are still bad."""

from __future__ import annotations

import csv
from pathlib import Path

from mmtk.builder.plan import Plan
from mmtk.builder.recipe import expect_readable
from mmtk.datasets.base import SPLITS
from mmtk.datasets.listing import Listing
from mmtk.errors import ImageError
from mmtk.files import write_csv


def still_bad(plan: Plan, listing: Listing, findings: Path) -> dict[str, str]:
    """Images that an earlier build skipped as bad and that still are: its stores follow the plan without them."""
    if not findings.is_file():
        return {}
    with findings.open(newline="", encoding="utf-8", errors="replace") as file:
        named = {line.get("source") for line in csv.DictReader(file)}
    reasons: dict[str, str] = {}
    bad: dict[str, str] = {}
    for row in (row for split in SPLITS for row in plan.rows[split] if row.record.source in named):
        name = row.record.file
        if name not in reasons:
            reasons[name] = _reason(plan, listing, name)
        if reasons[name]:
            bad[row.record.source] = reasons[name]
    return bad


def _reason(plan: Plan, listing: Listing, file: str) -> str:
    """Why a file cannot be read; empty if it can."""
    try:
        expect_readable(listing.path(file), plan.pipeline)
    except ImageError as error:
        return str(error)
    return ""


def write_findings(path: Path, bad: dict[str, str]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    write_csv(path, [("source", "reason"), *sorted(bad.items())])
