"""How far a score may be trusted: bootstrap intervals, of single predictions and of paired differences.

A resample draws images with replacement: whole subjects where they are known, for images of one subject are no
independent evidence; else within each class, so that no class is lost; for multi-label tasks plainly. Resamples depend
on the seed alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError
from mmtk.scoring._metrics import THRESHOLD, checked, evaluate

RESAMPLES = 2000
_BLOCK = 50  # resamples drawn at a time: what their counts take in memory
_WHOLE = 4  # figures of all classes together: AUC, ACC, balanced accuracy, kappa


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval it lies in at a confidence of 95 %; its ends are NaN where they cannot be told."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.3f} [unknown]"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ClassIntervals:
    """Figures of one class against the rest, or of one label of several."""

    auc: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Intervals:
    """Figures with bootstrap intervals.

    Attributes
    ----------
    auc, acc : Estimate
    balanced_accuracy : Estimate
        As `Details` has it.
    kappa : Estimate or None
        With quadratic weights, for ordinal tasks.
    classes : tuple of ClassIntervals
    resampled : {"subjects", "images of each class", "images"}
        What was drawn.
    resamples : int
    undefined : int
        Resamples that lost a class, so that they have no AUC; they are left out of its interval, which is unknown if
        they are more than half.
    """

    auc: Estimate
    acc: Estimate
    balanced_accuracy: Estimate
    kappa: Estimate | None
    classes: tuple[ClassIntervals, ...]
    resampled: str
    resamples: int
    undefined: int


@dataclass(frozen=True)
class Resampled:
    """Figures of predictions, and of each resample of them; two of the same images may be subtracted.

    Attributes
    ----------
    values : (figures,)
        AUC, ACC, balanced accuracy, kappa, then of each class its AUC, recall and F1.
    found : (resamples, figures)
        NaN where a resample has lost what a figure needs.
    resampled : what was drawn, as in `Intervals`
    """

    values: NDArray[np.float64]
    found: NDArray[np.float64]
    resampled: str

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.values - other.values, self.found - other.found, self.resampled)

    def intervals(self) -> Intervals:
        """95 % percentile intervals of all figures."""
        each = [_estimate(value, found) for value, found in zip(self.values, self.found.T, strict=True)]
        auc, acc, balanced, kappa = each[:_WHOLE]
        classes = tuple(ClassIntervals(*each[at : at + 3]) for at in range(_WHOLE, len(each), 3))
        undefined = int(np.isnan(self.found[:, 0]).sum())
        agreement = None if np.isnan(kappa.value) else kappa
        return Intervals(auc, acc, balanced, agreement, classes, self.resampled, len(self.found), undefined)


def resample(
    labels: ArrayLike,
    scores: ArrayLike,
    task: str | Task,
    subjects: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Resampled:
    """Score predictions and resamples of them; the same labels, subjects and seed give the same resamples.

    Parameters
    ----------
    labels, scores, task
        As `evaluate` takes them.
    subjects : (n,) array, optional
        Whom each image is of; whole subjects are then drawn, if there are two or more. Empty ones are subjects of
        their own.
    resamples : int
    seed : int

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, or if there is not a subject for each image.
    """
    if resamples < 1:
        raise ArgumentError("resamples", expected="at least 1", found=str(resamples))
    exact = evaluate(labels, scores, task)
    kind = Task(task)
    y, s = checked(labels, scores, kind)
    groups, resampled = _groups(y, kind, subjects)
    scorer = _Scorer(y, s, kind)
    found = np.empty((resamples, scorer.figures))

    def work(block: tuple[int, NDArray[np.int32]]) -> None:
        start, counts = block
        scorer.score(counts, found[start : start + len(counts)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(work, _draws(groups, len(y), resamples, seed)):
            pass
    values = np.empty((1, scorer.figures))
    scorer.score(np.ones((1, len(y)), np.int32), values)
    values[0, :2] = exact
    return Resampled(values[0], found, resampled)


def intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    task: str | Task,
    subjects: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """AUC, ACC and the figures of each class with 95 % percentile intervals of the bootstrap.

    Parameters and errors are those of `resample`.
    """
    return resample(labels, scores, task, subjects, resamples=resamples, seed=seed).intervals()


def paired_difference(
    labels: ArrayLike,
    scores: ArrayLike,
    others: ArrayLike,
    task: str | Task,
    subjects: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """How much higher `scores` score than `others` on the same images, from the same resamples for both.

    Parameters and errors are those of `resample`.
    """
    one, other = (
        resample(labels, each, task, subjects, resamples=resamples, seed=seed) for each in (scores, others)
    )
    return (one - other).intervals()


def mean_intervals(parts: Sequence[Resampled], groups: Sequence[str]) -> tuple[Estimate, Estimate]:
    """AUC and ACC, meaned over datasets, with 95 % intervals.

    Resamples of one dataset do not depend on those of another, but in a group (the three planes of the same volumes)
    the same subjects are drawn together.

    Parameters
    ----------
    parts : sequence of Resampled
        One for each dataset, with as many resamples.
    groups : sequence of str
        To which group each belongs.
    """
    names = sorted(set(groups))
    shuffled = []
    for part, group in zip(parts, groups, strict=True):
        # equal seeds draw alike from datasets of equal size: pair them at random
        order = np.random.Generator(np.random.Philox(key=names.index(group))).permutation(len(part.found))
        shuffled.append(part.found[order, :2])
    values, found = np.mean([part.values[:2] for part in parts], axis=0), np.mean(shuffled, axis=0)
    return _estimate(values[0], found[:, 0]), _estimate(values[1], found[:, 1])


def as_facts(value: Any) -> Any:
    """Results as JSON values, with None for what cannot be told."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_facts(asdict(value))
    if isinstance(value, dict):
        return {name: as_facts(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_facts(one) for one in value]
    if isinstance(value, np.ndarray):
        return as_facts(value.tolist())
    return None if isinstance(value, float) and np.isnan(value) else value


def _estimate(value: float, found: NDArray[np.float64]) -> Estimate:
    defined = found[~np.isnan(found)]
    if 2 * len(defined) < len(found):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))


def _groups(
    y: NDArray[np.int64], task: Task, subjects: ArrayLike | None
) -> tuple[list[list[NDArray[np.int64]]], str]:
    """Strata of units that are drawn together, each unit the rows it holds."""
    n = len(y)
    if subjects is not None:
        names = np.asarray(subjects)
        if names.shape != (n,):
            raise ScoreError("subjects", expected=f"one for each of {n} images", found=f"shape {names.shape}")
        empty = names == names.dtype.type()
        if not empty.all():
            _, number = np.unique(names, return_inverse=True)
            number = np.where(empty, n + np.arange(n), number)
            order = np.argsort(number, kind="stable")
            cuts = np.flatnonzero(np.diff(number[order])) + 1
            if len(cuts):  # a single subject says nothing of others
                return [np.split(order, cuts)], "subjects"
    rows = np.arange(n)[:, None]
    if task is Task.MULTILABEL:
        return [list(rows)], "images"
    return [list(rows[y[:, 0] == value]) for value in np.unique(y[:, 0])], "images of each class"


def _draws(
    groups: list[list[NDArray[np.int64]]], n: int, resamples: int, seed: int
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """How often each row comes in each resample, a block of resamples at a time."""
    stream = np.random.Philox(key=np.array([seed, 0], np.uint64))
    strata = []
    for units in groups:
        lengths = np.array([len(unit) for unit in units])
        strata.append((len(units), np.concatenate(units), lengths))
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        counts = np.zeros((count, n), np.int32)
        for size, rows, lengths in strata:
            words = stream.random_raw(count * size).reshape(count, size)
            chosen = ((words >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
            chosen += np.arange(count, dtype=np.uint64)[:, None] * np.uint64(size)
            times = np.bincount(chosen.ravel().astype(np.int64), minlength=count * size).reshape(count, size)
            counts[:, rows] = np.repeat(times, lengths, axis=1)
        yield start, counts


class _Scorer:
    """What of predictions does not change from resample to resample."""

    def __init__(self, y: NDArray[np.int64], s: NDArray[Any], task: Task) -> None:
        self._several, self._ordinal = task is Task.MULTILABEL, task is Task.ORDINAL
        if self._several:
            truth, given, columns = y == 1, s > THRESHOLD, s
        else:
            binary = task is Task.BINARY
            classes = np.arange(2 if binary else s.shape[1])
            chosen = (s[:, -1] > THRESHOLD).astype(np.int64) if binary else np.argmax(s, axis=-1)
            truth, given, columns = y == classes, chosen[:, None] == classes, s[:, -1:] if binary else s
        self._classes = truth.shape[1]
        self.figures = _WHOLE + 3 * self._classes
        order = np.argsort(columns, axis=0, kind="stable").T
        ranked = np.take_along_axis(columns.T, order, axis=1)
        new = np.ones(order.shape, np.bool_)
        new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
        positive = np.take_along_axis(truth.T[-columns.shape[1] :], order, axis=1)
        self._areas = np.ascontiguousarray(order, np.int32), new, np.ascontiguousarray(positive)
        parts = [truth, given, truth & given]
        if self._ordinal:
            parts.append((y - chosen[:, None]) ** 2)
        self._sums = np.concatenate(parts, axis=1).astype(np.float64)

    def score(self, counts: NDArray[np.int32], out: NDArray[np.float64]) -> None:
        """Fill the figures (resamples, figures) of resamples that take each row so many times."""
        from mmtk.scoring._resampling import areas

        aucs = np.empty((len(counts), len(self._areas[0])))
        areas(counts, *self._areas, aucs)
        sums, k = counts @ self._sums, self._classes
        total = counts.sum(axis=1, dtype=np.int64)[:, None].astype(np.float64)
        truth, given, both = sums[:, :k], sums[:, k : 2 * k], sums[:, 2 * k : 3 * k]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall = both / truth
            f1 = np.where(truth + given > 0, 2 * both / (truth + given), 0.0)
            right = (total - truth - given + 2 * both) / k if self._several else both
            specificity = (total - truth - given + both) / (total - truth)
            out[:, 2] = ((recall + specificity) / 2 if self._several else recall).mean(axis=1)
            out[:, 3] = np.nan
            if self._ordinal:
                apart = np.subtract.outer(np.arange(k), np.arange(k)) ** 2
                by_chance = ((truth @ apart) * given).sum(axis=1) / total[:, 0]
                out[:, 3] = 1 - sums[:, -1] / by_chance
        out[:, 0] = aucs.mean(axis=1)
        out[:, 1] = right.sum(axis=1) / total[:, 0]
        out[:, _WHOLE::3], out[:, _WHOLE + 1 :: 3], out[:, _WHOLE + 2 :: 3] = aucs, recall, f1
