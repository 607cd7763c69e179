"""AUC and ACC, equal to the last bit to ``medmnist.Evaluator`` (3.0.2) wherever that gives a meaningful number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.display import facts_table
from mmtk.errors import ScoreError, UnknownNameError

_THRESHOLD = 0.5
TOLERANCE = 1e-6  # by which figures of the same predictions may differ from machine to machine
_SHOWN = 3  # bad rows named in an error


class Metrics(NamedTuple):
    """Area under the ROC curve and accuracy, both in [0, 1]; an AUC that is undefined is NaN."""

    auc: float
    acc: float

    def __str__(self) -> str:
        return f"AUC {shown(self.auc)} ACC {shown(self.acc)}"

    def _repr_html_(self) -> str:
        return facts_table("Scores", {"AUC": shown(self.auc), "ACC": shown(self.acc)})

    def agrees(self, other: Metrics, within: float = TOLERANCE) -> bool:
        """Whether these are the figures of the same predictions; undefined ones agree with each other alone."""
        return bool(np.allclose(self, other, rtol=0, atol=within, equal_nan=True))


def shown(value: float) -> str:
    """A figure to three decimals, or "undefined"."""
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def evaluate(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, *, allow_undefined: bool = False
) -> Metrics:
    """Score predictions by MedMNIST's definitions.

    Parameters
    ----------
    labels : array_like, shape (n,) or (n, 1); (n, l) for the multi-label task
        Whole numbers: the class, or 0 and 1.
    scores : array_like, shape (n, k)
        A score for each class (k classes), each label (k = l), or for the binary task (n,), (n, 1) or (n, 2), where the
        last column is the score of class 1. Any finite scale, but binary and multi-label scores are positive above 0.5.
    task : str or Task
        As MedMNIST names it: ``binary-class``, ``multi-class``, ``multi-label, binary-class``, ``ordinal-regression``.
    allow_undefined : bool
        Give NaN as AUC where a class never occurs, instead of an error: for a part of a dataset.

    Returns
    -------
    Metrics
        Multi-class and ordinal AUC is the unweighted mean of one-versus-rest AUCs, multi-label AUC and ACC are means
        over labels.

    Raises
    ------
    ScoreError
        On scores that are not finite, on shapes that do not fit, on labels no column stands for, and when a class (or
        one value of a binary label) never occurs, where the AUC is undefined, unless that is allowed; the original
        gives NaN there with scikit-learn from 1.6 on and fails before.
    ArgumentError
        On an unknown task.
    """
    kind = _task(task)
    y, s = checked(labels, scores, kind)
    if not allow_undefined:
        check_present(y, s, kind)
    if kind is Task.MULTILABEL:
        return _multilabel(y, s)
    return _binary(y[:, 0], s[:, -1]) if kind is Task.BINARY else _multiclass(y[:, 0], s)


def checked(labels: ArrayLike, scores: ArrayLike, task: str | Task) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Labels (n, l) and scores (n, k) as arrays: as many rows, and a column for what every label says.

    Raises
    ------
    ScoreError
        If they are not.
    """
    kind = _task(task)
    y, s = _labels(labels, kind), _scores(scores, kind)
    if len(y) != len(s):
        raise ScoreError("scores", expected=f"{len(y)} rows, one for each label", found=f"{len(s)}")
    if len(y) == 0:
        raise ScoreError("labels", expected="at least one row", found="none")
    if kind is Task.MULTILABEL and y.shape != s.shape:
        raise ScoreError("scores", expected=f"{y.shape[1]} columns, one for each label", found=f"{s.shape[1]}")
    for what, column, values in _columns(y, s, kind):
        outside = np.nonzero((column < 0) | (column >= values))[0]
        if len(outside):
            found = f"{column[outside[0]]} in {_rows(outside)}"
            if kind not in (Task.MULTILABEL, Task.BINARY) and column.min() >= 0:  # as likely a column that lacks
                found = f"{values} columns, and among labels {found}"
                raise ScoreError("scores", expected="a column for each class that labels name", found=found)
            raise ScoreError(what, expected=f"values 0 to {values - 1}, one for each score column", found=found)
    return y, s


def decide(scores: NDArray[Any], task: str | Task) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Scores with a column for each class, and what they choose.

    Parameters
    ----------
    scores : (n, k), as `checked` gives them
    task : str or Task

    Returns
    -------
    scores : (n, classes or labels)
    chosen : (n,) int
        The class; for multi-label tasks ``(n, labels)``, 1 where a label is given. A score of one half is no positive.
    """
    if task == Task.MULTILABEL:
        return scores, (scores > _THRESHOLD).astype(np.int64)
    if task == Task.BINARY:
        scores = np.stack([1 - scores[:, -1], scores[:, -1]], axis=1)
        return scores, (scores[:, 1] > _THRESHOLD).astype(np.int64)
    return scores, np.argmax(scores, axis=1)


def check_present(y: NDArray[np.int64], s: NDArray[Any], task: Task) -> None:
    """Refuse labels, as `checked` gives them, without which the AUC is undefined.

    Raises
    ------
    ScoreError
        If a class, or a value of a label, never occurs.
    """
    for what, column, values in _columns(y, s, task):
        absent = np.nonzero(np.bincount(column, minlength=values) == 0)[0]
        if len(absent):
            found = f"no {', '.join(map(str, absent))} in {len(column)} rows"
            remedy = "the AUC is undefined when a class does not occur"
            raise ScoreError(what, expected=f"each of 0 to {values - 1} at least once", found=found, remedy=remedy)


def _columns(y: NDArray[np.int64], s: NDArray[Any], task: Task) -> Iterator[tuple[str, NDArray[np.int64], int]]:
    """Each column of labels with its name and how many values it takes."""
    if task is Task.MULTILABEL:
        for number in range(y.shape[1]):
            yield f"label column {number}", y[:, number], 2
    else:
        yield "labels", y[:, 0], 2 if task is Task.BINARY else s.shape[1]


def _binary(y: NDArray[Any], s: NDArray[Any]) -> Metrics:
    return Metrics(auc_of(y, s), _share(y == (s > _THRESHOLD)))


def _multiclass(y: NDArray[Any], s: NDArray[Any]) -> Metrics:
    classes = s.shape[1]
    auc = 0.0
    for c in range(classes):
        auc += auc_of((y == c).astype(float), s[:, c])
    return Metrics(auc / classes, _share(y == np.argmax(s, axis=-1)))


def _multilabel(y: NDArray[Any], s: NDArray[Any]) -> Metrics:
    auc = acc = 0.0
    for column in range(y.shape[1]):
        auc += auc_of(y[:, column], s[:, column])
        acc += _share(y[:, column] == (s[:, column] > _THRESHOLD))
    return Metrics(auc / y.shape[1], acc / y.shape[1])


def auc_of(y: NDArray[Any], s: NDArray[Any]) -> float:
    """AUC of one column, NaN where it has one class alone."""
    from sklearn.metrics import roc_auc_score

    if np.all(y == y[0]):
        return float("nan")
    return float(roc_auc_score(y, s))


def _share(right: NDArray[np.bool_]) -> float:
    return float(np.mean(right))


def _task(task: str | Task) -> Task:
    try:
        return Task(task)
    except ValueError:
        raise UnknownNameError.among("task", str(task), Task) from None


def _numbers(what: str, values: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ScoreError(what, expected="an array of numbers", found=str(error)) from None
    if array.dtype.kind not in "fiub":
        raise ScoreError(what, expected="an array of numbers", found=f"dtype {array.dtype}")
    bad = ~np.isfinite(array)
    if bad.any():
        where = np.unique(np.nonzero(bad)[0])
        raise ScoreError(what, expected="finite numbers", found=f"NaN or infinity in {_rows(where)}")
    return array


def _labels(labels: ArrayLike, task: Task) -> NDArray[np.int64]:
    y = _numbers("labels", labels)
    if y.ndim == 1 and task is not Task.MULTILABEL:
        y = y[:, None]
    if y.ndim != 2 or (y.shape[1] != 1 and task is not Task.MULTILABEL) or y.shape[1] == 0:
        wanted = "shape (n, labels)" if task is Task.MULTILABEL else "shape (n,) or (n, 1)"
        raise ScoreError("labels", expected=f"{wanted} for the task {task.value}", found=f"{y.shape}")
    whole = y.astype(np.int64)
    odd = np.nonzero((whole != y).any(axis=1))[0]
    if len(odd):
        raise ScoreError("labels", expected="whole numbers", found=f"others in {_rows(odd)}")
    return whole


def _scores(scores: ArrayLike, task: Task) -> NDArray[Any]:
    s = _numbers("scores", scores)
    if s.ndim == 1 and task is Task.BINARY:
        s = s[:, None]
    wanted = {Task.BINARY: "shape (n,), (n, 1) or (n, 2)", Task.MULTILABEL: "shape (n, labels)"}
    columns = s.shape[1] if s.ndim == 2 else 0
    fits = {Task.BINARY: columns in (1, 2), Task.MULTILABEL: columns >= 1}.get(task, columns >= 2)
    if not fits:
        expected = f"{wanted.get(task, 'shape (n, classes)')} for the task {task.value}"
        raise ScoreError("scores", expected=expected, found=f"{s.shape}")
    return s


def _rows(where: NDArray[np.int64]) -> str:
    more = f" and {len(where) - _SHOWN} more" if len(where) > _SHOWN else ""
    return f"row{'s' if len(where) > 1 else ''} {', '.join(map(str, where[:_SHOWN]))}{more}"
