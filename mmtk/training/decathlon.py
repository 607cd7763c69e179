"""The Decathlon: every store by every method with every seed, under one set of rules.

Each run has its own folder, ``{flag}_{size}/{method}_seed{seed}``; finished runs are not repeated, and killed ones
resume. A damaged store or a failing method affects only its own runs.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path

from mmtk import plugins, store
from mmtk.base import Progress
from mmtk.datasets import TEN
from mmtk.errors import ArgumentError, BusyError, MmtkError, StoreError, reason_of
from mmtk.files import write_text
from mmtk.runs import TRACEBACK, Entry, Method, Outcome, evaluate_run, keep_outcome, table_order
from mmtk.store import StoreInfo
from mmtk.training._pace import Clock, OverallProgress
from mmtk.training.methods import SHARE, Job, paper_budget

VerifiedStore = tuple[Path, int, int]  # a store whose checksums matched, with its modification time and size then


def plan_runs(
    stores: str | Path, out: str | Path, *, methods: Sequence[Method], seeds: Sequence[int],
    sizes: Sequence[int] = (28,), budget: float | None = None, share: float = SHARE,
) -> tuple[list[Entry], list[str]]:
    """Plan the runs of all stores in a folder by all methods with all seeds.

    The paper's ten datasets come first, in its order, then MedMNIST's others, then other datasets by flag.

    Parameters
    ----------
    stores, out : str or path
        Folder of the stores, and of the runs.
    methods : sequence of Method
    seeds : sequence of int
    sizes : sequence of int
        Edge lengths in pixels.
    budget : float, optional
        Seconds for each run of a method with a time budget.
    share : float
        Without `budget`: the share of the paper's budgets, which are 2, 4 or 6 hours by the number of images.

    Returns
    -------
    entries : list of Entry
    missing : list of str
        Those of the paper's ten that have no store.

    Raises
    ------
    ArgumentError
        If two methods have the same name.
    MmtkError
        If the folder has no store of these sizes.

    Examples
    --------
    >>> from mmtk.training import get_method, plan_runs
    >>> entries, missing = plan_runs("stores", "out", methods=[get_method("resnet18_quick")], seeds=[0, 1])
    >>> len(entries), entries[0].name, len(missing)
    (4, 'DermaMNIST: resnet18, quick, seed 0', 8)
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ArgumentError("methods", "two have the same name", found=", ".join(names))
    entries, missing = [], []
    there = {(flag, edge) for flag, edge, _ in store.stores_in(stores)}
    others = sorted({flag for flag, edge in there if edge in sizes} - set(TEN), key=table_order)
    for flag, size in product([*TEN, *others], dict.fromkeys(sizes)):
        if (flag, size) not in there:
            if flag in TEN:
                missing.append(flag if size == 28 else f"{flag} at {size} px")
            continue
        path = store.store_path(stores, flag, size)
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
        names = [f"FLAG_{size}.h5" for size in dict.fromkeys(sizes)]
        problem = f"contains no store named {' or '.join(names)}"
        raise MmtkError(stores, problem, remedy="build or import one first")
    return entries, missing


def _facts(path: Path) -> tuple[StoreInfo | None, list[int]]:
    try:
        opened = store.open(path)
    except (StoreError, OSError):  # its runs will report the error
        return None, [0]
    return opened.info, list(opened.counts.values())


def take_shard(entries: Sequence[Entry], number: int, shards: int) -> list[Entry]:
    """Return one shard of the planned runs; shards are disjoint and together complete.

    The runs of each method are dealt out by number of images, back and forth, so that no shard gets all large ones.

    Parameters
    ----------
    entries : sequence of Entry
    number : int
        The shard, counted from 1.
    shards : int
        Number of shards.

    Returns
    -------
    list of Entry

    Raises
    ------
    ArgumentError
        If `number` is not between 1 and `shards`.

    Examples
    --------
    >>> from mmtk.training import get_method, plan_runs, take_shard
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("resnet18_quick")], seeds=[0, 1])
    >>> [(entry.flag, entry.seed) for entry in take_shard(entries, 1, 2)]
    [('dermamnist', 0), ('breastmnist', 1)]
    """
    if not 1 <= number <= shards:
        raise ArgumentError("shard", found=f"{number}/{shards}", expected="I/N with I from 1 to N, such as 1/4")
    methods = list(dict.fromkeys(entry.method.name for entry in entries))
    order = sorted(range(len(entries)), key=lambda i: (methods.index(entries[i].method.name), -entries[i].images, i))
    turns = [*range(shards), *reversed(range(shards))]
    mine = {i for place, i in enumerate(order) if turns[place % len(turns)] == number - 1}
    return [entry for i, entry in enumerate(entries) if i in mine]


def run_all(
    entries: Sequence[Entry], *, device: str | None = None, follow: Callable[[OverallProgress], None] | None = None
) -> Iterator[Outcome]:
    """Make planned runs one after the other; any error of a run becomes its outcome.

    The traceback of an error that mmtk did not raise deliberately is saved in the run's folder.

    Parameters
    ----------
    entries : sequence of Entry
    device : {"cpu", "cuda"}, optional
        By default ``cuda`` if available.
    follow : callable, optional
        Called repeatedly with the `OverallProgress`.

    Yields
    ------
    Outcome

    Examples
    --------
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("sklearn")], seeds=[0], budget=0.5)
    >>> for outcome in run_all(entries):
    ...     print(outcome.entry.name, "->", outcome.error or outcome.result.files["test"])
    DermaMNIST: sklearn, 0.5 s, seed 0 -> dermamnist_test_[AUC]...@sklearn_28_0.5s_seed0.csv
    BreastMNIST: sklearn, 0.5 s, seed 0 -> breastmnist_test_[AUC]...@sklearn_28_0.5s_seed0.csv
    """
    clock, verified = Clock(entries), set[VerifiedStore]()
    for number, entry in enumerate(entries):

        def progress(done: int, total: int, number: int = number) -> None:
            clock.update(number, done, total)
            if follow:
                follow(clock.progress())

        clock.begin(number)
        try:
            outcome = make_run(entry, device, progress, verified)
        except BusyError as error:
            outcome = Outcome(entry, error=str(error))
        clock.end(number)
        yield outcome
    if follow:
        follow(OverallProgress(len(entries), len(entries), "", 0.0, 0.0))


def make_run(entry: Entry, device: str | None, progress: Progress, verified: set[VerifiedStore]) -> Outcome:
    """Make one run and save its outcome, also any error, in its folder.

    Parameters
    ----------
    entry : Entry
    device : {"cpu", "cuda"} or None
    progress : callable
    verified : set of VerifiedStore
        Stores whose checksums need not be verified again; updated.

    Raises
    ------
    BusyError
        If another process is using its folder.
    """
    try:
        outcome = _run(entry, device, progress, verified)
    except BusyError:
        raise
    except (Exception, SystemExit) as error:  # a method may be third-party code
        outcome = Outcome(entry, error=_error_text(entry, error))
    keep_outcome(outcome)
    return outcome


def _error_text(entry: Entry, error: Exception | SystemExit) -> str:
    """An error in one line; for a method's own error with the place in its code."""
    module = entry.method.module
    own = plugins.is_outside(module) and plugins.place_of(error, module)
    if isinstance(error, MmtkError) or (isinstance(error, OSError) and not own):
        return str(error)
    with suppress(MmtkError, OSError):  # there may be no space for it
        lines = traceback.format_exception(error)
        entry.out.mkdir(parents=True, exist_ok=True)
        write_text(entry.out / TRACEBACK, "".join(lines).encode("utf-8", "backslashreplace").decode())
    if isinstance(error, MemoryError) and not str(error):
        error = MemoryError(reason_of(error)).with_traceback(error.__traceback__)
    return plugins.error_line(error, module)


def _run(entry: Entry, device: str | None, progress: Progress, verified: set[VerifiedStore]) -> Outcome:
    opened = store.open(entry.store)
    if entry.info is None:  # its budget, which depends on its number of images, is unknown
        raise StoreError(entry.store, "could not be read when the runs were planned", remedy="repeat the command")
    state = entry.store.stat()
    key = entry.store, state.st_mtime_ns, state.st_size
    if key not in verified:
        store.expect_whole(entry.store)
        verified.add(key)
    if (opened.info.flag, opened.info.size) != (entry.flag, entry.size):
        found, expected = f"a store of {opened.info.flag}_{opened.info.size}", f"{entry.flag}_{entry.size}"
        raise StoreError(entry.store, found=found, expected=f"{expected}, as its name says")
    job = Job(opened, entry.out, entry.budget, entry.share, entry.seed, device, progress, entry.method.title)
    result = entry.method.run(job)
    with suppress(OSError):
        (entry.out / TRACEBACK).unlink(missing_ok=True)
    return Outcome(entry, result, evaluate_run(result.path, opened))
