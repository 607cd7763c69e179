"""Build: plan, work, publish. A store appears under its name only once complete."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mmtk import __version__, store
from mmtk.base import Progress
from mmtk.builder.clock import Clock
from mmtk.builder.files import Change, last_change
from mmtk.builder.findings import still_bad, write_findings
from mmtk.builder.journal import Journal, clear_work
from mmtk.builder.plan import Plan, make_plan
from mmtk.builder.results import BuildResult
from mmtk.builder.work import Excluded, Executor, Target, ThreadExecutor, fill
from mmtk.datasets import get_dataset
from mmtk.datasets.base import SPLITS, Dataset, Finding
from mmtk.datasets.checks import check_apart
from mmtk.datasets.listing import Listing, find_source
from mmtk.datasets.maps import LETTERS, MapRow, OfficialMap, read_map, resolve_map
from mmtk.display import notebook_bar
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

_MARGIN = 1 << 20  # bytes besides the pixels: records, labels, structure


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

    A killed build resumes when started again, and gives the same bytes. Neither the number of workers nor the clock
    nor any path affects a store. Datasets made from the same volumes, the three Organ sets, are built in one pass.

    Parameters
    ----------
    flags : str, Dataset, or iterable of these
        Flags of datasets, or datasets themselves: your own (see `read_dataset`), or one with another recipe.
    sources : path
        Folder with the raw data: that of a provider, or one that holds several.
    out : path
        Folder of the stores ``{flag}_{size}.h5``, created if needed.
    sizes : iterable of int
        Edge lengths in pixels; each image is decoded once for all of them.
    edition : str, optional
        By default the first edition of each dataset, which is 2020 for the ten.
    pixels : {"official", "clean"}, optional
        "official" (default) processes images as MedMNIST did; "clean" avoids its mistakes: no JPEG round trip, CT
        volumes oriented by their headers, and true voxel sizes. Your own datasets have only one choice of pixels and
        split.
    split : {"official", "grouped"}, optional
        "official" (default) uses the official rows where they are known, else the rule that gives their counts;
        "grouped" never puts a subject into two splits.
    match_npz : path, optional
        Folder with official ``.npz`` files of 28 px. Their rows are matched with the raw images by pixels, and the
        stores are built in their order; ``{flag}_map.csv`` lists which image is which row. Official rows without a
        matching image make the store partial.
    map_csv : path, optional
        A CSV that assigns images to the rows of one dataset; see `mmtk.datasets.maps.read_map`.
    allow_partial : bool
        Build from an incomplete source; the store is marked partial.
    on_error : {"stop", "skip"}
        Stop at the first bad image, or skip bad images: they are listed in ``{flag}_findings.csv``, the plan is redone
        without them, and the store is marked partial.
    workers : int, optional
        Number of threads; by default one per core available to this process.
    scheduler : str, optional
        Address of a Dask scheduler, such as ``tcp://10.0.0.5:8786``, whose workers decode and resize instead of
        threads; only this process writes. Workers need the raw files under the same path, but not `out`.
    force : bool
        Overwrite stores built from another plan, and rebuild stores of your own data even if their plan is the same.
        Without it, a store of your own data whose files have changed is an error.
    progress : callable, optional
        Called with a flag; returns a callable that is given the number of images done and in total. By
        default a progress bar in a notebook, else nothing.

    Returns
    -------
    list of BuildResult
        One per dataset and size.

    Raises
    ------
    ArgumentError
        If an argument is invalid.
    SourceError
        If raw data is missing or incomplete; `ImageError` for a bad image.
    StoreError
        If a store of another plan exists there, the disk is too small, or another build is running there.
    MmtkError
        If the scheduler does not answer, a worker has other versions, or workers repeatedly die on the same images.

    Examples
    --------
    >>> import mmtk
    >>> results = mmtk.build("breastmnist", sources="sources", out="built", sizes=(28, 64), allow_partial=True)
    >>> [result.path.name for result in results]
    ['breastmnist_28.h5', 'breastmnist_64.h5']
    """
    named = [flags] if isinstance(flags, str | Dataset) else list(flags)
    datasets = [flag if isinstance(flag, Dataset) else get_dataset(flag) for flag in named]
    check_apart(datasets)
    _expect_published(datasets, match_npz=match_npz, map=map_csv)
    wanted = sorted(set(sizes))
    if not wanted or not 1 <= wanted[0] <= wanted[-1] <= store.LARGEST_SIZE:
        actual = ", ".join(map(str, wanted)) or "none"
        raise ArgumentError("sizes", expected=f"edge lengths from 1 to {store.LARGEST_SIZE} px", found=actual)
    if on_error not in ("stop", "skip"):
        raise ArgumentError("on_error", expected="stop or skip", found=on_error)
    if workers is not None and workers < 1:
        raise ArgumentError("workers", expected="at least 1", found=str(workers))
    if workers is not None and scheduler is not None:
        raise ArgumentError("workers", "cannot be given together with a scheduler, which has its own workers")
    if map_csv is not None and match_npz is not None:
        raise ArgumentError("map", "cannot be given together with match_npz, which makes its own map")
    if map_csv is not None and len({dataset.flag for dataset in datasets}) > 1:
        raise ArgumentError("map", "names the rows of a single dataset", remedy="build one dataset at a time")
    expect_locks()
    out = Path(out)
    families: dict[str, dict[str, Dataset]] = {}
    for dataset in datasets:
        families.setdefault(dataset.family, {})[dataset.flag] = dataset
    listings = {
        family: find_source(Path(sources), next(iter(members.values()))) for family, members in families.items()
    }
    results: dict[str, list[BuildResult]] = {}
    with _executor(workers, scheduler) as executor:
        for family, members in families.items():
            listing, planners = listings[family], []
            for dataset in members.values():
                first = dataset.first_edition
                chosen = edition or first, pixels or dataset.pixel_choices[0], split or dataset.split_choices[0]
                planner = _Planner(dataset, listing, *chosen, None, allow_partial, on_error == "skip")
                if match_npz is not None:
                    planner = replace(planner, known=_recover(planner, Path(match_npz), out, executor, progress))
                elif map_csv is not None:
                    given, records = read_map(map_csv, dataset), dataset.scan(listing).records
                    known = resolve_map(given, records, map_csv, allow_partial=allow_partial)
                    planner = replace(planner, known=known)
                planners.append(planner)
            tracker = (progress or notebook_bar)(family)
            for result in _build_together(planners, out, wanted, executor, force, tracker):
                results.setdefault(result.flag, []).append(result)
    for dataset in datasets:
        clear_held(_scratch(out, dataset))
        clear_leftovers(_scratch(out, dataset))
    return [result for flag in dict.fromkeys(dataset.flag for dataset in datasets) for result in results[flag]]


@contextmanager
def _executor(workers: int | None, scheduler: str | None) -> Iterator[Executor]:
    if scheduler is None:
        yield ThreadExecutor(cores() if workers is None else workers)
        return
    from mmtk import cluster
    from mmtk.builder.remote import ClusterExecutor  # needs Dask

    with cluster.connect(scheduler) as client:
        yield ClusterExecutor(client)


def _expect_published(datasets: list[Dataset], **rows: str | Path | None) -> None:
    """Refuse official rows for a user's own dataset, whose dataset file defines its split."""
    for dataset in datasets:
        for name, given in rows.items():
            if dataset.own and given is not None:
                remedy = "give its split by a column or by paths in the dataset file"
                raise ArgumentError(name, f"is only for published datasets, which {dataset.flag} is not", remedy=remedy)


def _recover(
    planner: _Planner, folder: Path, out: Path, executor: Executor, progress: Callable[[str], Progress] | None
) -> OfficialMap | None:
    """The official membership recovered by pixels: all images are built at 28 px in scan order, then matched."""
    dataset = planner.dataset
    names = dict.fromkeys((dataset.alias_of(planner.edition), dataset.flag, *dataset.aliases))
    official = next((path for name in names if (path := folder / f"{name}.npz").is_file()), None)
    if official is None:
        return None
    store.refuse_other_edition(official, dataset, planner.edition, 28, store.store_path(out, dataset.flag, 28))
    scanned = tuple(MapRow(record.source, record.labels, "") for record in dataset.scan(planner.listing).records)
    in_scan_order = OfficialMap({"train": scanned, "val": (), "test": ()})
    tracker = (progress or notebook_bar)(f"{dataset.flag} for matching")
    plain = replace(planner, pixels="official", split="official", known=in_scan_order)
    scratch = _scratch(out, dataset)
    with as_store_error(out, area=out), holding(scratch):
        (built,) = _build_together([plain], scratch, [28], executor, True, tracker)
        matched = match(store.open(built.path), official)
        write_match(matched, out / f"{dataset.flag}_map.csv", force=True)
        remove_folder(scratch)
    rows = {
        split: tuple(MapRow(row.source, row.label, LETTERS.get(row.evidence, "")) for row in matched.rows[split])
        for split in SPLITS
    }
    counts = ", ".join(f"{n} {word}" for word, n in matched.summary().items() if word in EVIDENCE and n)
    return OfficialMap(rows, origin=f"recovered from {official.name} by pixels ({counts})")


def _scratch(out: Path, dataset: Dataset) -> Path:
    """Folder in which images are built for matching; a killed build there is resumed, or removed at the end."""
    return out / f".{dataset.flag}.match"


@dataclass(frozen=True)
class _Planner:
    """Everything a plan is made from, so that it can be redone without the bad images."""

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
    planners: list[_Planner], out: Path, sizes: list[int], executor: Executor, force: bool, progress: Progress | None
) -> list[BuildResult]:
    """Build the stores of one family in one pass; stores that exist already from the same plan are kept."""
    listing, skip_bad = planners[0].listing, planners[0].skip_bad
    start, clock, workers = time.perf_counter(), Clock(), executor.workers
    with clock("plan", workers):
        plans = [_plan_without_known_bad(planner, out) for planner in planners]
    final = {
        (number, size): store.store_path(out, plan.dataset.flag, size)
        for number, plan in enumerate(plans) for size in sizes
    }
    changed = [_last_change(plan, listing) for plan in plans]
    reused = {key for key, path in final.items() if _is_reusable(path, plans[key[0]], key[1], force, changed[key[0]])}
    missing = {key: path for key, path in final.items() if key not in reused}
    built = list(plans)
    folder = out / f".{planners[0].dataset.family}.build"
    if missing:
        with as_store_error(out, area=out):
            out.mkdir(parents=True, exist_ok=True)
            _check_space(out, plans, list(missing), folder)
            with Journal(folder) as journal:
                for key, path in missing.items():  # again: another build may have published other stores just now
                    _is_reusable(path, plans[key[0]], key[1], force, changed[key[0]])
                with clock("plan", workers):
                    targets = _targets(journal, plans, list(missing), changed)
                worked = sorted({number for number, _ in missing})
                own = [plans[number] for number in worked]
                excluded = fill(
                    own, listing, targets, journal, clock, executor=executor, skip_bad=skip_bad, progress=progress
                )
                if excluded:
                    with clock("plan", workers):
                        own = _without(planners, worked, own, targets, journal, excluded)
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
            counts=store.open(path).counts if (number, size) in reused else built[number].counts,
            findings=(
                *built[number].findings,
                *(Finding("bad", source, reason) for source, reason in sorted(built[number].bad.items())),
            ),
            reused=(number, size) in reused,
            synthetic=built[number].synthetic,
            partial=built[number].partial,
            seconds=seconds,
        )
        for (number, size), path in final.items()
    ]


def _last_change(plan: Plan, listing: Listing) -> Change | None:
    """Last change of the files of a user's own dataset, which may change at any time: a plan does not know pixels."""
    if not plan.dataset.own:
        return None
    return last_change((row.record for split in SPLITS for row in plan.rows[split]), listing)


def _is_reusable(path: Path, plan: Plan, size: int, force: bool, changed: Change | None) -> bool:
    same_plan = store.already_there(path, plan.info(size).plan_hash, force)
    if not same_plan or changed is None:
        return same_plan
    if force:
        return False
    if changed.time >= path.stat().st_mtime_ns:
        remedy = "use --force to build it again, or choose another --out"
        raise StoreError(path, f"is out of date: {changed.name} changed after it was built", remedy=remedy)
    return True


def _finish(journal: Journal, plans: list[Plan], paths: list[Path], out: Path) -> None:
    """Complete the stores in the work folder, publish them one by one, and remove the folder."""
    for path in paths:
        store.finalize(journal.folder / path.name)
    for plan in plans:
        write_findings(out / f"{plan.dataset.flag}_findings.csv", plan.bad)
    for path in paths:
        publish(journal.folder / path.name, path)
    journal.remove()


def _plan_without_known_bad(planner: _Planner, out: Path) -> Plan:
    plan = planner()
    if planner.skip_bad and (known := still_bad(plan, planner.listing, out / f"{plan.dataset.flag}_findings.csv")):
        bad = {**plan.bad, **known}
        plan = replace(planner(without=bad), bad=bad)
    return plan


def _check_space(out: Path, plans: list[Plan], missing: list[tuple[int, int]], folder: Path) -> None:
    """Compare the space a build needs with the free space plus what a killed build has reserved in its work folder."""
    needed = sum(
        sum(plans[number].counts.values()) * size * size * plans[number].dataset.channels + _MARGIN
        for number, size in missing
    )
    reserved = sum(path.stat().st_blocks * 512 for path in folder.glob("*.h5"))
    free = shutil.disk_usage(out).free + reserved
    if needed > free:
        remedy = "free some space or choose another --out"
        expected, actual = f"{needed / 1e6:.0f} MB", f"{free / 1e6:.0f} MB free"
        raise StoreError(out, "not enough disk space", expected=expected, found=actual, remedy=remedy)


def _targets(
    journal: Journal, plans: list[Plan], missing: list[tuple[int, int]], changed: list[Change | None]
) -> list[Target]:
    """The skeletons of a build in its work folder: those of a killed build of the same plans and files, or new ones."""
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
    for target in targets:  # before the journal mentions them
        with target.path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
    return targets


def _without(
    planners: list[_Planner], worked: list[int], plans: list[Plan], targets: list[Target], journal: Journal,
    excluded: Excluded,
) -> list[Plan]:
    """Redo the plans without the images that turned out bad or blank, and move the finished rows to their new places.

    Bad images change the plan's identity; blank slices do not, since the same plan leads to them every time. The first
    plan's files are replaced one by one by files of the same name; a build killed meanwhile starts over.
    """
    again = []
    for number, plan in zip(worked, plans, strict=True):
        names = {row.record.source for split in SPLITS for row in plan.rows[split]}
        bad = {**plan.bad, **{source: reason for source, reason in excluded.bad.items() if source in names}}
        blank = excluded.blank & names
        identity = planners[number](without=bad).digest if blank else ""
        again.append(replace(planners[number](without=bad, blank=blank), bad=bad, identity=identity))
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
