"""How far a score may be trusted: bootstrap intervals, of single predictions and of paired differences.

A resample draws images with replacement: whole subjects where they are known, for images of one subject are no
independent evidence. It draws from all of them, so that it has its own number of images of each class as another test
set would: drawn within each class, 95 % intervals of ACC hold the truth of BreastMNIST's test images in 87 % of test
sets only, and those of the AUC are no better for it (82 % within classes and 85 % plainly where 5 % of 156 images are
positive, 94 % both ways where half of 60 are). A resample that has lost a class has no AUC: it is counted and left out.
Resamples depend on the seed alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError
from mmtk.scoring._metrics import checked, decide, evaluate, shown

RESAMPLES = 2000
_BLOCK = 50  # resamples drawn at a time: what their counts take in memory
_WHOLE = 4  # figures of all classes together: AUC, ACC, balanced accuracy, kappa


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval it lies in at a confidence of 95 %; each is NaN where it is undefined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return shown(self.value)
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
    resampled : {"subjects", "images"}
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
    """Figures of predictions, and of each resample of them; two whose resamples drew the same may be subtracted.

    Attributes
    ----------
    values : (figures,)
        AUC, ACC, balanced accuracy, kappa, then of each class its AUC, recall and F1.
    found : (resamples, figures)
        NaN where a resample has lost what a figure needs.
    resampled : what was drawn, as in `Intervals`
    drawn : str
        Equal where resample after resample drew the same subjects, or images; see `draw_of`.
    """

    values: NDArray[np.float64]
    found: NDArray[np.float64]
    resampled: str
    drawn: str

    def __sub__(self, other: Resampled) -> Resampled:
        check_paired([self, other])
        return Resampled(self.values - other.values, self.found - other.found, self.resampled, self.drawn)

    def intervals(self) -> Intervals:
        """95 % percentile intervals of all figures."""
        each = [_estimate(value, found) for value, found in zip(self.values, self.found.T, strict=True)]
        auc, acc, balanced, kappa = each[:_WHOLE]
        classes = tuple(ClassIntervals(*each[at : at + 3]) for at in range(_WHOLE, len(each), 3))
        undefined = int(np.isnan(self.found[:, 0]).sum())
        agreement = None if np.isnan(kappa.value) else kappa
        return Intervals(auc, acc, balanced, agreement, classes, self.resampled, len(self.found), undefined)


def resample(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, subjects: ArrayLike | None = None, *,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Resampled:
    """Score predictions and resamples of them; the same labels, subjects and seed give the same resamples.

    Parameters
    ----------
    labels, scores, task
        As `evaluate` takes them.
    subjects : (n,) array, optional
        Whom each image is of; whole subjects are then drawn, if there are two or more. An empty text, None or NaN
        stands for a subject of its own; 0 is a subject like others.
    resamples : int
    seed : int

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, but for a class that never occurs: figures that need it are NaN; or if there is
        not a subject for each image.
    """
    if resamples < 1:
        raise ArgumentError("resamples", expected="at least 1", found=str(resamples))
    exact = evaluate(labels, scores, task, allow_undefined=True)
    kind = Task(task)
    y, s = checked(labels, scores, kind)
    units, resampled, drawn = _units(y, subjects, resamples, seed)
    scorer = _Scorer(y, s, kind)
    found = np.empty((resamples, scorer.figures))

    def work(block: tuple[int, NDArray[np.int32]]) -> None:
        start, counts = block
        scorer.score(counts, found[start : start + len(counts)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(work, _draws(units, len(y), resamples, seed)):
            pass
    values = np.empty((1, scorer.figures))
    scorer.score(np.ones((1, len(y)), np.int32), values)
    values[0, :2] = exact
    return Resampled(values[0], found, resampled, drawn)


def draw_of(
    labels: NDArray[Any], subjects: ArrayLike | None, *, resamples: int = RESAMPLES, seed: int = 0
) -> str:
    """What `Resampled.drawn` is for such labels (n, l) and subjects: a digest of the units that are drawn.

    Where every image has a subject, these are the subjects, so that two datasets of the same ones agree; else the
    images, told by their labels.
    """
    return _units(labels, subjects, resamples, seed)[2]


def check_paired(parts: Sequence[Resampled]) -> None:
    """Refuse figures whose resamples did not draw the same, so that they cannot be taken together one by one.

    Raises
    ------
    ScoreError
        If they did not.
    """
    if len({(part.drawn, part.found.shape) for part in parts}) > 1:
        raise ScoreError("resamples", expected="resamples of the same subjects or images", found="others")


def intervals(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, subjects: ArrayLike | None = None, *,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Intervals:
    """AUC, ACC and the figures of each class with 95 % percentile intervals of the bootstrap.

    Parameters and errors are those of `resample`.
    """
    return resample(labels, scores, task, subjects, resamples=resamples, seed=seed).intervals()


def paired_difference(
    labels: ArrayLike, scores: ArrayLike, others: ArrayLike, task: str | Task, subjects: ArrayLike | None = None, *,
    resamples: int = RESAMPLES, seed: int = 0,
) -> Intervals:
    """How much higher `scores` score than `others` on the same images, from the same resamples for both.

    Parameters and errors are those of `resample`.
    """
    one, other = (
        resample(labels, each, task, subjects, resamples=resamples, seed=seed) for each in (scores, others)
    )
    return (one - other).intervals()


def mean_intervals(parts: Sequence[Resampled], groups: Sequence[str]) -> tuple[Estimate, Estimate]:
    """AUC and ACC, averaged over datasets, with 95 % intervals.

    Resamples of one dataset do not depend on those of another, but in a group (the three planes of the same volumes)
    the same subjects are drawn together, if the datasets have the same ones; where they have not, they are drawn
    independently there too.

    Parameters
    ----------
    parts : sequence of Resampled
        One for each dataset, with as many resamples.
    groups : sequence of str
        To which group each belongs.

    Raises
    ------
    ScoreError
        If they have not as many resamples.
    """
    counts = {len(part.found) for part in parts}
    if len(counts) > 1:
        raise ScoreError("resamples", expected="as many of each dataset", found=" and ".join(map(str, sorted(counts))))
    draws = [(group, part.drawn) for part, group in zip(parts, groups, strict=True)]
    together = sorted(set(draws))
    shuffled = []
    for part, draw in zip(parts, draws, strict=True):
        # equal seeds draw alike from datasets of equal size: pair them at random
        order = np.random.Generator(np.random.Philox(key=together.index(draw))).permutation(len(part.found))
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
    if np.isnan(value) or 2 * len(defined) < len(found):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))


def _units(
    y: NDArray[Any], subjects: ArrayLike | None, resamples: int, seed: int
) -> tuple[list[NDArray[np.int64]], str, str]:
    """What is drawn, each unit the rows it holds; of what kind it is; and a digest of it and of the draws."""
    n = len(y)
    rows = [np.array([row]) for row in range(n)]
    kind, told = "images", f"{y.shape} {y.astype(np.int64).tolist()}"
    if subjects is not None:
        names, known = _subjects(subjects, n)
        numbers = n + np.arange(n)
        distinct, numbers[known] = np.unique(names[known], return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        cuts = np.flatnonzero(np.diff(numbers[order])) + 1
        if known.any() and len(cuts):  # a single subject says nothing of others
            rows, kind = np.split(order, cuts), "subjects"
            told = f"{distinct.tolist()} {'' if known.all() else told}"
    digest = hashlib.sha256(f"{resamples} {seed} {kind} {told}".encode()).hexdigest()
    return rows, kind, digest


def _subjects(subjects: ArrayLike, n: int) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Subjects as texts, and which of them are known."""
    try:
        names = np.asarray(subjects)
    except ValueError:  # rows of several lengths
        names = np.empty(0, object)
    if names.shape != (n,):
        raise ScoreError("subjects", expected=f"one for each of {n} images", found=f"shape {names.shape}")
    values = names.tolist()
    known = np.array([value is not None and value == value and value not in ("", b"") for value in values], np.bool_)
    texts = [value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value) for value in values]
    return np.array(texts), known


def _draws(
    units: list[NDArray[np.int64]], n: int, resamples: int, seed: int
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """How often each row comes in each resample, a block of resamples at a time."""
    stream = np.random.Philox(key=np.array([seed, 0], np.uint64))
    size, rows, lengths = len(units), np.concatenate(units), np.array([len(unit) for unit in units])
    for start in range(0, resamples, _BLOCK):
        count = min(_BLOCK, resamples - start)
        words = stream.random_raw(count * size).reshape(count, size)
        chosen = ((words >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
        chosen += np.arange(count, dtype=np.uint64)[:, None] * np.uint64(size)
        times = np.bincount(chosen.ravel().astype(np.int64), minlength=count * size).reshape(count, size)
        counts = np.empty((count, n), np.int32)
        counts[:, rows] = np.repeat(times, lengths, axis=1)
        yield start, counts


class _Scorer:
    """What of predictions does not change from resample to resample."""

    def __init__(self, y: NDArray[np.int64], s: NDArray[Any], task: Task) -> None:
        self._several, self._ordinal = task is Task.MULTILABEL, task is Task.ORDINAL
        columns = s[:, -1:] if task is Task.BINARY else s
        s, chosen = decide(s, task)
        if self._several:
            truth, given = y == 1, chosen == 1
        else:
            classes = np.arange(s.shape[1])
            truth, given = y == classes, chosen[:, None] == classes
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
