"""The method ``flaml``: FLAML chooses among LightGBM, XGBoost, forests and logistic regression within a time budget.

Up to 10,000 training images it judges by cross-validation on them, and validation images are only predicted; above
that by the validation images, if each class is among them. With several labels each gets an equal share of the time.
FLAML is given one job and the seed; what it tries next depends on how long the last trial took, so two runs with the
same seed may differ.
"""

from __future__ import annotations

import math
import time
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError
from mmtk.runs import RunResult
from mmtk.training._features import COMPONENTS, Features, width_of
from mmtk.training._folds import table_of
from mmtk.training.methods import Job, register

PACKAGES = ("flaml", "pandas", "lightgbm", "xgboost")  # of the extra: FLAML itself declares only NumPy
_SMALL = 10_000  # training images up to which it judges by cross-validation
_NUMBERS = 2**25  # pixels up to which it is given them all; principal components above
_SHARE = 0.7  # of what is left of the budget for FLAML, which ends when its last trial does
_FOLDS = 5


@register("flaml", "FLAML")
def search(job: Job) -> RunResult:
    """Let FLAML choose and fit an estimator, or one for each label, and leave its predictions of every split.

    Raises
    ------
    MmtkError
        If FLAML is not installed, or finds no estimator.
    """
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise MmtkError.not_installed("method flaml", lacking[0], "flaml")
    return job.leave({"method": "flaml"}, lambda: _predictions(job))


def _predictions(job: Job) -> dict[str, NDArray[Any]]:
    import flaml  # noqa: F401  # takes a while, which is no label's time

    store = job.store
    features = Features(store, job.seed)
    components = None if len(store.train) * width_of(store.train) <= _NUMBERS else COMPONENTS
    tables = {split.name: features.of(split, np.arange(len(split)), components) for split in store.splits}
    labels = {split.name: split.labels.astype(int) for split in (store.train, store.val)}
    several, outputs = store.info.task == Task.MULTILABEL, len(store.info.classes)
    columns = labels["train"].shape[1]
    found: dict[str, NDArray[Any]] = {name: np.zeros((len(table), outputs)) for name, table in tables.items()}
    for column in range(columns):
        left = job.budget - (time.perf_counter() - job.begun)
        one = {name: values[:, column] for name, values in labels.items()}
        if len(np.unique(one["train"])) == 1:  # nothing to choose from
            for table in found.values():
                table[:, column if several else one["train"][0]] = one["train"][0] if several else 1
            continue
        model = _fitted(job, tables, one, _SHARE * left / (columns - column))
        for name, table in tables.items():
            given = table_of(model.predict_proba(table), model.classes_, len(table), 2 if several else outputs, False)
            found[name][:, column if several else slice(None)] = given[:, 1] if several else given
        job.progress(column + 1, columns)
    return found


def _fitted(job: Job, tables: dict[str, Any], labels: dict[str, NDArray[np.int64]], seconds: float) -> Any:
    """FLAML's choice for one column of labels."""
    from flaml import AutoML

    train, val = labels["train"], labels["val"]
    by_val = len(train) > _SMALL and set(np.unique(val)) == set(np.unique(train))
    held_out = {"X_val": tables["val"], "y_val": val, "eval_method": "holdout"} if by_val else {
        "eval_method": "cv", "n_splits": _FOLDS,
    }
    model = AutoML()
    for limit in ({"time_budget": max(seconds, 1)}, {"max_iter": 1}):  # one trial at least, should time be over
        with warnings.catch_warnings(action="ignore"):
            model.fit(
                tables["train"], train, task="classification", n_jobs=1, seed=job.seed, verbose=0, log_file_name="",
                metric="roc_auc" if len(np.unique(train)) == 2 else "roc_auc_ovr", **limit, **held_out,
            )
        if model.model is not None and math.isfinite(model.best_loss):
            return model
    raise MmtkError("method flaml", expected="labels that an estimator can be chosen by", found="none that was better")
