"""What AUC and ACC hide: per-class figures, confusion matrix, weighted kappa, calibration."""

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
    """Figures of one class against the rest, or of one label; undefined figures are NaN.

    Attributes
    ----------
    name : str
    images : int
        Images of this class, or with this label.
    auc, recall, f1 : float
    balanced_accuracy : float
        Mean of recall and specificity.
    confusion : tuple of tuple of int
        ``((true negatives, false positives), (false negatives, true positives))``.
    calibration_error : float or None
        As in `Details`, of this class's or label's score.

    Examples
    --------
    >>> from mmtk.scoring import details
    >>> malignant, benign = details([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], "binary-class", ("malignant", "benign")).classes
    >>> benign.recall, benign.balanced_accuracy, benign.confusion
    (1.0, 0.75, ((1, 1), (0, 2)))
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
    """Detailed figures of predictions.

    Attributes
    ----------
    classes : tuple of ClassScores
    balanced_accuracy : float
        Mean recall over classes, NaN if a class never occurs; for multi-label tasks the labels' mean balanced accuracy.
    confusion : (k, k) int64 array or None
        Images by true class (rows) and predicted class (columns); None for multi-label tasks.
    kappa : float or None
        Cohen's kappa with quadratic weights, for ordinal tasks.
    calibration_error : float or None
        Expected calibration error in 15 bins of equal width: of the predicted class's score, or for multi-label tasks
        averaged over labels. None if the scores are not probabilities.

    Examples
    --------
    >>> from mmtk.scoring import details
    >>> result = details([0, 1, 2, 2], [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0]], "ordinal-regression", tuple("abc"))
    >>> round(result.balanced_accuracy, 3), round(result.kappa, 3), result.calibration_error
    (0.833, 0.8, 0.25)
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
    labels : array_like, shape (n,), (n, 1) or (n, l), int
        As `evaluate` takes them; a class may be absent.
    scores : array_like, shape (n, k), float
        As `evaluate` takes them.
    task : str or Task
        As MedMNIST names it.
    classes : tuple of str
        Names of the classes or labels.

    Returns
    -------
    Details

    Raises
    ------
    ScoreError
        If labels and scores do not match, a score is not finite, or `classes` has not one name per class or label.

    Examples
    --------
    >>> from mmtk.scoring import details
    >>> result = details([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], "binary-class", ("malignant", "benign"))
    >>> result.confusion
    array([[1, 1],
           [0, 2]])
    >>> [(row.name, row.recall) for row in result.classes]
    [('malignant', 0.5), ('benign', 1.0)]
    """
    from sklearn import metrics

    kind = Task(task)
    y, s = checked(labels, scores, kind)
    s, chosen = decide(s, kind)
    if len(classes) != s.shape[1]:
        raise ScoreError("classes", found=f"{len(classes)} names", expected=f"{s.shape[1]}, one per class or label")
    if kind is Task.MULTILABEL:
        truth, predicted = y == 1, chosen == 1
    else:
        every = np.arange(s.shape[1])
        truth, predicted = y == every, chosen[:, None] == every
    sums = kind is Task.MULTILABEL or np.allclose(s.sum(axis=1), 1, atol=1e-3)
    by_class = tuple(
        _of_class(name, actual, predicted, column, sums)
        for name, actual, predicted, column in zip(classes, truth.T, predicted.T, s.T, strict=True)
    )
    if kind is Task.MULTILABEL:
        balanced = float(np.mean([scores.balanced_accuracy for scores in by_class]))
        return Details(by_class, balanced, None, None, _calibration(s.ravel(), truth.ravel(), s.shape[1]))
    confusion = metrics.confusion_matrix(y[:, 0], chosen, labels=every)
    kappa = _quadratic_kappa(confusion) if kind is Task.ORDINAL else None
    error = _calibration(s[np.arange(len(s)), chosen], chosen == y[:, 0], 1) if sums else None
    balanced = float(np.mean([scores.recall for scores in by_class]))
    return Details(by_class, balanced, confusion, kappa, error)


def _quadratic_kappa(confusion: NDArray[np.int64]) -> float:
    """Cohen's kappa with quadratic weights over all grades, including absent ones; NaN for a single grade."""
    grades = np.arange(len(confusion))
    apart = np.subtract.outer(grades, grades) ** 2
    by_chance = (apart * np.outer(confusion.sum(axis=1), confusion.sum(axis=0))).sum() / confusion.sum()
    return float(1 - (apart * confusion).sum() / by_chance) if by_chance else float("nan")


def _of_class(
    name: str, truth: NDArray[np.bool_], predicted: NDArray[np.bool_], scores: NDArray[Any], probabilities: bool
) -> ClassScores:
    from sklearn import metrics

    confusion = metrics.confusion_matrix(truth, predicted, labels=[False, True])
    specificity, recall = (
        float(right / of) if of else float("nan")
        for right, of in zip(confusion.diagonal(), confusion.sum(axis=1), strict=True)
    )
    return ClassScores(
        name=name, images=int(truth.sum()), auc=auc_of(truth, scores), recall=recall,
        f1=float(metrics.f1_score(truth, predicted, zero_division=0)),
        balanced_accuracy=(recall + specificity) / 2,
        confusion=((int(confusion[0, 0]), int(confusion[0, 1])), (int(confusion[1, 0]), int(confusion[1, 1]))),
        calibration_error=_calibration(scores, truth, 1) if probabilities else None,
    )


def _calibration(scores: NDArray[Any], right: NDArray[np.bool_], columns: int) -> float | None:
    """Expected calibration error (Guo et al., ICML 2017), averaged over interleaved columns."""
    if scores.min() < 0 or scores.max() > 1:
        return None
    bins = np.minimum((scores * _BINS).astype(int), _BINS - 1) * columns + np.arange(len(scores)) % columns
    gaps = np.bincount(bins, scores - right.astype(float))
    return float(np.abs(gaps).sum() / len(scores))
