"""How far a score may be trusted: bootstrap intervals, DeLong's for the binary AUC, and paired differences.

A resample draws images with replacement: whole subjects where they are known, for images of one subject are no
independent evidence; else within each class, so that no class is lost; for multi-label tasks plainly. Resamples depend
on the seed alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError
from mmtk.scoring._metrics import THRESHOLD, checked, evaluate

RESAMPLES = 2000
_BLOCK = 50  # resamples drawn at a time: what their counts take in memory


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval it lies in at a confidence of 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Intervals:
    """AUC and ACC with bootstrap intervals.

    Attributes
    ----------
    auc, acc : Estimate
    resampled : {"subjects", "images of each class", "images"}
        What was drawn.
    resamples : int
    undefined : int
        Resamples that lost a class, so that they have no AUC; they are left out of its interval.
    """

    auc: Estimate
    acc: Estimate
    resampled: str
    resamples: int
    undefined: int


def intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    task: str | Task,
    subjects: ArrayLike | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """AUC and ACC with 95 % percentile intervals of the bootstrap.

    Parameters
    ----------
    labels, scores, task
        As `evaluate` takes them.
    subjects : (n,) array, optional
        Whom each image is of; whole subjects are then drawn. Empty ones are subjects of their own.
    resamples : int
    seed : int

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, or if there is not a subject for each image.
    """
    (found,), resampled = _resampled(labels, [scores], task, subjects, resamples, seed)
    exact = evaluate(labels, scores, task)
    undefined = int(np.isnan(found[:, 0]).sum())
    auc, acc = (_estimate(value, found[:, i]) for i, value in enumerate(exact))
    return Intervals(auc, acc, resampled, resamples, undefined)


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

    Parameters and errors are those of `intervals`.
    """
    (mine, theirs), resampled = _resampled(labels, [scores, others], task, subjects, resamples, seed)
    exact = np.subtract(evaluate(labels, scores, task), evaluate(labels, others, task))
    found = mine - theirs
    auc, acc = (_estimate(float(value), found[:, i]) for i, value in enumerate(exact))
    return Intervals(auc, acc, resampled, resamples, int(np.isnan(found[:, 0]).sum()))


def delong(labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """A binary AUC with DeLong's 95 % interval.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837-845, 1988, by the midranks of Sun and Xu, IEEE Signal
    Processing Letters 21, 1389-1393, 2014. The interval is cut at 0 and 1.

    Parameters
    ----------
    labels : (n,) or (n, 1)
    scores : (n,), (n, 1) or (n, 2)

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, or with fewer than two images of a class.
    """
    (area,), covariance = _delong(labels, [scores])
    return _normal(area, float(covariance[0, 0]), 0.0, 1.0)


def delong_difference(labels: ArrayLike, scores: ArrayLike, others: ArrayLike) -> tuple[Estimate, float]:
    """How much higher a binary AUC is than another on the same images: 95 % interval and two-sided p, by DeLong.

    Parameters and errors are those of `delong`.
    """
    (mine, theirs), covariance = _delong(labels, [scores, others])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = mine - theirs
    spread = np.sqrt(max(variance, 0.0))
    p = 1.0 if difference == 0 else 0.0 if spread == 0 else 2 * NormalDist().cdf(-abs(difference) / spread)
    return _normal(difference, variance, -1.0, 1.0), p


def _delong(labels: ArrayLike, predictions: list[ArrayLike]) -> tuple[list[float], NDArray[np.float64]]:
    """AUCs and their covariance."""
    from scipy.stats import rankdata

    parts, areas = [], []
    positive = negative = 0
    for scores in predictions:
        y, s = checked(labels, scores, Task.BINARY)
        ones, zeros = s[y[:, 0] == 1, -1], s[y[:, 0] == 0, -1]
        positive, negative = len(ones), len(zeros)
        if min(positive, negative) < 2:
            raise ScoreError("labels", expected="two images of each class or more", found=f"{positive} and {negative}")
        together = rankdata(np.concatenate([ones, zeros]))
        above = (together[:positive] - rankdata(ones)) / negative  # for each positive, the share of negatives below
        below = 1 - (together[positive:] - rankdata(zeros)) / positive
        areas.append(float(above.mean()))
        parts.append((above, below))
    covariance = sum(
        np.atleast_2d(np.cov(np.stack([part[i] for part in parts]))) / n for i, n in enumerate((positive, negative))
    )
    return areas, np.asarray(covariance)


def _normal(value: float, variance: float, least: float, most: float) -> Estimate:
    reach = NormalDist().inv_cdf(0.975) * float(np.sqrt(max(variance, 0.0)))
    return Estimate(value, max(value - reach, least), min(value + reach, most))


def _estimate(value: float, found: NDArray[np.float64]) -> Estimate:
    defined = found[~np.isnan(found)]
    if not len(defined):
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(defined, (0.025, 0.975))
    return Estimate(float(value), float(low), float(high))


# -------------------------------------------------------------------------- resampling


def _resampled(
    labels: ArrayLike, predictions: list[ArrayLike], task: str | Task, subjects: ArrayLike | None, resamples: int,
    seed: int,
) -> tuple[list[NDArray[np.float64]], str]:
    """AUC and ACC of each resample, (resamples, 2), of each of the predictions; and what was drawn."""
    if resamples < 1:
        raise ArgumentError("resamples", expected="at least 1", found=str(resamples))
    kind = Task(task)
    prepared = [_prepare(*checked(labels, scores, kind), kind) for scores in predictions]
    y, _ = checked(labels, predictions[0], kind)
    groups, resampled = _groups(y, kind, subjects)
    found = [np.empty((resamples, 2)) for _ in predictions]

    from mmtk.scoring._resampling import score

    def work(block: tuple[int, NDArray[np.int32]]) -> None:
        start, counts = block
        for one, out in zip(prepared, found, strict=True):
            score(counts, *one, out[start : start + len(counts)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(work, _draws(groups, len(y), resamples, seed)):
            pass
    return found, resampled


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


def _prepare(
    y: NDArray[np.int64], s: NDArray[Any], task: Task
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64], int]:
    """For each column of an AUC: rows from the lowest score up, where a new score begins, which are positive.

    And of each row how much of it was right, and of how much.
    """
    if task is Task.MULTILABEL:
        truth, columns, right = y == 1, s, (y == (s > THRESHOLD)).sum(axis=1)
    elif task is Task.BINARY:
        truth, columns = y == 1, s[:, -1:]
        right = (y[:, 0] == (s[:, -1] > THRESHOLD)).astype(np.int64)
    else:
        truth, columns = y == np.arange(s.shape[1]), s
        right = (y[:, 0] == np.argmax(s, axis=-1)).astype(np.int64)
    order = np.argsort(columns, axis=0, kind="stable").T
    ranked = np.take_along_axis(columns.T, order, axis=1)
    new = np.ones(order.shape, np.bool_)
    new[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    positive = np.take_along_axis(truth.T, order, axis=1)
    parts = truth.shape[1] if task is Task.MULTILABEL else 1
    return np.ascontiguousarray(order, np.int32), new, np.ascontiguousarray(positive), right.astype(np.int64), parts
