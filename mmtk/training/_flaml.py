"""The method ``flaml``: FLAML chooses among LightGBM, XGBoost, forests and logistic regression within a time budget.

With up to 10,000 training images it selects by cross-validation on them, and validation images are only predicted; with
more it selects by the validation images, if every class occurs there. For multi-label tasks each label gets an equal
share of the time. FLAML runs one job with the given seed, but what it tries next depends on how long the last trial
took, so two runs with the same seed may differ.
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
from mmtk.training._folds import all_columns
from mmtk.training.methods import Job, register

PACKAGES = ("flaml", "pandas", "lightgbm", "xgboost")  # of the extra: FLAML itself requires only NumPy
_SMALL = 10_000  # training images up to which it selects by cross-validation
_NUMBERS = 2**25  # pixels up to which it gets all of them; above, principal components
_SHARE = 0.7  # of the remaining budget for FLAML, which overruns until its last trial ends
_FOLDS = 5


@register("flaml", "FLAML")
def search(job: Job) -> RunResult:
    """Let FLAML choose and fit an estimator, or one per label, and write its predictions of every split.

    Raises
    ------
    MmtkError
        If FLAML is not installed, or can fit no estimator.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise MmtkError.not_installed("method flaml", missing[0], "flaml")
    return job.leave({"method": "flaml"}, lambda: _predictions(job))


def _predictions(job: Job) -> dict[str, NDArray[Any]]:
    import flaml  # noqa: F401  # slow, and should not count as any label's time

    store = job.store
    features = Features(store, job.seed)
    components = None if len(store.train) * width_of(store.train) <= _NUMBERS else COMPONENTS
    tables = {split.name: features.of(split, np.arange(len(split)), components) for split in store.splits}
    labels = {split.name: split.labels.astype(int) for split in (store.train, store.val)}
    multilabel, outputs = store.info.task == Task.MULTILABEL, len(store.info.classes)
    columns = labels["train"].shape[1]
    scores: dict[str, NDArray[Any]] = {name: np.zeros((len(table), outputs)) for name, table in tables.items()}
    for column in range(columns):
        left = job.budget - (time.perf_counter() - job.begun)
        label = {name: values[:, column] for name, values in labels.items()}
        if len(np.unique(label["train"])) == 1:  # nothing to learn
            for table in scores.values():
                table[:, column if multilabel else label["train"][0]] = label["train"][0] if multilabel else 1
            continue
        model = _fitted(job, tables, label, _SHARE * left / (columns - column))
        for name, table in tables.items():
            given = all_columns(
                model.predict_proba(table), model.classes_, len(table), 2 if multilabel else outputs, False
            )
            scores[name][:, column if multilabel else slice(None)] = given[:, 1] if multilabel else given
        job.progress(column + 1, columns)
    return scores


def _fitted(job: Job, tables: dict[str, Any], labels: dict[str, NDArray[np.int64]], seconds: float) -> Any:
    """FLAML's fitted choice for one column of labels."""
    from flaml import AutoML

    train, val = labels["train"], labels["val"]
    by_val = len(train) > _SMALL and set(np.unique(val)) == set(np.unique(train))
    held_out = {"X_val": tables["val"], "y_val": val, "eval_method": "holdout"} if by_val else {
        "eval_method": "cv", "n_splits": _FOLDS,
    }
    model = AutoML()
    for limit in ({"time_budget": max(seconds, 1)}, {"max_iter": 1}):  # at least one trial, even without time left
        with warnings.catch_warnings(action="ignore"):
            model.fit(
                tables["train"], train, task="classification", n_jobs=1, seed=job.seed, verbose=0, log_file_name="",
                metric="roc_auc" if len(np.unique(train)) == 2 else "roc_auc_ovr", **limit, **held_out,
            )
        if model.model is not None and math.isfinite(model.best_loss):
            return model
    raise MmtkError("method flaml", "no estimator could be fitted to these labels")
