"""The Decathlon's table: each dataset by each method, means over datasets, and how methods differ."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, stdev
from typing import Any

from mmtk.datasets import TEN, family_of
from mmtk.runs._published import counterpart, published
from mmtk.runs.entries import Outcome
from mmtk.runs.evaluation import over_seeds
from mmtk.scoring import Estimate, Metrics, Resampled, as_facts, mean_intervals
from mmtk.store import StoreInfo


@dataclass(frozen=True, eq=False)
class Row:
    """The runs of one dataset by one method.

    Attributes
    ----------
    method : title of the method
    tests : test figures of each seed
    auc, acc : averaged over seeds, with the interval of the mean: of other test images, by the same models
    resampled : figures of each resample, averaged over seeds
    paper : the published figures, where the runs may be held against them, or those of `paper_row`
    paper_row : the row of Table 2 that the method stands for; empty where the set-up is the paper's own
    seconds, budget : float or None
        What a method spent, averaged over seeds, and what it had; None where that is not known.
    """

    info: StoreInfo
    method: str
    images: int
    tests: dict[int, Metrics]
    auc: Estimate
    acc: Estimate
    resampled: Resampled
    paper: tuple[float, float] | None
    seconds: float | None = None
    budget: float | None = None
    paper_row: str = ""

    @property
    def is_of_ten(self) -> bool:
        """Whether its dataset is one of the paper's."""
        return self.info.flag in TEN

    @property
    def spread(self) -> tuple[float, float] | None:
        """Standard deviations of AUC and ACC over seeds, None for a single one."""
        return _spread(self.tests.values())


@dataclass(frozen=True)
class Mean:
    """A method over its datasets among the paper's ten.

    Attributes
    ----------
    auc, acc : with intervals of other test images; undefined if that of one dataset is
    spread : standard deviations over seeds of the mean, None unless all datasets have the same two seeds or more
    """

    method: str
    datasets: int
    auc: Estimate
    acc: Estimate
    spread: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """How much higher a method scores than another, as a mean over the datasets of both, on the same resamples.

    Datasets that are not of the paper's ten count alone; ``flag`` names such a one, and is empty for a mean of the ten.
    """

    method: str
    other: str
    datasets: int
    auc: Estimate
    acc: Estimate
    flag: str = ""


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """A row for each method and dataset with a finished run, in the order the methods come."""
    groups: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.result is not None:
            groups[outcome.entry.title, outcome.entry.flag].append(outcome)
    titles = list(dict.fromkeys(title for title, _ in groups))
    return [_row(some) for _, some in sorted(groups.items(), key=lambda item: titles.index(item[0][0]))]


def _row(outcomes: Sequence[Outcome]) -> Row:
    entry, result = outcomes[0].entry, outcomes[0].result
    assert entry.info is not None
    assert result is not None
    paper = published(entry.info, entry.method.facts, result)
    row, figures = counterpart(entry.info, entry.method.facts) or ("", paper)
    tests = {o.entry.seed: o.result.metrics["test"] for o in outcomes if o.result}
    resampled = over_seeds([o.evaluation.resampled for o in outcomes if o.evaluation])
    auc, acc = mean_intervals([resampled], [entry.flag])
    spent = [o.result.seconds for o in outcomes if o.result and o.result.seconds is not None]
    return Row(
        entry.info, entry.title, result.images["test"], tests, auc, acc, resampled, figures,
        mean(spent) if spent else None, result.budget, row,
    )


def means_of(rows: Iterable[Row]) -> list[Mean]:
    """Each method's mean over its datasets among the paper's ten: what else there is would make it another mean."""
    found = []
    for title, some in _by_method(row for row in rows if row.is_of_ten).items():
        auc, acc = mean_intervals([row.resampled for row in some.values()], [family_of(flag) for flag in some])
        seeds = set.intersection(*(set(row.tests) for row in some.values()))
        same = all(len(row.tests) == len(seeds) for row in some.values())
        by_seed = [Metrics(*map(mean, zip(*(row.tests[seed] for row in some.values()), strict=True))) for seed in seeds]
        found.append(Mean(title, len(some), auc, acc, _spread(by_seed) if same else None))
    return found


def differences_of(rows: Iterable[Row]) -> list[Difference]:
    """Each method against each that comes before it: over the paper's ten, then on each other dataset."""
    rows = list(rows)
    others = dict.fromkeys(row.info.flag for row in rows if not row.is_of_ten)
    found = _differences([row for row in rows if row.is_of_ten])
    for flag in others:
        found += _differences([row for row in rows if row.info.flag == flag], flag)
    return found


def _differences(rows: list[Row], flag: str = "") -> list[Difference]:
    found = []
    for (other, theirs), (title, mine) in combinations(_by_method(rows).items(), 2):
        both = [known for known in mine if known in theirs and _same_images(mine[known], theirs[known])]
        if both:
            parts = [mine[known].resampled - theirs[known].resampled for known in both]
            intervals = mean_intervals(parts, [family_of(known) for known in both])
            found.append(Difference(title, other, len(both), *intervals, flag))
    return found


def _same_images(row: Row, other: Row) -> bool:
    """Whether two rows are of the same resamples: stores of two sizes may have others, as a partial one has."""
    return row.resampled.drawn == other.resampled.drawn


def table_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """The table, the means and the differences as JSON values."""
    table = [
        {
            "flag": row.info.flag, "size": row.info.size, "method": row.method, "seeds": len(row.tests),
            "images": row.images, "seconds": row.seconds, "budget": row.budget,
            "auc": as_facts(row.auc), "acc": as_facts(row.acc), "spread": as_facts(row.spread), "paper": row.paper,
            "paper_row": row.paper_row,
        }
        for row in rows
    ]
    return {"table": table, "means": as_facts(means_of(rows)), "differences": as_facts(differences_of(rows))}


def _by_method(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    groups: dict[str, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        groups[row.method][row.info.flag] = row
    return groups


def _spread(figures: Iterable[Metrics]) -> tuple[float, float] | None:
    columns = list(zip(*figures, strict=True))
    return (deviation(columns[0]), deviation(columns[1])) if columns and len(columns[0]) > 1 else None


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of two figures or more, NaN where one is undefined."""
    return math.nan if any(map(math.isnan, values)) else stdev(values)
