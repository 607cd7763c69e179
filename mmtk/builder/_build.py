"""Build: plan, work, publish. A store appears under its name only when whole."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mmtk import __version__, store
from mmtk.base import Progress
from mmtk.builder.clock import Clock
from mmtk.builder.files import Change, last_change
from mmtk.builder.findings import still_bad, write_findings
from mmtk.builder.journal import Journal, clear_work
from mmtk.builder.plan import Plan, make_plan
from mmtk.builder.work import Crew, Left, Target, Threads, fill
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Finding
from mmtk.datasets.checks import check_apart
from mmtk.datasets.listing import Listing, find_source
from mmtk.datasets.maps import LETTERS, MapRow, OfficialMap, read_map, resolve_map
from mmtk.datasets.marks import marks_of
from mmtk.display import facts_table, notebook_bar
from mmtk.errors import ArgumentError, StoreError
from mmtk.files import (
    as_store_error,
    clear_held,
    clear_leftovers,
    expect_locks,
    holding,
    publish,
    remove_folder,
    sync_folder,
)
from mmtk.machine import cores
from mmtk.matching import EVIDENCE, match, write_match

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
    seconds : where the time went, in seconds of all workers together, by stage; "waiting" is what is left. Datasets
        that are built together have it in common.
    """

    path: Path
    flag: str
    size: int
    counts: dict[str, int]
    findings: tuple[Finding, ...] = field(repr=False)
    reused: bool
    synthetic: bool
    partial: bool
    seconds: dict[str, float] = field(repr=False, compare=False)

    def _repr_html_(self) -> str:
        findings = Counter(finding.kind for finding in self.findings)
        return facts_table(f"{self.flag}, {self.size} px", {
            "file": self.path, "images": [f"{split} {count:,}" for split, count in self.counts.items()],
            "marks": " ".join(marks_of(self.synthetic, self.partial)), "reused": "yes" if self.reused else "",
            "findings": [f"{count:,} {kind}" for kind, count in findings.items()],
        })


def build(
    flags: str | Dataset | Iterable[str | Dataset],
    *,
    sources: str | Path,
    out: str | Path,
    sizes: Iterable[int] = (28,),
    edition: str | None = None,
    pixels: str | None = None,
    split: str | None = None,
    match_npz: str | Path | None = None,
    map_csv: str | Path | None = None,
    allow_partial: bool = False,
    on_error: str = "stop",
    workers: int | None = None,
    scheduler: str | None = None,
    force: bool = False,
    progress: Callable[[str], Progress] | None = None,
) -> list[BuildResult]:
    """Build stores from raw images.

    A build that was killed goes on where it stood when it is started again, and gives the same bytes. Neither the
    number of workers nor the clock nor any path enters a store. Datasets made from the same volumes, the three Organ
    sets, are built in one pass over them.

    Parameters
    ----------
    flags : str, Dataset, or iterable of these
        Datasets; one's own (see `read_dataset`), or one of the ten with another recipe, may be given itself.
    sources : path
        Folder with the raw data: a provider's own, or one that holds several.
    out : path
        Folder of the stores ``{flag}_{size}.h5``, made if need be.
    sizes : iterable of int
        Edge lengths in pixels; all are made from one decode.
    edition : str, optional
        By default the first one that a dataset has; of the ten 2020, before 2024.
    pixels : {"official", "clean"}, optional
        By default as MedMNIST was made; or without what that did to images by mistake: no JPEG round trip, CT volumes
        turned by their headers, and true voxel sizes. Own datasets leave no choice of pixels and split.
    split : {"official", "grouped"}, optional
        By default the official rows where they are known, else the rule that gives their counts; or no subject in two
        splits.
    match_npz : path, optional
        Folder with official ``.npz`` files of 28 px. Where one is there, its rows are found again among the raw images
        by their pixels and built in its order; which image is which row is written to ``{flag}_map.csv``. Official rows
        that no image is make the store partial.
    map_csv : path, optional
        A CSV that says which image is which row of one dataset; see `mmtk.datasets.maps.read_map`.
    allow_partial : bool
        Build from what is there; the store is marked partial.
    on_error : {"stop", "skip"}
        Stop at the first bad image, or leave bad images out: they go to ``{flag}_findings.csv``, the plan is made again
        without them, and the store is marked partial.
    workers : int, optional
        Threads; by default one a core this process may use.
    scheduler : str, optional
        Address of a Dask scheduler, for instance ``tcp://10.0.0.5:8786``, whose workers decode and resize in place of
        threads; this process alone writes. They find the raw files under the same path, and need no `out`.
    force : bool
        Replace stores that were built from another plan, and of data of one's own those of the same plan too. Without
        it, one whose files have changed since it was built is refused.
    progress : callable, optional
        Takes a flag, returns a callable that is given the images done and in total. By default a bar in a notebook,
        else nothing.

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
    MmtkError
        If the scheduler does not answer, a worker has other versions, or workers die over the same images.
    """
    named = [flags] if isinstance(flags, str | Dataset) else list(flags)
    datasets = [flag if isinstance(flag, Dataset) else get_dataset(flag) for flag in named]
    check_apart(datasets)
    _expect_published(datasets, match_npz=match_npz, map=map_csv)
    wanted = sorted(set(sizes))
    if not wanted or not 1 <= wanted[0] <= wanted[-1] <= store.LARGEST_SIZE:
        raise ArgumentError("sizes", expected=f"edge lengths from 1 to {store.LARGEST_SIZE}", found=str(wanted))
    if on_error not in ("stop", "skip"):
        raise ArgumentError("on_error", expected="stop or skip", found=on_error)
    if workers is not None and (workers < 1 or scheduler is not None):
        expected = "at least 1" if scheduler is None else "none beside a scheduler, which has its own"
        raise ArgumentError("workers", expected=expected, found=str(workers))
    if map_csv is not None and (len({dataset.flag for dataset in datasets}) > 1 or match_npz is not None):
        found = "several" if match_npz is None else "match_npz, which makes its own"
        raise ArgumentError("map", expected="one dataset, whose rows the map names", found=found)
    expect_locks()
    out = Path(out)
    families: dict[str, dict[str, Dataset]] = {}
    for dataset in datasets:
        families.setdefault(dataset.family, {})[dataset.flag] = dataset
    listings = {
        family: find_source(Path(sources), next(iter(members.values()))) for family, members in families.items()
    }
    results: dict[str, list[BuildResult]] = {}
    with _crew(workers, scheduler) as crew:
        for family, members in families.items():
            listing, makes = listings[family], []
            for dataset in members.values():
                first = dataset.first_edition
                chosen = edition or first, pixels or dataset.pixel_choices[0], split or dataset.split_choices[0]
                make = _Planner(dataset, listing, *chosen, None, allow_partial, on_error == "skip")
                if match_npz is not None:
                    makes.append(replace(make, known=_recover(make, Path(match_npz), out, crew, progress)))
                elif map_csv is not None:
                    given, records = read_map(map_csv, dataset), dataset.scan(listing).records
                    known = resolve_map(given, records, map_csv, allow_partial=allow_partial)
                    makes.append(replace(make, known=known))
                else:
                    makes.append(make)
            tracker = (progress or notebook_bar)(family)
            for result in _build_together(makes, out, wanted, crew, force, tracker):
                results.setdefault(result.flag, []).append(result)
    for dataset in datasets:
        clear_held(_scratch(out, dataset))
        clear_leftovers(_scratch(out, dataset))
    return [result for flag in dict.fromkeys(dataset.flag for dataset in datasets) for result in results[flag]]


@contextmanager
def _crew(workers: int | None, scheduler: str | None) -> Iterator[Crew]:
    if scheduler is None:
        yield Threads(cores() if workers is None else workers)
        return
    from mmtk import cluster
    from mmtk.builder.remote import Workers  # which needs Dask

    with cluster.connect(scheduler) as client:
        yield Workers(client)


def _expect_published(datasets: list[Dataset], **rows: str | Path | None) -> None:
    """Refuse the rows of a published dataset for one that is somebody's own: its file says which row is where."""
    for dataset in datasets:
        for name, given in rows.items():
            if dataset.own and given is not None:
                found, remedy = f"{dataset.flag}, which is not", "give its split in a column or in paths"
                raise ArgumentError(name, expected="datasets that are published", found=found, remedy=remedy)


def _recover(
    make: _Planner, folder: Path, out: Path, crew: Crew, progress: Callable[[str], Progress] | None
) -> OfficialMap | None:
    """The official membership found again by pixels: all images are built at 28 px in scan order, then matched."""
    dataset = make.dataset
    names = dict.fromkeys((dataset.alias_of(make.edition), dataset.flag, *dataset.aliases))
    official = next((path for name in names if (path := folder / f"{name}.npz").is_file()), None)
    if official is None:
        return None
    store.refuse_other_edition(official, dataset, make.edition, 28, store.store_path(out, dataset.flag, 28))
    scanned = tuple(MapRow(record.source, record.labels, "") for record in dataset.scan(make.listing).records)
    in_scan_order = OfficialMap({"train": scanned, "val": (), "test": ()})
    tracker = (progress or notebook_bar)(f"{dataset.flag}, to be matched")
    plain = replace(make, pixels="official", split="official", known=in_scan_order)
    scratch = _scratch(out, dataset)
    with as_store_error(out, area=out), holding(scratch):
        (built,) = _build_together([plain], scratch, [28], crew, True, tracker)
        found = match(store.open(built.path), official)
        write_match(found, out / f"{dataset.flag}_map.csv", force=True)
        remove_folder(scratch)
    rows = {
        split: tuple(MapRow(row.source, row.label, LETTERS.get(row.evidence, "")) for row in found.rows[split])
        for split in SPLITS
    }
    counts = ", ".join(f"{n} {word}" for word, n in found.summary().items() if word in EVIDENCE and n)
    return OfficialMap(rows, origin=f"recovered from {official.name} by pixels ({counts})")


def _scratch(out: Path, dataset: Dataset) -> Path:
    """Where images are built to be matched; what a killed build left there is resumed, or removed in the end."""
    return out / f".{dataset.flag}.match"


@dataclass(frozen=True)
class _Planner:
    """What a plan is made from, so that it can be made again without the bad images."""

    dataset: Dataset
    listing: Listing
    edition: str
    pixels: str
    split: str
    known: OfficialMap | None
    allow_partial: bool
    skip_bad: bool

    def __call__(self, without: Iterable[str] = (), blank: Iterable[str] = ()) -> Plan:
        return make_plan(**vars(self), without=frozenset(without), blank=frozenset(blank))


def _build_together(
    makes: list[_Planner], out: Path, sizes: list[int], crew: Crew, force: bool, progress: Progress | None
) -> list[BuildResult]:
    """Build the stores of one family in one pass; those that are there from the same plan are left alone."""
    listing, skip_bad = makes[0].listing, makes[0].skip_bad
    start, clock, workers = time.perf_counter(), Clock(), crew.workers
    with clock("plan", workers):
        plans = [_plan_without_known_bad(make, out) for make in makes]
    final = {
        (number, size): store.store_path(out, plan.dataset.flag, size)
        for number, plan in enumerate(plans) for size in sizes
    }
    changed = [_last_change(plan, listing) for plan in plans]
    there = {key for key, path in final.items() if _is_there(path, plans[key[0]], key[1], force, changed[key[0]])}
    missing = {key: path for key, path in final.items() if key not in there}
    built = list(plans)
    folder = out / f".{makes[0].dataset.family}.build"
    if missing:
        with as_store_error(out, area=out):
            out.mkdir(parents=True, exist_ok=True)
            _check_space(out, plans, list(missing), folder)
            with Journal(folder) as journal:
                for key, path in missing.items():  # again: a build that has just ended may have left another plan's
                    _is_there(path, plans[key[0]], key[1], force, changed[key[0]])
                with clock("plan", workers):
                    targets = _targets(journal, plans, list(missing), changed)
                worked = sorted({number for number, _ in missing})
                own = [plans[number] for number in worked]
                left = fill(
                    own, listing, targets, journal, clock, crew=crew, skip_bad=skip_bad, progress=progress
                )
                if left:
                    with clock("plan", workers):
                        own = _without(makes, worked, own, targets, journal, left)
                with clock("finish", workers):
                    _finish(journal, own, list(missing.values()), out)
        built = [own[worked.index(number)] if number in worked else plan for number, plan in enumerate(plans)]
    else:
        clear_work(folder)
    spent = workers * (time.perf_counter() - start)
    seconds = {**clock.seconds, "waiting": max(0.0, spent - sum(clock.seconds.values()))}
    return [
        BuildResult(
            path=path,
            flag=built[number].dataset.flag,
            size=size,
            counts=store.open(path).counts if (number, size) in there else built[number].counts,
            findings=(
                *built[number].findings,
                *(Finding("bad", source, reason) for source, reason in sorted(built[number].bad.items())),
            ),
            reused=(number, size) in there,
            synthetic=built[number].synthetic,
            partial=built[number].partial,
            seconds=seconds,
        )
        for (number, size), path in final.items()
    ]


def _last_change(plan: Plan, listing: Listing) -> Change | None:
    """Of one's own data, whose files may change at any time: no plan knows their pixels."""
    if not plan.dataset.own:
        return None
    return last_change((row.record for split in SPLITS for row in plan.rows[split]), listing)


def _is_there(path: Path, plan: Plan, size: int, force: bool, changed: Change | None) -> bool:
    there = store.already_there(path, plan.info(size).plan_hash, force)
    if not there or changed is None:
        return there
    if force:
        return False
    if changed.time >= path.stat().st_mtime_ns:
        remedy = "add --force to build it again, or choose another --out"
        expected = "a store of the files as they are now"
        raise StoreError(path, expected=expected, found=f"{changed.name} changed after it was built", remedy=remedy)
    return True


def _finish(journal: Journal, plans: list[Plan], paths: list[Path], out: Path) -> None:
    """Seal the stores in the work folder, publish them one after the other, and remove the folder."""
    for path in paths:
        store.finalize(journal.folder / path.name)
    for plan in plans:
        write_findings(out / f"{plan.dataset.flag}_findings.csv", plan.bad)
    for path in paths:
        publish(journal.folder / path.name, path)
    journal.remove()


def _plan_without_known_bad(make: _Planner, out: Path) -> Plan:
    plan = make()
    if make.skip_bad and (known := still_bad(plan, make.listing, out / f"{plan.dataset.flag}_findings.csv")):
        left_out = {**plan.bad, **known}
        plan = replace(make(without=left_out), bad=left_out)
    return plan


def _check_space(out: Path, plans: list[Plan], missing: list[tuple[int, int]], folder: Path) -> None:
    """Hold the space a build needs against what is free and what a killed build has reserved in its work folder."""
    needed = sum(
        sum(plans[number].counts.values()) * size * size * plans[number].dataset.channels + _MARGIN
        for number, size in missing
    )
    reserved = sum(path.stat().st_blocks * 512 for path in folder.glob("*.h5"))
    free = shutil.disk_usage(out).free + reserved
    if needed > free:
        remedy = "free some space or choose another --out"
        raise StoreError(
            out, expected=f"{needed / 1e6:.0f} MB of free space", found=f"{free / 1e6:.0f} MB", remedy=remedy
        )


def _targets(
    journal: Journal, plans: list[Plan], missing: list[tuple[int, int]], changed: list[Change | None]
) -> list[Target]:
    """The skeletons of a build in its work folder: those of a killed one of the same plans and files, or new ones."""
    identity = {
        "mmtk": __version__, "plans": [plans[number].info(size).plan_hash for number, size in missing],
        "changed": [change.time for number, _ in missing if (change := changed[number])],
    }
    files = [(plans[number], size) for number, size in missing]
    if journal.resume(identity):
        paths = [store.store_path(journal.folder, plan.dataset.flag, size) for plan, size in files]
        return [
            Target(plan, path, store.read_layout(path), size) for (plan, size), path in zip(files, paths, strict=True)
        ]
    targets = _skeletons(journal.folder, files)
    journal.begin(identity)
    return targets


def _skeletons(folder: Path, files: list[tuple[Plan, int]]) -> list[Target]:
    folder.mkdir(exist_ok=True)
    targets = []
    for plan, size in files:
        path = store.store_path(folder, plan.dataset.flag, size)
        layout = store.create_skeleton(path, plan.info(size), plan.labels(), plan.records(size))
        targets.append(Target(plan, path, layout, size))
    for target in targets:  # before the journal speaks of them
        with target.path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
    return targets


def _without(
    makes: list[_Planner], worked: list[int], plans: list[Plan], targets: list[Target], journal: Journal, left: Left
) -> list[Plan]:
    """Plan again without the images that turned out bad or blank, and move the finished rows to their new places.

    Bad images make another plan of it; blank slices do not, since the same plan leads to them every time. The first
    plan's files are replaced one by one by files of the same name; a build killed meanwhile starts over.
    """
    again = []
    for number, plan in zip(worked, plans, strict=True):
        names = {row.record.source for split in SPLITS for row in plan.rows[split]}
        bad = {**plan.bad, **{source: reason for source, reason in left.bad.items() if source in names}}
        blank = left.blank & names
        identity = makes[number](without=bad).digest if blank else ""
        again.append(replace(makes[number](without=bad, blank=blank), bad=bad, identity=identity))
    new = {id(plan): planned for plan, planned in zip(plans, again, strict=True)}
    moved = _skeletons(journal.folder / "again", [(new[id(target.plan)], target.size) for target in targets])
    for source, target in zip(targets, moved, strict=True):
        old = {row.record.source: (split, at) for split in SPLITS for at, row in enumerate(source.plan.rows[split])}
        with source.path.open("rb") as reading, target.path.open("r+b") as writing:
            for split in SPLITS:
                for at, row in enumerate(target.plan.rows[split]):
                    offset = source.layout.image_offset(*old[row.record.source])
                    pixels = store.read_exactly(reading.fileno(), offset, source.layout.row_bytes)
                    store.write_at(writing.fileno(), pixels, target.layout.image_offset(split, at))
    journal.forget()
    for source, target in zip(targets, moved, strict=True):
        os.replace(target.path, source.path)
    return again
