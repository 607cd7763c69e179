"""scikit-learn style estimators as methods: fitted on the training images, then used to score every split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pkgutil import resolve_name
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, ScoreError
from mmtk.runs import RunResult
from mmtk.store import Split
from mmtk.training.methods import Job

_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_PLACED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_VALIDATION = ("X_val", "y_val")


def run(job: Job, *, name: str, estimator: str) -> RunResult:
    """Fit an estimator, given as ``module:name``, and write its scores of every split; see `register`."""
    try:
        made = resolve_name(estimator)
    except (ImportError, AttributeError, ValueError) as error:
        raise ArgumentError(f"method {name}", f"its class {estimator} cannot be imported: {error}") from None
    return job.leave({"method": name}, lambda: _predictions(job, name, made))


def _predictions(job: Job, name: str, made: Callable[..., Any]) -> dict[str, NDArray[np.float64]]:
    given = {"random_state": job.seed, "seed": job.seed, "budget": job.budget}
    model = made(**{key: given[key] for key in _keywords(made) & given.keys()})
    train, val = job.store.train, job.store.val
    if _keywords(model.fit) >= set(_VALIDATION):
        model.fit(*_images_and_labels(train), **dict(zip(_VALIDATION, _images_and_labels(val), strict=True)))
    elif _required(model.fit) >= 4:
        model.fit(*_images_and_labels(train), *_images_and_labels(val))
    else:
        model.fit(*_images_and_labels(train))
    scores = {}
    for done, split in enumerate(job.store.splits, 1):
        table = model.predict_proba(split.images[:])
        scores[split.name] = expand_scores(table, getattr(model, "classes_", None), split, name)
        job.progress(done, len(job.store.splits))
    return scores


def _parameters(call: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(call).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return ()


def _keywords(call: Callable[..., Any]) -> set[str]:
    return {parameter.name for parameter in _parameters(call) if parameter.kind in _KEYWORD}


def _required(call: Callable[..., Any]) -> int:
    return sum(
        parameter.kind in _PLACED and parameter.default is inspect.Parameter.empty for parameter in _parameters(call)
    )


def _images_and_labels(split: Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images, and labels as scikit-learn takes them: (n,), or (n, labels) of 0 and 1 for multi-label tasks."""
    labels = split.labels.astype(np.int64)
    return split.images[:], labels if split.info.task == Task.MULTILABEL else labels[:, 0]


def expand_scores(table: Any, classes: Any, split: Split, name: str) -> NDArray[np.float64]:
    """Expand an estimator's output to a column per class or label.

    Parameters
    ----------
    table : array, or for multi-label tasks a list of one per label
        As ``predict_proba`` returns it.
    classes : array, list of arrays or None
        The estimator's ``classes_``: the classes of its columns.
    split : Split
    name : str
        The method's name, for errors.

    Returns
    -------
    (n, classes or labels) float64

    Raises
    ------
    ScoreError
        If rows or columns do not match the split.
    """
    multilabel, outputs = split.info.task == Task.MULTILABEL, len(split.info.classes)
    if isinstance(table, list) and multilabel and len(table) == outputs:  # one table per label, one column per value
        values = classes if isinstance(classes, list) else [np.arange(np.shape(label)[-1]) for label in table]
        columns = [
            np.asarray(label)[:, list(known).index(1)] if 1 in known else np.zeros(len(label))
            for label, known in zip(table, values, strict=True)
        ]
        scores = np.stack(columns, axis=1)
    else:
        scores = np.asarray(table)
    if scores.dtype.kind not in "fiub":
        raise ScoreError(f"predict_proba of {name}", found=f"dtype {scores.dtype}", expected="numbers")
    scores = scores.astype(np.float64)
    if split.info.task == Task.BINARY and (scores.ndim == 1 or scores.shape[1:] == (1,)) and not _one_class(classes):
        positive = scores.reshape(-1)
        scores = np.stack([1 - positive, positive], axis=1)
    expected = (len(split), outputs)
    if not multilabel and classes is not None and np.shape(classes) == scores.shape[1:] and len(scores) == len(split):
        places = np.asarray(classes)
        if places.dtype.kind in "iu" and ((places >= 0) & (places < outputs)).all():
            placed = np.zeros(expected)
            placed[:, places] = scores
            return placed
    if scores.shape != expected:
        what = f"predict_proba of {name} on {split.name}"
        raise ScoreError(what, found=f"shape {scores.shape}", expected=str(expected))
    return scores


def _one_class(classes: Any) -> bool:
    """Whether an estimator has seen only one class, whose probability is its only column."""
    return classes is not None and np.shape(classes) == (1,)
