"""Held-out training images: cross-validation folds, successive halving, and scores of held-out images."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.store import Split
from mmtk.training._ensemble import SelectionMetric
from mmtk.training._portfolio import Candidate, Kind

_FOLDS = 5
_HALVED = 9  # settings at the start of successive halving, which keeps a third in each round
_HELD_OUT = 0.2

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def folds_of(split: Split, seed: int) -> list[Fold]:
    """Return rows to fit and rows to predict for up to five folds; an empty list if there are too few images.

    All images of a known subject are in one fold; folds are stratified by class as far as possible.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    multilabel, n = split.info.task == Task.MULTILABEL, len(split)
    subjects = split.records["subject"]
    names = [subject or b"row %d" % row for row, subject in enumerate(subjects.tolist())]
    groups = np.unique(np.array(names), return_inverse=True)[1]
    count = min(_FOLDS, len(np.unique(groups)))
    if not multilabel:
        count = min(count, int(np.bincount(split.labels[:, 0]).max()))
    if count < 2:
        return []
    options = {"n_splits": count, "shuffle": True, "random_state": seed}
    if subjects.astype(bool).any():
        splitter = GroupKFold(**options) if multilabel else StratifiedGroupKFold(**options)
    else:
        splitter = KFold(**options) if multilabel else StratifiedKFold(**options)
    with warnings.catch_warnings(action="ignore"):  # about a class with fewer images than folds
        return list(splitter.split(np.zeros(n), None if multilabel else split.labels[:, 0], groups))


def successive_halving(
    kind: Kind, features: NDArray[np.float32], labels: NDArray[np.int64], outputs: int, seed: int
) -> Candidate:
    """Return the best of several randomly drawn settings, chosen on growing shares of these images.

    Parameters
    ----------
    kind : Kind
    features : (n, features) float32
    labels : (n,) or (n, labels) int
    outputs : int
        Number of classes or labels.
    seed : int

    Raises
    ------
    ValueError
        If no estimator could be fitted.
    """
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, ShuffleSplit

    multilabel = labels.ndim > 1
    estimator = Candidate(kind, kind.first[0]).estimator(seed, multilabel)
    prefix = "estimator__" if multilabel and not kind.labels else ""
    draws = {prefix + name: values for name, values in kind.draws.items() if name != "components"}

    def merit(fitted: Any, held_out: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
        scores = all_columns(fitted.predict_proba(held_out), fitted.classes_, len(truth), outputs, multilabel)
        return float(SelectionMetric(truth.reshape(len(truth), -1), outputs, multilabel).merits(scores[None])[0])

    search = HalvingRandomSearchCV(
        estimator, draws, n_candidates=_HALVED, factor=3, min_resources=max(len(features) // _HALVED, 2),
        max_resources=len(features), cv=ShuffleSplit(1, test_size=_HELD_OUT, random_state=seed), scoring=merit,
        refit=False, random_state=seed,
    )
    with warnings.catch_warnings(action="ignore"):  # about settings that cannot be fitted to a small share
        search.fit(features, labels)
    return Candidate(kind, {name.removeprefix(prefix): value for name, value in search.best_params_.items()})


def all_columns(table: Any, classes: Any, rows: int, outputs: int, multilabel: bool) -> NDArray[np.float32]:
    """Expand an estimator's output to a column per class or label; 0 for a class or label that it never saw.

    Parameters
    ----------
    table : (rows, columns) array, or for multi-label tasks a list of one per label
        As ``predict_proba`` returns it.
    classes : array, or list of arrays
        The classes of the columns.
    rows, outputs : int
    multilabel : bool

    Returns
    -------
    (rows, outputs) float32
    """
    scores = np.zeros((rows, outputs), np.float32)
    if isinstance(table, list):
        for label, (columns, values) in enumerate(zip(table, classes, strict=True)):
            scores[:, label] = columns[:, list(values).index(1)] if 1 in values else 0
    elif multilabel:
        scores[:] = table
    else:
        scores[:, classes] = table
    return scores
