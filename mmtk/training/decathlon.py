"""All datasets under one set of rules: every store by every method with every seed, a folder a run.

A run that is finished is not repeated and one that was killed goes on, each in a folder of its own:
``{flag}_{size}/{method}_seed{seed}``. A store that is not whole costs its own runs only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

from mmtk import store
from mmtk.base import Progress
from mmtk.datasets import list_datasets
from mmtk.errors import ArgumentError, MmtkError, StoreError
from mmtk.runs import Entry, Method, Outcome, evaluate_run
from mmtk.store import StoreInfo
from mmtk.training._pace import Clock, Standing
from mmtk.training.methods import SHARE, Job, paper_budget


def plan_runs(
    stores: str | Path, out: str | Path, *, methods: Sequence[Method], seeds: Sequence[int], size: int = 28,
    budget: float | None = None, share: float = SHARE,
) -> tuple[list[Entry], list[str]]:
    """The runs to be made of the stores in a folder, the paper's ten first in its order, and the sets without a store.

    Parameters
    ----------
    stores, out : path
    methods : sequence of Method
    seeds : sequence of int
    size : edge length in pixels
    budget : float, optional
        Seconds for each run of a method that goes by them.
    share : float
        Without `budget`: what part of the paper's, which are 2, 4 or 6 hours by the number of images.

    Raises
    ------
    ArgumentError
        If two methods have one name.
    MmtkError
        If the folder has no store of that size.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ArgumentError("methods", expected="each once", found=", ".join(names))
    entries, missing = [], []
    others = [flag for flag, edge, _ in store.stores_in(stores) if edge == size]
    for flag in dict.fromkeys([*(dataset.flag for dataset in list_datasets()), *others]):
        path = store.store_path(stores, flag, size)
        if not path.exists():
            missing.append(flag)
            continue
        info, counts = _facts(path)
        seconds = paper_budget(sum(counts)) * share if budget is None else budget
        for method, seed in product(methods, seeds):
            timed = f"_{seconds:g}s" if method.timed and budget is not None else ""
            folder = Path(out) / f"{flag}_{size}" / f"{method.name}{timed}_seed{seed}"
            entries.append(Entry(
                path, flag, size, info, counts[0], method, seed, seconds, share if budget is None else None,
                folder,
            ))
    if not entries:
        remedy = "build or import some first"
        raise MmtkError(stores, expected=f"stores named FLAG_{size}.h5", found="none", remedy=remedy)
    return entries, missing


def _facts(path: Path) -> tuple[StoreInfo | None, list[int]]:
    try:
        opened = store.open(path)
    except (StoreError, OSError):  # its runs will say so
        return None, [0]
    return opened.info, list(opened.counts.values())


def run_all(
    entries: Sequence[Entry], *, device: str | None = None, follow: Callable[[Standing], None] | None = None
) -> Iterator[Outcome]:
    """Make the runs, one after the other; an error of one of them becomes its outcome.

    Parameters
    ----------
    entries : sequence of Entry
    device : {"cpu", "cuda"}, optional
    follow : callable, optional
        Told again and again how far they are.

    Yields
    ------
    Outcome
    """
    clock, whole = Clock(entries), set[tuple[Path, int, int]]()
    for number, entry in enumerate(entries):

        def progress(done: int, total: int, number: int = number, entry: Entry = entry) -> None:
            clock.tell(entry, done, total)
            if follow:
                left = clock.left(number, done / total)
                follow(Standing(number, len(entries), entry.name, done / total, left))

        clock.begin()
        try:
            outcome = _run(entry, device, progress, whole)
        except (MmtkError, OSError) as error:
            outcome = Outcome(entry, error=str(error))
        yield outcome
    if follow:
        follow(Standing(len(entries), len(entries), "", 0.0, 0.0))


def _run(
    entry: Entry, device: str | None, progress: Progress, whole: set[tuple[Path, int, int]]
) -> Outcome:
    opened = store.open(entry.store)
    if entry.info is None:  # so that its budget, which goes by its images, is not known
        found, remedy = "one that could not be read then", "give the same command again"
        raise StoreError(entry.store, expected="a store that was there at the start", found=found, remedy=remedy)
    state = entry.store.stat()
    key = entry.store, state.st_mtime_ns, state.st_size
    if key not in whole:
        store.expect_whole(entry.store)
        whole.add(key)
    if (opened.info.flag, opened.info.size) != (entry.flag, entry.size):
        found = f"one of {opened.info.flag}_{opened.info.size}"
        raise StoreError(entry.store, expected=f"a store of {entry.flag}_{entry.size}", found=found)
    job = Job(opened, entry.out, entry.budget, entry.share, entry.seed, device, progress)
    return Outcome(entry, result := entry.method.run(job), evaluate_run(result.path, opened))
