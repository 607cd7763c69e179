"""AUC and ACC to the last bit as ``medmnist.Evaluator`` computes them, refusing what it swallows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError

THRESHOLD = 0.5


class Metrics(NamedTuple):
    """Area under the ROC curve and accuracy, both in [0, 1]."""

    auc: float
    acc: float


def evaluate(labels: ArrayLike, scores: ArrayLike, task: str) -> Metrics:
    """Score predictions.

    AUC is the unweighted mean over classes, one against the rest, or over labels; in a binary task the last column
    counts. ACC takes the class with the highest score; in binary and multi-label tasks a score above 0.5 is positive,
    and multi-label ACC is the mean over labels. Definitions of ``medmnist.Evaluator``, v2 and later.

    Parameters
    ----------
    labels : (n,), (n, 1) or, for multi-label tasks, (n, l) integers
    scores : (n, k) floats
        One column a class or label; for binary tasks also ``(n,)`` or ``(n, 1)``.
    task : {"binary-class", "multi-class", "multi-label, binary-class", "ordinal-regression"}

    Returns
    -------
    Metrics

    Raises
    ------
    ScoreError
        If shapes do not fit, a score is not finite, a label lies outside the columns, or a class that is to be told
        from the rest has no image or nothing but images, so that its AUC is not defined.
    ArgumentError
        If the task is unknown.
    """
    try:
        kind = Task(task)
    except ValueError:
        raise ArgumentError("task", expected=", ".join(Task), found=repr(task)) from None
    truth, values = _fit(np.asarray(labels), np.asarray(scores), kind)
    return Metrics(_auc(truth, values, kind), _acc(truth, values, kind))


def _fit(labels: NDArray[Any], scores: NDArray[Any], kind: Task) -> tuple[NDArray[Any], NDArray[Any]]:
    """Check both and bring them to one column a label and one a score."""
    labels = labels[:, None] if labels.ndim == 1 else labels
    scores = scores[:, None] if scores.ndim == 1 else scores
    if labels.ndim != 2 or scores.ndim != 2 or len(labels) != len(scores) or not len(labels):
        found = f"labels {labels.shape} and scores {scores.shape}"
        raise ScoreError("scores", expected="one row of scores for each row of labels", found=found)
    if scores.dtype.kind not in "fiu" or labels.dtype.kind not in "biu":
        raise ScoreError("scores", expected="integer labels and float scores", found=f"{labels.dtype}, {scores.dtype}")
    columns = scores.shape[1]
    if kind is Task.MULTILABEL:
        fits, top = labels.shape[1] == columns, 1
    elif kind is Task.BINARY:
        fits, top = labels.shape[1] == 1 and columns in (1, 2), 1
    else:
        fits, top = labels.shape[1] == 1 and columns >= 2, columns - 1
    if not fits:
        found = f"labels {labels.shape} and scores {scores.shape}"
        raise ScoreError("scores", expected=f"a column for each class or label of a {kind.value} task", found=found)
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        raise ScoreError("scores", expected="numbers", found=f"{scores[bad[0]].tolist()} in row {bad[0]}")
    bad = np.flatnonzero(((labels < 0) | (labels > top)).any(axis=1))
    if len(bad):
        found = f"{labels[bad[0]].tolist()} in row {bad[0]}"
        raise ScoreError("labels", expected=f"values from 0 to {top}", found=found)
    return labels, scores


def _auc(labels: NDArray[Any], scores: NDArray[Any], kind: Task) -> float:
    if kind is Task.BINARY:
        return _ranked(labels[:, 0], scores[:, -1], "the positive class")
    total = 0.0
    for column in range(scores.shape[1]):
        truth = labels[:, column] if kind is Task.MULTILABEL else (labels[:, 0] == column).astype(float)
        total += _ranked(truth, scores[:, column], f"{'label' if kind is Task.MULTILABEL else 'class'} {column}")
    return total / scores.shape[1]


def _ranked(truth: NDArray[Any], scores: NDArray[Any], what: str) -> float:
    from sklearn.metrics import roc_auc_score

    if truth.min() == truth.max():
        found = "nothing but images of it" if truth.min() else "no image of it"
        raise ScoreError("labels", expected=f"images of {what} and others, or its AUC is not defined", found=found)
    return float(roc_auc_score(truth, scores))


def _acc(labels: NDArray[Any], scores: NDArray[Any], kind: Task) -> float:
    if kind is Task.MULTILABEL:
        hits = (scores > THRESHOLD) == labels
        return float(sum(float(np.mean(hits[:, column])) for column in range(hits.shape[1])) / hits.shape[1])
    if kind is Task.BINARY:
        return float(np.mean((scores[:, -1] > THRESHOLD) == labels[:, 0]))
    return float(np.mean(np.argmax(scores, axis=-1) == labels[:, 0]))
