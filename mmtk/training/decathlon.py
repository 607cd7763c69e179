"""All datasets under one set of rules: every store by every method with every seed, a folder a run.

A run that is finished is not repeated and one that was killed goes on, each in a folder of its own:
``{flag}_{size}/{method}_seed{seed}``. A store that is not whole, and a method that fails, cost their own runs only.
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
from mmtk.training._pace import Clock, Standing
from mmtk.training.methods import SHARE, Job, paper_budget

Whole = tuple[Path, int, int]  # a store that is whole, with the time and size it had then


def plan_runs(
    stores: str | Path, out: str | Path, *, methods: Sequence[Method], seeds: Sequence[int],
    sizes: Sequence[int] = (28,), budget: float | None = None, share: float = SHARE,
) -> tuple[list[Entry], list[str]]:
    """The runs to be made of the stores in a folder, the paper's ten first, and those of the ten without a store.

    The ten come in the paper's order, then what else MedMNIST has, then other datasets by their flags.

    Parameters
    ----------
    stores, out : path
    methods : sequence of Method
    seeds : sequence of int
    sizes : sequence of int
        Edge lengths in pixels.
    budget : float, optional
        Seconds for each run of a method that goes by them.
    share : float
        Without `budget`: what part of the paper's, which are 2, 4 or 6 hours by the number of images.

    Raises
    ------
    ArgumentError
        If two methods have one name.
    MmtkError
        If the folder has no store of these sizes.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ArgumentError("methods", expected="each once", found=", ".join(names))
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
        remedy = "build or import some first"
        names = [f"FLAG_{size}.h5" for size in dict.fromkeys(sizes)]
        raise MmtkError(stores, expected=f"stores named {' or '.join(names)}", found="none", remedy=remedy)
    return entries, missing


def _facts(path: Path) -> tuple[StoreInfo | None, list[int]]:
    try:
        opened = store.open(path)
    except (StoreError, OSError):  # its runs will say so
        return None, [0]
    return opened.info, list(opened.counts.values())


def take_shard(entries: Sequence[Entry], number: int, shards: int) -> list[Entry]:
    """One of several parts of the planned runs; the parts are disjoint and together complete.

    The runs of each method are dealt out by number of images, back and forth, so that no shard gets all large ones.

    Parameters
    ----------
    entries : sequence of Entry
    number : int
        Of the shard, from 1 on.
    shards : int

    Raises
    ------
    ArgumentError
        If there is no such shard.
    """
    if not 1 <= number <= shards:
        raise ArgumentError("shard", expected="I/N with I from 1 to N, such as 1/4", found=f"{number}/{shards}")
    methods = list(dict.fromkeys(entry.method.name for entry in entries))
    order = sorted(range(len(entries)), key=lambda i: (methods.index(entries[i].method.name), -entries[i].images, i))
    turns = [*range(shards), *reversed(range(shards))]
    mine = {i for place, i in enumerate(order) if turns[place % len(turns)] == number - 1}
    return [entry for i, entry in enumerate(entries) if i in mine]


def run_all(
    entries: Sequence[Entry], *, device: str | None = None, follow: Callable[[Standing], None] | None = None
) -> Iterator[Outcome]:
    """Make the runs, one after the other; an error of one of them, whatever it is, becomes its outcome.

    The traceback of one that mmtk did not raise on purpose is kept in the run's folder.

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
    clock, whole = Clock(entries), set[Whole]()
    for number, entry in enumerate(entries):

        def progress(done: int, total: int, number: int = number) -> None:
            clock.tell(number, done, total)
            if follow:
                follow(clock.standing())

        clock.begin(number)
        try:
            outcome = make_run(entry, device, progress, whole)
        except BusyError as error:
            outcome = Outcome(entry, error=str(error))
        clock.end(number)
        yield outcome
    if follow:
        follow(Standing(len(entries), len(entries), "", 0.0, 0.0))


def make_run(entry: Entry, device: str | None, progress: Progress, whole: set[Whole]) -> Outcome:
    """Make one run and keep its outcome in its folder, also an error, whatever it is.

    Parameters
    ----------
    entry : Entry
    device : {"cpu", "cuda"} or None
    progress : callable
    whole : set
        Of stores whose checksums are known to hold, which are not computed again; added to.

    Raises
    ------
    BusyError
        If another process is at work in its folder.
    """
    try:
        outcome = _run(entry, device, progress, whole)
    except BusyError:
        raise
    except (Exception, SystemExit) as error:  # a method may be anybody's
        outcome = Outcome(entry, error=_told(entry, error))
    keep_outcome(outcome)
    return outcome


def _told(entry: Entry, error: Exception | SystemExit) -> str:
    """An error in a line; that of a method with the place in its own code."""
    module = entry.method.module
    own = plugins.is_outside(module) and plugins.place_of(error, module)
    if isinstance(error, MmtkError) or (isinstance(error, OSError) and not own):
        return str(error)
    with suppress(MmtkError, OSError):  # there may be no room for it
        lines = traceback.format_exception(error)
        entry.out.mkdir(parents=True, exist_ok=True)
        write_text(entry.out / TRACEBACK, "".join(lines).encode("utf-8", "backslashreplace").decode())
    if isinstance(error, MemoryError) and not str(error):
        error = MemoryError(reason_of(error)).with_traceback(error.__traceback__)
    return plugins.error_line(error, module)


def _run(entry: Entry, device: str | None, progress: Progress, whole: set[Whole]) -> Outcome:
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
    job = Job(opened, entry.out, entry.budget, entry.share, entry.seed, device, progress, entry.method.title)
    result = entry.method.run(job)
    with suppress(OSError):
        (entry.out / TRACEBACK).unlink(missing_ok=True)
    return Outcome(entry, result, evaluate_run(result.path, opened))
