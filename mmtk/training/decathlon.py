"""All datasets under one set of rules: every store by every method with every seed, a folder a run.

A run that is finished is not repeated and one that was killed goes on, each in a folder of its own:
``{flag}_{size}/{method}_seed{seed}``. A store that is not whole costs its own runs only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mmtk import store
from mmtk.datasets import list_datasets
from mmtk.errors import ArgumentError, MmtkError, StoreError
from mmtk.scoring import as_facts
from mmtk.store import StoreInfo
from mmtk.training import checkpoints, jsonfiles
from mmtk.training.evaluation import Evaluation, evaluate_run
from mmtk.training.methods import SHARE, Job, Method, paper_budget
from mmtk.training.protocols import PROTOCOLS
from mmtk.training.published import BASELINES
from mmtk.training.results import RunResult

RESULTS = "results.json"


@dataclass(frozen=True)
class Entry:
    """One run to be.

    Attributes
    ----------
    store : path
    flag, size : what the store's name says
    info : StoreInfo or None
        None where the store could not be opened.
    images : number of training images
    method : Method
    seed : int
    budget : float
        Seconds.
    share : float or None
        As `Job` has it.
    out : path, the run's folder
    """

    store: Path
    flag: str
    size: int
    info: StoreInfo | None
    images: int
    method: Method
    seed: int
    budget: float
    share: float | None
    out: Path

    @property
    def title(self) -> str:
        """The method's title, with its budget if it was given in seconds."""
        timed = self.method.batches is None and self.share is None
        return f"{self.method.title}, {self.budget:g} s" if timed else self.method.title

    @property
    def name(self) -> str:
        return f"{self.flag}_{self.size} {self.title}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its result and what that is worth, or why there is none."""

    entry: Entry
    result: RunResult | None = None
    evaluation: Evaluation | None = None
    error: str = ""


@dataclass(frozen=True)
class Standing:
    """How far all runs are.

    Attributes
    ----------
    done, runs : runs that are over, and all of them
    name : the run at work
    share : what part of it is done
    left : seconds, None as long as nothing foretells them
    """

    done: int
    runs: int
    name: str
    share: float
    left: float | None


def plan_runs(
    stores: str | Path, out: str | Path, *, methods: Sequence[Method], seeds: Sequence[int], size: int = 28,
    budget: float | None = None, share: float = SHARE,
) -> tuple[list[Entry], list[str]]:
    """The runs to be made of the stores in a folder, in the order of the paper's Table 1, and the sets without a store.

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
    for dataset in list_datasets():
        path = Path(stores) / f"{dataset.flag}_{size}.h5"
        if not path.exists():
            missing.append(dataset.flag)
            continue
        info, counts = _facts(path)
        seconds = paper_budget(sum(counts)) * share if budget is None else budget
        for method, seed in product(methods, seeds):
            timed = f"_{seconds:g}s" if method.batches is None and budget is not None else ""
            folder = Path(out) / f"{dataset.flag}_{size}" / f"{method.name}{timed}_seed{seed}"
            entries.append(Entry(
                path, dataset.flag, size, info, counts[0], method, seed, seconds, share if budget is None else None,
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
    clock, whole = _Clock(entries), set[tuple[Path, int, int]]()
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
    entry: Entry, device: str | None, progress: Callable[[int, int], None], whole: set[tuple[Path, int, int]]
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


class _Clock:
    """Foretells what is left from the pace so far: seconds a batch, or the budget of what goes by one."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._paces: dict[str, float] = {}
        self._first: tuple[float, int] | None = None

    def begin(self) -> None:
        self._first = None

    def tell(self, entry: Entry, done: int, total: int) -> None:
        now = time.perf_counter()
        if self._first is None:  # a run that goes on starts with what was done before
            self._first = now, done
        begun, before = self._first
        if entry.method.batches and done > before:
            self._paces[entry.method.name] = (now - begun) / (done - before)

    def left(self, number: int, share: float) -> float | None:
        """Seconds from a share of a run to the end of all."""
        left = 0.0
        for place, entry in enumerate(self._entries[number:]):
            part = 1 - share if place == 0 else 1.0
            if entry.method.batches is None:
                left += part * entry.budget
                continue
            pace = self._paces.get(entry.method.name, max(self._paces.values(), default=None))
            if pace is None:
                return None
            left += part * pace * entry.method.batches(entry.images)
        return left


def published(
    info: StoreInfo, protocol: str, model: str, resolution: int, result: RunResult
) -> tuple[float, float] | None:
    """The paper's test AUC and ACC, where a run is one that may be held against them."""
    same = protocol == "isbi21" and result.epochs == PROTOCOLS[protocol].epochs and info.size == 28
    row = BASELINES.get((model, resolution), {})
    return row.get(info.flag) if same and not (info.synthetic or info.partial) else None


def write_results(outcomes: Iterable[Outcome], out: str | Path) -> Path:
    """Put what came of runs into ``results.json``, beside what it tells of others that are there; see `as_json`.

    Raises
    ------
    OSError
        If the system cannot read it, though it is there.
    StoreError
        If it cannot be written.
    """
    path = Path(out) / RESULTS
    runs = {run["out"]: run for run in _known(path) if (Path(out) / run["out"]).is_dir()}
    runs.update({run["out"]: run for run in as_json(outcomes, out)})
    checkpoints.write_text(path, json.dumps({"runs": list(runs.values())}, indent=2) + "\n")
    return path


def _known(path: Path) -> list[dict[str, Any]]:
    try:
        runs = jsonfiles.read_object(path).get("runs")
    except MmtkError:  # what it tells can be told again
        return []
    listed = runs if isinstance(runs, list) else []
    return [run for run in listed if isinstance(run, dict) and isinstance(run.get("out"), str)]


def as_json(outcomes: Iterable[Outcome], out: str | Path) -> list[dict[str, Any]]:
    """Each run with its folder below `out`, store, method, marks, and figures of each split or its error."""
    return [
        {
            "flag": o.entry.flag, "size": o.entry.size, **o.entry.method.facts,
            **({"budget": o.entry.budget} if o.entry.method.batches is None else {}), "seed": o.entry.seed,
            "out": o.entry.out.relative_to(out).as_posix(),
            **({"synthetic": o.entry.info.synthetic, "partial": o.entry.info.partial} if o.entry.info else {}),
            **({"error": o.error} if o.result is None else {
                "best_epoch": o.result.best_epoch,
                "splits": {
                    name: {"images": o.result.images[name], **as_facts(metrics._asdict())}
                    for name, metrics in o.result.metrics.items()
                },
                **({"intervals": o.evaluation.facts["intervals"]} if o.evaluation else {}),
            }),
        }
        for o in outcomes
    ]
