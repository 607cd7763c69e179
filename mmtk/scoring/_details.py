"""What AUC and ACC hide: figures of each class or label, confusion, agreement of grades, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ScoreError
from mmtk.scoring._metrics import auc_of, checked, decide

_BINS = 15


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest, or one label of several; figures that are undefined are NaN.

    Attributes
    ----------
    balanced_accuracy : mean of recall and specificity
    confusion : images without and with it (rows) that were not and were given it (columns)
    calibration_error : as `Details` has it, of the score of this class or label
    """

    name: str
    images: int
    auc: float
    recall: float
    f1: float
    balanced_accuracy: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    calibration_error: float | None


@dataclass(frozen=True)
class Details:
    """Scores in detail.

    Attributes
    ----------
    classes : tuple of ClassScores
    balanced_accuracy : float
        Mean recall of the classes, NaN if one never occurs; for multi-label tasks the mean of the labels' balanced
        accuracies.
    confusion : (k, k) int array or None
        Images of a class (rows) that were given to a class (columns); None for multi-label tasks.
    kappa : float or None
        Cohen's kappa with quadratic weights, for ordinal tasks.
    calibration_error : float or None
        Expected calibration error in 15 bins of equal width: of the score of the class that was chosen, or for
        multi-label tasks of each label's score, averaged. None where scores are no probabilities.
    """

    classes: tuple[ClassScores, ...]
    balanced_accuracy: float
    confusion: NDArray[np.int64] | None
    kappa: float | None
    calibration_error: float | None


def details(labels: ArrayLike, scores: ArrayLike, task: str | Task, classes: tuple[str, ...]) -> Details:
    """Score predictions class by class.

    Parameters
    ----------
    labels, scores, task
        As `evaluate` takes them.
    classes : tuple of str
        Names of the classes or labels.

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, but for a class that never occurs; or if there is not a name for each class.
    """
    from sklearn import metrics

    kind = Task(task)
    y, s = checked(labels, scores, kind)
    s, chosen = decide(s, kind)
    if len(classes) != s.shape[1]:
        raise ScoreError("classes", expected=f"{s.shape[1]} names", found=str(len(classes)))
    if kind is Task.MULTILABEL:
        truth, given = y == 1, chosen == 1
    else:
        every = np.arange(s.shape[1])
        truth, given = y == every, chosen[:, None] == every
    sums = kind is Task.MULTILABEL or np.allclose(s.sum(axis=1), 1, atol=1e-3)
    each = tuple(
        _of_class(name, one, mine, column, sums)
        for name, one, mine, column in zip(classes, truth.T, given.T, s.T, strict=True)
    )
    if kind is Task.MULTILABEL:
        balanced = float(np.mean([one.balanced_accuracy for one in each]))
        return Details(each, balanced, None, None, _calibration(s.ravel(), truth.ravel(), s.shape[1]))
    confusion = metrics.confusion_matrix(y[:, 0], chosen, labels=every)
    kappa = _quadratic_kappa(confusion) if kind is Task.ORDINAL else None
    error = _calibration(s[np.arange(len(s)), chosen], chosen == y[:, 0], 1) if sums else None
    balanced = float(np.mean([one.recall for one in each]))
    return Details(each, balanced, confusion, kappa, error)


def _quadratic_kappa(confusion: NDArray[np.int64]) -> float:
    """Cohen's kappa with quadratic weights over all grades, those that nobody has among them; NaN for a single one."""
    grades = np.arange(len(confusion))
    apart = np.subtract.outer(grades, grades) ** 2
    by_chance = (apart * np.outer(confusion.sum(axis=1), confusion.sum(axis=0))).sum() / confusion.sum()
    return float(1 - (apart * confusion).sum() / by_chance) if by_chance else float("nan")


def _of_class(
    name: str, truth: NDArray[np.bool_], given: NDArray[np.bool_], scores: NDArray[Any], probabilities: bool
) -> ClassScores:
    from sklearn import metrics

    confusion = metrics.confusion_matrix(truth, given, labels=[False, True])
    specificity, recall = (
        float(right / of) if of else float("nan")
        for right, of in zip(confusion.diagonal(), confusion.sum(axis=1), strict=True)
    )
    return ClassScores(
        name=name, images=int(truth.sum()), auc=auc_of(truth, scores), recall=recall,
        f1=float(metrics.f1_score(truth, given, zero_division=0)),
        balanced_accuracy=(recall + specificity) / 2,
        confusion=((int(confusion[0, 0]), int(confusion[0, 1])), (int(confusion[1, 0]), int(confusion[1, 1]))),
        calibration_error=_calibration(scores, truth, 1) if probabilities else None,
    )


def _calibration(scores: NDArray[Any], right: NDArray[np.bool_], columns: int) -> float | None:
    """Expected calibration error (Guo et al., ICML 2017), averaged over columns that lie side by side."""
    if scores.min() < 0 or scores.max() > 1:
        return None
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1) * columns + np.arange(len(scores)) % columns
    gaps = np.bincount(bins, scores - right.astype(float))
    return float(np.abs(gaps).sum() / len(scores))
