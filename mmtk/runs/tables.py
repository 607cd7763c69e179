"""The Decathlon's tables: datasets by methods, means over datasets, and differences between methods."""

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
from mmtk.runs.evaluation import average_seeds
from mmtk.scoring import Estimate, Metrics, Resampled, as_facts, mean_intervals
from mmtk.store import StoreInfo


@dataclass(frozen=True, eq=False)
class Row:
    """The runs of one method on one dataset.

    Attributes
    ----------
    info : StoreInfo
    method : str
        The method's title.
    images : int
        Number of test images.
    tests : dict of int to Metrics
        Test figures by seed.
    auc, acc : Estimate
        Means over seeds with 95 % bootstrap intervals over test images, for the trained models as they are.
    resampled : Resampled
        Figures of every resample, averaged over seeds.
    paper : (float, float) or None
        The published AUC and ACC if the runs are comparable to them, or those of `paper_row`.
    paper_row : str
        The row of Table 2 that corresponds to the method; empty if the set-up is the paper's own.
    seconds, budget : float or None
        Seconds a method spent, averaged over seeds, and its budget; None if unknown.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.runs import rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("sklearn")], seeds=[0], budget=1)
    >>> (row,) = rows_of(run_all(entries[-1:]))  # the last one is BreastMNIST
    >>> row.method, row.images == len(mmtk.open("stores/breastmnist_28.h5").test), row.spread
    ('sklearn, 1 s', True, None)
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
        """Whether its dataset is one of the paper's ten."""
        return self.info.flag in TEN

    @property
    def spread(self) -> tuple[float, float] | None:
        """Standard deviations of AUC and ACC over seeds, None for a single seed."""
        return _spread(self.tests.values())


@dataclass(frozen=True)
class Mean:
    """A method's mean over its datasets among the paper's ten.

    Attributes
    ----------
    method : str
        The method's title.
    datasets : int
        Number of datasets.
    auc, acc : Estimate
        With 95 % bootstrap intervals over test images; undefined if the figure of one dataset is.
    spread : (float, float) or None
        Standard deviations of the mean over seeds; None unless all datasets have the same seeds, at least two.

    Examples
    --------
    >>> from mmtk.runs import means_of, rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("sklearn")], seeds=[0], budget=0.5)
    >>> (mean,) = means_of(rows_of(run_all(entries)))
    >>> mean.method, mean.datasets
    ('sklearn, 0.5 s', 2)
    """

    method: str
    datasets: int
    auc: Estimate
    acc: Estimate
    spread: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """How much higher one method scores than another, averaged over their common datasets, on the same resamples.

    Attributes
    ----------
    method, other : str
        Titles of the two methods.
    datasets : int
        Number of datasets.
    auc, acc : Estimate
        Difference with its paired 95 % interval.
    flag : str
        The dataset, if it is not one of the paper's ten: such datasets are compared separately. Empty for a mean of
        the ten.

    Examples
    --------
    >>> from mmtk.runs import differences_of, rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> methods = [get_method("sklearn")]
    >>> entries = [plan_runs("stores", "out", methods=methods, seeds=[0], budget=s)[0][-1] for s in (0.5, 1)]
    >>> (difference,) = differences_of(rows_of(run_all(entries)))
    >>> difference.method, difference.other, difference.datasets
    ('sklearn, 1 s', 'sklearn, 0.5 s', 1)
    """

    method: str
    other: str
    datasets: int
    auc: Estimate
    acc: Estimate
    flag: str = ""


def rows_of(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return a row for each method and dataset with a finished run, in the order of the methods.

    Parameters
    ----------
    outcomes : iterable of Outcome
        As `mmtk.training.run_all` yields them.

    Returns
    -------
    list of Row

    Examples
    --------
    >>> from mmtk.runs import rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("sklearn")], seeds=[0], budget=0.5)
    >>> [(row.info.flag, row.method) for row in rows_of(run_all(entries))]
    [('dermamnist', 'sklearn, 0.5 s'), ('breastmnist', 'sklearn, 0.5 s')]
    """
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
    resampled = average_seeds([o.evaluation.resampled for o in outcomes if o.evaluation])
    auc, acc = mean_intervals([resampled], [entry.flag])
    spent = [o.result.seconds for o in outcomes if o.result and o.result.seconds is not None]
    return Row(
        entry.info, entry.title, result.images["test"], tests, auc, acc, resampled, figures,
        mean(spent) if spent else None, result.budget, row,
    )


def means_of(rows: Iterable[Row]) -> list[Mean]:
    """Return each method's mean over its datasets among the paper's ten; other datasets do not count.

    Parameters
    ----------
    rows : iterable of Row

    Returns
    -------
    list of Mean

    Examples
    --------
    >>> from mmtk.runs import means_of, rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> entries, _ = plan_runs("stores", "out", methods=[get_method("sklearn")], seeds=[0], budget=0.5)
    >>> [(mean.method, mean.datasets) for mean in means_of(rows_of(run_all(entries)))]
    [('sklearn, 0.5 s', 2)]
    """
    means = []
    for title, some in _by_method(row for row in rows if row.is_of_ten).items():
        auc, acc = mean_intervals([row.resampled for row in some.values()], [family_of(flag) for flag in some])
        seeds = set.intersection(*(set(row.tests) for row in some.values()))
        same = all(len(row.tests) == len(seeds) for row in some.values())
        by_seed = [Metrics(*map(mean, zip(*(row.tests[seed] for row in some.values()), strict=True))) for seed in seeds]
        means.append(Mean(title, len(some), auc, acc, _spread(by_seed) if same else None))
    return means


def differences_of(rows: Iterable[Row]) -> list[Difference]:
    """Return how each method differs from every earlier one: over the paper's ten, then on each other dataset.

    Parameters
    ----------
    rows : iterable of Row

    Returns
    -------
    list of Difference

    Examples
    --------
    >>> from mmtk.runs import differences_of, rows_of
    >>> from mmtk.training import get_method, plan_runs, run_all
    >>> methods = [get_method("sklearn")]
    >>> entries = [plan_runs("stores", "out", methods=methods, seeds=[0], budget=s)[0][-1] for s in (0.5, 1)]
    >>> [(difference.method, difference.other) for difference in differences_of(rows_of(run_all(entries)))]
    [('sklearn, 1 s', 'sklearn, 0.5 s')]
    """
    rows = list(rows)
    others = dict.fromkeys(row.info.flag for row in rows if not row.is_of_ten)
    differences = _differences([row for row in rows if row.is_of_ten])
    for flag in others:
        differences += _differences([row for row in rows if row.info.flag == flag], flag)
    return differences


def _differences(rows: list[Row], flag: str = "") -> list[Difference]:
    differences = []
    for (other, theirs), (title, mine) in combinations(_by_method(rows).items(), 2):
        both = [known for known in mine if known in theirs and _same_images(mine[known], theirs[known])]
        if both:
            parts = [mine[known].resampled - theirs[known].resampled for known in both]
            intervals = mean_intervals(parts, [family_of(known) for known in both])
            differences.append(Difference(title, other, len(both), *intervals, flag))
    return differences


def _same_images(row: Row, other: Row) -> bool:
    """Whether two rows have the same resamples; stores of two sizes may not, for example if one is partial."""
    return row.resampled.drawn == other.resampled.drawn


def table_facts(rows: Sequence[Row]) -> dict[str, Any]:
    """Return rows, means and differences as JSON values."""
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
    """Return the standard deviation of two or more figures, NaN if one is undefined."""
    return math.nan if any(map(math.isnan, values)) else stdev(values)
