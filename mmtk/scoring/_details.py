"""What AUC and ACC hide: figures of each class or label, confusion, agreement of grades, calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ScoreError
from mmtk.scoring._metrics import THRESHOLD, checked, evaluate

_BINS = 15


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest, or one label of several."""

    name: str
    images: int
    auc: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Details:
    """Scores in detail.

    Attributes
    ----------
    classes : tuple of ClassScores
    balanced_accuracy : float or None
        Mean recall of the classes; None for multi-label tasks.
    confusion : (k, k) int array or None
        Images of a class (rows) that were given to a class (columns); None for multi-label tasks.
    kappa : float or None
        Cohen's kappa with quadratic weights, for ordinal tasks.
    calibration_error : float or None
        Expected calibration error in 15 bins of equal width: of the score of the class that was chosen, or for
        multi-label tasks of each label's score, meaned. None where scores are no probabilities.
    """

    classes: tuple[ClassScores, ...]
    balanced_accuracy: float | None
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
        For the reasons of `evaluate`, or if there is not a name for each class.
    """
    from sklearn import metrics

    evaluate(labels, scores, task)  # refuses what cannot be scored
    kind = Task(task)
    y, s = checked(labels, scores, kind)
    if kind is Task.BINARY:
        positive = s[:, -1]
        s = np.stack([1 - positive, positive], axis=1)
    if len(classes) != s.shape[1]:
        raise ScoreError("classes", expected=f"{s.shape[1]} names", found=str(len(classes)))
    if kind is Task.MULTILABEL:
        truth, given = y == 1, s > THRESHOLD
    else:
        # a score of one half is no positive, as in `evaluate`
        chosen = (s[:, 1] > THRESHOLD).astype(int) if kind is Task.BINARY else np.argmax(s, axis=1)
        every = np.arange(s.shape[1])
        truth, given = y == every, chosen[:, None] == every
    each = tuple(
        ClassScores(
            name, int(one.sum()), float(metrics.roc_auc_score(one, column)),
            float(metrics.recall_score(one, mine)), float(metrics.f1_score(one, mine, zero_division=0)),
        )
        for name, one, mine, column in zip(classes, truth.T, given.T, s.T, strict=True)
    )
    if kind is Task.MULTILABEL:
        return Details(each, None, None, None, _calibration(s.ravel(), truth.ravel(), s.shape[1]))
    confusion = metrics.confusion_matrix(y[:, 0], chosen, labels=every)
    kappa = metrics.cohen_kappa_score(y[:, 0], chosen, weights="quadratic") if kind is Task.ORDINAL else None
    sums = np.allclose(s.sum(axis=1), 1, atol=1e-3)
    error = _calibration(s[np.arange(len(s)), chosen], chosen == y[:, 0], 1) if sums else None
    return Details(each, float(np.mean([c.recall for c in each])), confusion, kappa and float(kappa), error)


def _calibration(scores: NDArray[Any], right: NDArray[np.bool_], columns: int) -> float | None:
    """Expected calibration error (Guo et al., ICML 2017), meaned over columns that lie side by side."""
    if scores.min() < 0 or scores.max() > 1:
        return None
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1) * columns + np.arange(len(scores)) % columns
    gaps = np.bincount(bins, scores - right.astype(float))
    return float(np.abs(gaps).sum() / len(scores))
