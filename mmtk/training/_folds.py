"""What is held out of training images: folds, the shares of successive halving, and scores of what is held out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.store import Split
from mmtk.training._ensemble import Judge
from mmtk.training._portfolio import Candidate, Kind

_FOLDS = 5
_HALVED = 9  # settings of which successive halving leaves one, a third in each round
_HELD_OUT = 0.2

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


def folds_of(split: Split, seed: int) -> list[Fold]:
    """Rows to fit and rows to predict, of up to five folds; none where there are too few images.

    A subject's images are in one fold, as far as subjects are known; each class is in every fold that it suffices for.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    several, n = split.info.task == Task.MULTILABEL, len(split)
    subjects = split.records["subject"]
    names = [subject or b"row %d" % row for row, subject in enumerate(subjects.tolist())]
    groups = np.unique(np.array(names), return_inverse=True)[1]
    count = min(_FOLDS, len(np.unique(groups)))
    if not several:
        count = min(count, int(np.bincount(split.labels[:, 0]).max()))
    if count < 2:
        return []
    options = {"n_splits": count, "shuffle": True, "random_state": seed}
    if subjects.astype(bool).any():
        made = GroupKFold(**options) if several else StratifiedGroupKFold(**options)
    else:
        made = KFold(**options) if several else StratifiedKFold(**options)
    with warnings.catch_warnings(action="ignore"):  # of a class with fewer images than folds
        return list(made.split(np.zeros(n), None if several else split.labels[:, 0], groups))


def halved(
    kind: Kind, features: NDArray[np.float32], labels: NDArray[np.int64], outputs: int, seed: int
) -> Candidate:
    """The best of some settings drawn at random, found on growing shares of these images.

    Parameters
    ----------
    kind : Kind
    features : (n, features)
    labels : (n,), or (n, labels)
    outputs : int
        Classes, or labels.
    seed : int

    Raises
    ------
    ValueError
        If no estimator could be fitted.
    """
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, ShuffleSplit

    several = labels.ndim > 1
    estimator = Candidate(kind, kind.first[0]).estimator(seed, several)
    before = "estimator__" if several and not kind.labels else ""
    draws = {before + name: values for name, values in kind.draws.items() if name != "components"}

    def merit(fitted: Any, held_out: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
        scores = table_of(fitted.predict_proba(held_out), fitted.classes_, len(truth), outputs, several)
        return float(Judge(truth.reshape(len(truth), -1), outputs, several).merits(scores[None])[0])

    search = HalvingRandomSearchCV(
        estimator, draws, n_candidates=_HALVED, factor=3, min_resources=max(len(features) // _HALVED, 2),
        max_resources=len(features), cv=ShuffleSplit(1, test_size=_HELD_OUT, random_state=seed), scoring=merit,
        refit=False, random_state=seed,
    )
    with warnings.catch_warnings(action="ignore"):  # of settings that cannot be fitted to a small share
        search.fit(features, labels)
    return Candidate(kind, {name.removeprefix(before): value for name, value in search.best_params_.items()})


def table_of(table: Any, classes: Any, rows: int, outputs: int, several: bool) -> NDArray[np.float32]:
    """A column for each class or label, of what an estimator gives; 0 for a class or label that it never saw.

    Parameters
    ----------
    table : array (rows, columns), or for several labels a list of one for each
        As ``predict_proba`` gives it.
    classes : array, or list of arrays
        What the columns stand for.
    rows, outputs : int
    several : bool

    Returns
    -------
    (rows, outputs) float32
    """
    found = np.zeros((rows, outputs), np.float32)
    if isinstance(table, list):
        for label, (one, values) in enumerate(zip(table, classes, strict=True)):
            found[:, label] = one[:, list(values).index(1)] if 1 in values else 0
    elif several:
        found[:] = table
    else:
        found[:, classes] = table
    return found
