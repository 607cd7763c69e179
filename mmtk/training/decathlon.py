"""All datasets under one set of rules: every store in every way with every seed, a folder a run.

A way is a model under a protocol, or a method without a network within a budget of seconds. A run that is finished is
not repeated and one that was killed goes on, each in a folder of its own: ``{flag}_{size}/{way}_seed{seed}``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from mmtk import store
from mmtk.datasets import list_datasets
from mmtk.errors import MmtkError
from mmtk.store import StoreInfo
from mmtk.training.protocols import PROTOCOLS, get_protocol
from mmtk.training.published import TABLE_2_28
from mmtk.training.results import RunResult

RESULTS = "results.json"


METHODS = ("sklearn",)


@dataclass(frozen=True)
class Way:
    """How a run is made: a model under a protocol for so many epochs, or a method within a budget of seconds."""

    model: str = ""
    protocol: str = ""
    epochs: int = 0
    method: str = ""
    budget: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.method}_{self.budget:g}s" if self.method else f"{self.model}_{self.protocol}"

    @property
    def title(self) -> str:
        return f"{self.method}, {self.budget:g} s" if self.method else f"{self.model}, {self.protocol}"

    def steps(self, images: int) -> int:
        """What its progress is counted in: batches, or 1."""
        return 1 if self.method else self.epochs * -(-images // get_protocol(self.protocol).batch_size)


@dataclass(frozen=True)
class Entry:
    """One run to be: a store in a way, and where it leaves what it makes."""

    store: Path
    info: StoreInfo
    way: Way
    seed: int
    out: Path

    @property
    def name(self) -> str:
        return f"{self.info.flag}_{self.info.size} {self.way.title}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its result, or why there is none."""

    entry: Entry
    result: RunResult | None
    error: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table: the runs of one dataset in one way.

    Attributes
    ----------
    auc, acc : test figures, meaned over seeds
    spread : standard deviations of both over seeds, None for a single one
    paper : the published figures, where the runs may be held against them
    """

    info: StoreInfo
    way: Way
    seeds: int
    images: int
    auc: float
    acc: float
    spread: tuple[float, float] | None
    paper: tuple[float, float] | None


def plan_runs(
    stores: str | Path, out: str | Path, *, ways: Sequence[Way], seeds: Sequence[int], size: int = 28
) -> tuple[list[Entry], list[str]]:
    """The runs to be made of the stores in a folder, in the order of the paper's Table 1, and the sets without a store.

    Raises
    ------
    MmtkError
        If the folder has no store of that size, or one that cannot be opened.
    """
    entries, missing = [], []
    for dataset in list_datasets():
        path = Path(stores) / f"{dataset.flag}_{size}.h5"
        if not path.exists():
            missing.append(dataset.flag)
            continue
        info = store.open(path).info
        for way, seed in product(ways, seeds):
            folder = Path(out) / f"{dataset.flag}_{size}" / f"{way.name}_seed{seed}"
            entries.append(Entry(path, info, way, seed, folder))
    if not entries:
        remedy = "build or import some first"
        raise MmtkError(stores, expected=f"stores named FLAG_{size}.h5", found="none", remedy=remedy)
    return entries, missing


def run_all(
    entries: Sequence[Entry], *, device: str | None = None, progress: Callable[[int, int], None] | None = None
) -> Iterator[Outcome]:
    """Make the runs, one after the other; what one of them raises as an error of mmtk's becomes its outcome.

    Parameters
    ----------
    entries : sequence of Entry
    device : {"cpu", "cuda"}, optional
    progress : callable, optional
        Told the batches done and all batches, of all runs.

    Yields
    ------
    Outcome
    """
    lengths = [entry.way.steps(len(store.open(entry.store).train)) for entry in entries]
    for number, entry in enumerate(entries):
        before, total = sum(lengths[:number]), sum(lengths)

        def advance(done: int, _: int, before: int = before, total: int = total) -> None:
            if progress:
                progress(before + done, total)

        try:
            yield Outcome(entry, _run(entry, device, advance))
        except MmtkError as error:
            yield Outcome(entry, None, str(error))
        advance(lengths[number], 0)


def _run(entry: Entry, device: str | None, progress: Callable[[int, int], None]) -> RunResult:
    opened, way = store.open(entry.store), entry.way
    if way.method:
        from mmtk.training.search import search

        return search(opened, entry.out, budget=way.budget, seed=entry.seed)
    from mmtk.training._fit import fit

    return fit(
        opened, way.protocol, way.model, entry.out, seed=entry.seed, epochs=way.epochs, device=device, progress=progress
    )


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """The table of test figures: a row for each dataset and way with a finished run."""
    finished = [o for o in outcomes if o.result is not None]
    order = {entry: place for place, entry in enumerate(dict.fromkeys(_kind(o.entry) for o in finished))}
    finished.sort(key=lambda o: order[_kind(o.entry)])
    rows = []
    for (info, way), some in groupby(finished, key=lambda o: _kind(o.entry)):
        results = [o.result for o in some if o.result is not None]
        figures = [result.metrics["test"] for result in results]
        columns = list(zip(*figures, strict=True))
        spread = (stdev(columns[0]), stdev(columns[1])) if len(figures) > 1 else None
        paper = published(info, way.protocol, way.model, results[0])
        rows.append(Row(
            info, way, len(figures), results[0].images["test"], mean(columns[0]), mean(columns[1]), spread, paper,
        ))
    return rows


def _kind(entry: Entry) -> tuple[StoreInfo, Way]:
    return entry.info, entry.way


def published(info: StoreInfo, protocol: str, model: str, result: RunResult) -> tuple[float, float] | None:
    """The paper's test AUC and ACC, where a run is one that may be held against them."""
    same = protocol == "isbi21" and result.epochs == PROTOCOLS[protocol].epochs and info.size == 28
    return TABLE_2_28[model].get(info.flag) if same and not (info.synthetic or info.partial) else None


def write_results(outcomes: Sequence[Outcome], out: str | Path) -> Path:
    """Write what came of all runs as ``results.json``; `as_json` says its form."""
    from mmtk.training.checkpoints import write_text

    path = Path(out) / RESULTS
    write_text(path, json.dumps(as_json(outcomes), indent=2) + "\n")
    return path


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Each run with its store, set-up, marks, and figures of each split or its error."""
    return [
        {
            "flag": o.entry.info.flag, "size": o.entry.info.size, **asdict(o.entry.way), "seed": o.entry.seed,
            "out": str(o.entry.out),
            "synthetic": o.entry.info.synthetic, "partial": o.entry.info.partial,
            **({"error": o.error} if o.result is None else {
                "best_epoch": o.result.best_epoch,
                "splits": {
                    name: {"images": o.result.images[name], **metrics._asdict()}
                    for name, metrics in o.result.metrics.items()
                },
            }),
        }
        for o in outcomes
    ]
