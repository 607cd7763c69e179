"""AUC and ACC, identical to the last bit to ``medmnist.Evaluator`` (3.0.2) wherever its result is meaningful."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.display import facts_table
from mmtk.errors import ScoreError, UnknownNameError

_THRESHOLD = 0.5
TOLERANCE = 1e-6  # how much figures of the same predictions may differ between machines
_LISTED = 3  # bad rows listed in an error


class Metrics(NamedTuple):
    """Area under the ROC curve and accuracy, both in [0, 1]; an undefined AUC is NaN.

    Attributes
    ----------
    auc, acc : float

    Examples
    --------
    >>> import mmtk
    >>> metrics = mmtk.evaluate([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], "binary-class")
    >>> metrics
    Metrics(auc=1.0, acc=0.75)
    >>> print(metrics)
    AUC 1.000 ACC 0.750
    """

    auc: float
    acc: float

    def __str__(self) -> str:
        return f"AUC {format_figure(self.auc)} ACC {format_figure(self.acc)}"

    def _repr_html_(self) -> str:
        return facts_table("Scores", {"AUC": format_figure(self.auc), "ACC": format_figure(self.acc)})

    def agrees(self, other: Metrics, within: float = TOLERANCE) -> bool:
        """Whether both figures agree within a tolerance; undefined figures agree only with undefined ones."""
        return bool(np.allclose(self, other, rtol=0, atol=within, equal_nan=True))


def format_figure(value: float) -> str:
    """Format a figure with three decimals, NaN as "undefined"."""
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def evaluate(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, *, allow_undefined: bool = False
) -> Metrics:
    """Score predictions by MedMNIST's definitions.

    Parameters
    ----------
    labels : array_like, shape (n,) or (n, 1), int; (n, l) for the multi-label task
        Class numbers from 0, or 0 and 1.
    scores : array_like, shape (n, k), float
        A score for each class (k classes) or each label (k = l); for the binary task (n,), (n, 1) or (n, 2), the last
        column being the score of class 1. Any finite scale, but binary and multi-label scores are positive above 0.5.
    task : str or Task
        As MedMNIST names it: ``binary-class``, ``multi-class``, ``multi-label, binary-class``, ``ordinal-regression``.
    allow_undefined : bool
        Return NaN as AUC instead of raising if a class never occurs, as in part of a dataset.

    Returns
    -------
    Metrics
        Multi-class and ordinal AUC is the unweighted mean of one-versus-rest AUCs; multi-label AUC and ACC are means
        over labels.

    Raises
    ------
    ScoreError
        If a score is not finite, shapes do not match, a label has no score column, or a class (or one value of a binary
        label) never occurs, so that the AUC is undefined, and `allow_undefined` is not set; there the original returns
        NaN with scikit-learn 1.6 or later and fails with earlier versions.
    ArgumentError
        If the task is unknown.

    Examples
    --------
    >>> import mmtk
    >>> mmtk.evaluate([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], "binary-class")
    Metrics(auc=1.0, acc=0.75)
    >>> mmtk.evaluate([0, 1, 2], [[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3]], "multi-class").acc
    0.6666666666666666
    >>> mmtk.evaluate([0, 0], [0.1, 0.6], "binary-class")
    Traceback (most recent call last):
        ...
    mmtk.errors.ScoreError: labels: value 1 never occurs in 2 rows, so the AUC is undefined
    """
    kind = _task(task)
    y, s = checked(labels, scores, kind)
    if not allow_undefined:
        check_present(y, s, kind)
    if kind is Task.MULTILABEL:
        return _multilabel(y, s)
    return _binary(y[:, 0], s[:, -1]) if kind is Task.BINARY else _multiclass(y[:, 0], s)


def checked(labels: ArrayLike, scores: ArrayLike, task: str | Task) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Return labels (n, l) and scores (n, k) as arrays, after checking that rows and columns match.

    Raises
    ------
    ScoreError
        If they do not match, or are not numbers.
    """
    kind = _task(task)
    y, s = _labels(labels, kind), _scores(scores, kind)
    if len(y) != len(s):
        raise ScoreError("scores", found=f"{len(s)} rows", expected=f"{len(y)}, one per row of labels")
    if len(y) == 0:
        raise ScoreError("labels", "there are no rows")
    if kind is Task.MULTILABEL and y.shape != s.shape:
        raise ScoreError("scores", found=f"{s.shape[1]} columns", expected=f"{y.shape[1]}, one per label")
    for what, column, values in _columns(y, s, kind):
        outside = np.nonzero((column < 0) | (column >= values))[0]
        if len(outside):
            label, rows = column[outside[0]], _rows(outside)
            if kind not in (Task.MULTILABEL, Task.BINARY) and column.min() >= 0:  # perhaps a column is missing
                problem = f"there is no column for class {label}, the label of {rows}"
                raise ScoreError("scores", problem, found=f"{values} columns")
            raise ScoreError(what, found=f"{label} in {rows}", expected=f"0 to {values - 1}, one per score column")
    return y, s


def decide(scores: NDArray[Any], task: str | Task) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return scores with one column per class, and the predicted classes.

    Parameters
    ----------
    scores : (n, k) float array
        Two-dimensional, as `evaluate` takes them; one or two columns for the binary task.
    task : str or Task
        As MedMNIST names it.

    Returns
    -------
    scores : (n, classes or labels) float array
    chosen : (n,) int64 array
        The predicted class; for multi-label tasks (n, labels), 1 where a label is predicted. A score of exactly 0.5 is
        not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from mmtk.scoring import decide
    >>> scores, chosen = decide(np.array([[0.25], [0.75]]), "binary-class")
    >>> scores
    array([[0.75, 0.25],
           [0.25, 0.75]])
    >>> chosen
    array([0, 1])
    """
    if task == Task.MULTILABEL:
        return scores, (scores > _THRESHOLD).astype(np.int64)
    if task == Task.BINARY:
        scores = np.stack([1 - scores[:, -1], scores[:, -1]], axis=1)
        return scores, (scores[:, 1] > _THRESHOLD).astype(np.int64)
    return scores, np.argmax(scores, axis=1)


def check_present(y: NDArray[np.int64], s: NDArray[Any], task: Task) -> None:
    """Raise if a class never occurs among labels, as `checked` returns them, so that the AUC is undefined.

    Raises
    ------
    ScoreError
        If a class, or a value of a label, never occurs.
    """
    for what, column, values in _columns(y, s, task):
        absent = np.nonzero(np.bincount(column, minlength=values) == 0)[0]
        if len(absent):
            missing = f"value {absent[0]} never occurs" if len(absent) == 1 else (
                f"values {', '.join(map(str, absent))} never occur"
            )
            raise ScoreError(what, f"{missing} in {len(column)} rows, so the AUC is undefined")


def _columns(y: NDArray[np.int64], s: NDArray[Any], task: Task) -> Iterator[tuple[str, NDArray[np.int64], int]]:
    """Yield each column of labels with its name and the number of values it can take."""
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
    """AUC of one column, NaN if only one class occurs."""
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
        raise ScoreError(what, f"cannot be converted to an array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise ScoreError(what, found=f"dtype {array.dtype}", expected="numbers")
    bad = ~np.isfinite(array)
    if bad.any():
        where = np.unique(np.nonzero(bad)[0])
        raise ScoreError(what, f"NaN or infinity in {_rows(where)}")
    return array


def _labels(labels: ArrayLike, task: Task) -> NDArray[np.int64]:
    y = _numbers("labels", labels)
    if y.ndim == 1 and task is not Task.MULTILABEL:
        y = y[:, None]
    if y.ndim != 2 or (y.shape[1] != 1 and task is not Task.MULTILABEL) or y.shape[1] == 0:
        wanted = "(n, labels)" if task is Task.MULTILABEL else "(n,) or (n, 1)"
        raise ScoreError("labels", found=f"shape {y.shape}", expected=f"{wanted} for the task {task.value}")
    whole = y.astype(np.int64)
    odd = np.nonzero((whole != y).any(axis=1))[0]
    if len(odd):
        raise ScoreError("labels", f"not whole numbers in {_rows(odd)}")
    return whole


def _scores(scores: ArrayLike, task: Task) -> NDArray[Any]:
    s = _numbers("scores", scores)
    if s.ndim == 1 and task is Task.BINARY:
        s = s[:, None]
    wanted = {Task.BINARY: "(n,), (n, 1) or (n, 2)", Task.MULTILABEL: "(n, labels)"}
    columns = s.shape[1] if s.ndim == 2 else 0
    fits = {Task.BINARY: columns in (1, 2), Task.MULTILABEL: columns >= 1}.get(task, columns >= 2)
    if not fits:
        expected = f"{wanted.get(task, '(n, classes)')} for the task {task.value}"
        raise ScoreError("scores", found=f"shape {s.shape}", expected=expected)
    return s


def _rows(where: NDArray[np.int64]) -> str:
    more = f" and {len(where) - _LISTED} more" if len(where) > _LISTED else ""
    return f"row{'s' if len(where) > 1 else ''} {', '.join(map(str, where[:_LISTED]))}{more}"
