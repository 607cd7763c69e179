"""Build: plan, work, publish. A store appears under its name only when whole."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmtk import __version__, store
from mmtk.builder.journal import Journal
from mmtk.builder.plan import Plan, make_plan
from mmtk.builder.work import Progress, Target, fill
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Finding
from mmtk.datasets.listing import Listing, find_source
from mmtk.errors import ArgumentError, ImageError, StoreError
from mmtk.imaging import read_image

_LARGEST = 4096  # px: beyond any raw image here
_MARGIN = 1 << 20  # bytes beside the pixels: records, labels, structure


@dataclass(frozen=True)
class BuildResult:
    """One store of a build.

    Attributes
    ----------
    path, flag, size : the store
    counts : images in each split
    findings : what a user should know about the source, bad images among it
    reused : the store was there already, from the same plan, and has been left alone
    """

    path: Path
    flag: str
    size: int
    counts: dict[str, int]
    findings: tuple[Finding, ...] = field(repr=False)
    reused: bool
    synthetic: bool
    partial: bool


def build(
    flags: str | Iterable[str],
    *,
    sources: str | Path,
    out: str | Path,
    sizes: Iterable[int] = (28,),
    edition: str = "2020",
    pixels: str = "official",
    allow_partial: bool = False,
    on_error: str = "stop",
    workers: int | None = None,
    force: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> list[BuildResult]:
    """Build stores from raw images.

    A build that was killed goes on where it stood when it is started again, and gives the same bytes. Neither the
    number of workers nor the clock nor any path enters a store.

    Parameters
    ----------
    flags : str or iterable of str
        Datasets.
    sources : path
        Folder with the raw data: a provider's own, or one that holds several.
    out : path
        Folder of the stores ``{flag}_{size}.h5``, made if need be.
    sizes : iterable of int
        Edge lengths in pixels; all are made from one decode.
    edition : {"2020", "2024"}
    pixels : {"official", "clean"}
        As MedMNIST was made, or without the JPEG round trip.
    allow_partial : bool
        Build from what is there; the store is marked partial.
    on_error : {"stop", "skip"}
        Stop at the first bad image, or leave bad images out: they go to ``{flag}_findings.csv``, the plan is made again
        without them, and the store is marked partial.
    workers : int, optional
        Threads; by default one a core this process may use.
    force : bool
        Replace stores that were built from another plan.
    progress : callable, optional
        Takes a flag, gives a callable of images done and images in all.

    Returns
    -------
    list of BuildResult
        One a dataset and size.

    Raises
    ------
    ArgumentError
        If an argument is none of those above.
    SourceError
        If raw data is missing or incomplete; `ImageError` for a bad image.
    StoreError
        If a store of another plan is in the way, the disk is too small, or another build is running there.
    """
    datasets = [get_dataset(flag) for flag in ([flags] if isinstance(flags, str) else flags)]
    wanted = sorted(set(sizes))
    workers = _cores() if workers is None else workers
    if not wanted or not 1 <= wanted[0] <= wanted[-1] <= _LARGEST:
        raise ArgumentError("sizes", expected=f"edge lengths from 1 to {_LARGEST}", found=str(wanted))
    if on_error not in ("stop", "skip"):
        raise ArgumentError("on_error", expected="stop or skip", found=on_error)
    if workers < 1:
        raise ArgumentError("workers", expected="at least 1", found=str(workers))
    listings = [find_source(Path(sources), dataset) for dataset in datasets]
    results: list[BuildResult] = []
    for dataset, listing in zip(datasets, listings, strict=True):
        make = _Planner(dataset, listing, edition, pixels, allow_partial, on_error == "skip")
        tracker = progress(dataset.flag) if progress else None
        results += _build_one(make, Path(out), wanted, workers, force, tracker)
    return results


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Planner:
    """What a plan is made from, so that it can be made again without the bad images."""

    dataset: Dataset
    listing: Listing
    edition: str
    pixels: str
    allow_partial: bool
    skip_bad: bool

    def __call__(self, without: Iterable[str] = ()) -> Plan:
        return make_plan(
            self.dataset,
            self.listing,
            edition=self.edition,
            pixels=self.pixels,
            allow_partial=self.allow_partial,
            skip_bad=self.skip_bad,
            without=frozenset(without),
        )


def _build_one(
    make: _Planner, out: Path, sizes: list[int], workers: int, force: bool, progress: Progress | None
) -> list[BuildResult]:
    plan = make()
    flag = plan.dataset.flag
    findings = out / f"{flag}_findings.csv"
    if make.skip_bad and (known := _still_bad(plan, make.listing, findings)):
        left_out = {**plan.bad, **known}
        plan = replace(make(without=left_out), bad=left_out)
    final = {size: out / f"{flag}_{size}.h5" for size in sizes}
    there = {size for size in sizes if store.already_there(final[size], plan.info(size).plan_hash, force)}
    missing = [size for size in sizes if size not in there]
    built = plan
    if missing:
        out.mkdir(parents=True, exist_ok=True)
        folder = out / f".{flag}.build"
        _check_space(out, plan, missing, folder)
        with Journal(folder) as journal:
            for size in missing:  # again: a build that has just ended may have left one of another plan
                store.already_there(final[size], plan.info(size).plan_hash, force)
            built = _work(make, plan, missing, journal, workers, progress)
            finished = [(journal.folder / final[size].name, final[size]) for size in missing]
            for path, _ in finished:
                store.finalize(path)
            if built.bad:
                _write_findings(findings, built.bad)
            else:
                findings.unlink(missing_ok=True)
            for path, name in finished:
                store.publish(path, name)
            journal.remove()
    bad = tuple(Finding("bad", source, reason) for source, reason in sorted(built.bad.items()))
    return [
        BuildResult(
            path=final[size],
            flag=flag,
            size=size,
            counts=built.counts,
            findings=built.findings + bad,
            reused=size in there,
            synthetic=built.synthetic,
            partial=built.partial,
        )
        for size in sizes
    ]


def _check_space(out: Path, plan: Plan, sizes: list[int], folder: Path) -> None:
    """Hold the space a build needs against what is free and what a killed build has reserved in its work folder."""
    images = sum(plan.counts.values())
    needed = sum(images * size * size * plan.dataset.channels + _MARGIN for size in sizes)
    reserved = sum(path.stat().st_blocks * 512 for path in folder.glob("*.h5"))
    free = shutil.disk_usage(out).free + reserved
    if needed > free:
        remedy = "free some space or choose another --out"
        raise StoreError(
            out, expected=f"{needed / 1e6:.0f} MB of free space", found=f"{free / 1e6:.0f} MB", remedy=remedy
        )


def _work(
    make: _Planner, plan: Plan, sizes: list[int], journal: Journal, workers: int, progress: Progress | None
) -> Plan:
    """Fill the skeletons of a plan in the work folder; return the plan they follow in the end."""
    folder = journal.folder
    identity = {"mmtk": __version__, "plans": [plan.info(size).plan_hash for size in sizes]}
    if journal.resume(identity):
        targets = [Target(path, store.read_layout(path), size) for path, size in _names(folder, plan, sizes)]
    else:
        targets = _skeletons(folder, plan, sizes)
        journal.begin(identity)
    bad = fill(plan, make.listing, targets, journal, workers=workers, skip_bad=make.skip_bad, progress=progress)
    return _without_bad(make, plan, targets, journal, {**plan.bad, **bad}) if bad else plan


def _names(folder: Path, plan: Plan, sizes: list[int]) -> list[tuple[Path, int]]:
    return [(folder / f"{plan.dataset.flag}_{size}.h5", size) for size in sizes]


def _skeletons(folder: Path, plan: Plan, sizes: list[int]) -> list[Target]:
    folder.mkdir(exist_ok=True)
    labels, records = plan.labels(), plan.records()
    targets = [
        Target(path, store.create_skeleton(path, plan.info(size), labels, records), size)
        for path, size in _names(folder, plan, sizes)
    ]
    for path in (*(target.path for target in targets), folder):  # before the journal speaks of them
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return targets


def _without_bad(
    make: _Planner, plan: Plan, targets: list[Target], journal: Journal, bad: dict[str, str]
) -> Plan:
    """Plan again without the images that turned out bad, and move the finished rows to their new places.

    The first plan's files are replaced one by one by files of the same name; a build killed meanwhile starts over.
    """
    again = make(without=bad)
    moved = _skeletons(journal.folder / "again", again, [target.size for target in targets])
    old = {row.record.source: (split, at) for split in SPLITS for at, row in enumerate(plan.rows[split])}
    for source, target in zip(targets, moved, strict=True):
        with source.path.open("rb") as reading, target.path.open("r+b") as writing:
            for split in SPLITS:
                for at, row in enumerate(again.rows[split]):
                    offset = source.layout.image_offset(*old[row.record.source])
                    pixels = os.pread(reading.fileno(), source.layout.row_bytes, offset)
                    store.write_at(writing.fileno(), pixels, target.layout.image_offset(split, at))
    journal.forget()
    for source, target in zip(targets, moved, strict=True):
        os.replace(target.path, source.path)
    return replace(again, bad=bad)


def _still_bad(plan: Plan, listing: Listing, findings: Path) -> dict[str, str]:
    """Images that an earlier build found bad and that are so today: its stores are of the plan without them."""
    if not findings.is_file():
        return {}
    with findings.open(newline="", encoding="utf-8", errors="replace") as file:
        named = {line.get("source") for line in csv.DictReader(file)}
    bad: dict[str, str] = {}
    for row in (row for split in SPLITS for row in plan.rows[split] if row.record.source in named):
        try:
            read_image(listing.path(row.record.file), plan.colour)
        except ImageError as error:
            bad[row.record.source] = str(error)
    return bad


def _write_findings(path: Path, bad: dict[str, str]) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["source", "reason"])
    rows.writerows(sorted(bad.items()))
    store.write_atomically(path, lambda file: file.write(text.getvalue().encode()), force=True)
