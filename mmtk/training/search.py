"""The method ``sklearn``: well-known estimators on flattened pixels, chosen by successive halving within a time budget.

Every candidate is fitted on a small share of the training images; the better half, by AUC on the validation images,
goes on to twice as many, until one is left or half of the budget is spent. The best is fitted on all of them, as far as
the rest of the budget allows. Jamieson and Talwalkar, AISTATS 2016.
"""

from __future__ import annotations

import json
import math
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import __version__
from mmtk.datasets.base import Task
from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader import permutation
from mmtk.scoring import evaluate
from mmtk.store import Split, Store
from mmtk.training import checkpoints
from mmtk.training.results import RunResult, check_scorable, read_result, write_result

_FIRST = 300  # images of the first round
_SEARCH = 0.5  # share of the budget that the search may take
_LOG = "search.jsonl"


def search(store: Store, out: str | Path, *, budget: float, seed: int = 0) -> RunResult:
    """Choose and fit an estimator, and leave its predictions of every split.

    Parameters
    ----------
    store : Store
    out : path
        Folder of the run. A finished run of the same configuration is left alone and its result returned; one that was
        killed begins anew.
    budget : float
        Seconds, above 0. A fit that has begun is not broken off. As long as no round is cut short by it, the same seed
        gives the same predictions.
    seed : int

    Returns
    -------
    RunResult
        ``out`` then holds ``config.json``, ``search.jsonl``, ``result.json`` and a result file for each split.

    Raises
    ------
    ArgumentError
        If the budget is not above 0.
    ScoreError
        If the AUC of a split is not defined because a class is missing in it.
    MmtkError
        If `out` holds another run or is in use.
    """
    if not budget > 0:
        raise ArgumentError("budget", expected="seconds above 0", found=str(budget))
    out = Path(out)
    for split in store.splits:
        check_scorable(split)
    with checkpoints.alone(out):
        checkpoints.claim(out, _config(store, budget, seed))
        if (out / checkpoints.RESULT).exists():
            return read_result(out)
        model = _Search(store, budget, seed).best(out)
        scores = {split.name: model.scores(split) for split in store.splits}
        return write_result(out, store, f"sklearn_{store.info.size}_{budget:g}s_seed{seed}", scores)


def _config(store: Store, budget: float, seed: int) -> dict[str, Any]:
    import sklearn

    info = store.info
    return {
        "method": "sklearn", "budget": budget, "seed": seed,
        "store": {"flag": info.flag, "size": info.size, "edition": info.edition, "content": store.content_digest()},
        "made_with": {
            "mmtk": __version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }


def candidates(seed: int, several: bool, features: int, images: int) -> dict[str, Any]:
    """Estimators by name; for tasks of several labels those that take one are fitted label by label."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def reduced(estimator: Any, alone: bool = False) -> Any:
        pca = PCA(min(64, features, images), svd_solver="randomized", random_state=seed)
        return make_pipeline(StandardScaler(), pca, OneVsRestClassifier(estimator) if several and alone else estimator)

    found: dict[str, Any] = {}
    for strength in (0.01, 0.1, 1.0):
        found[f"logistic C {strength:g}"] = reduced(LogisticRegression(C=strength, max_iter=500), alone=True)
    for neighbours in (5, 25):
        found[f"neighbours {neighbours}"] = reduced(KNeighborsClassifier(neighbours, weights="distance"))
    for rate in (0.05, 0.2):
        boosting = HistGradientBoostingClassifier(learning_rate=rate, random_state=seed)
        found[f"boosting rate {rate:g}"] = reduced(boosting, alone=True)
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        for leaf in (1, 5):
            name = f"{kind.__name__.removesuffix('Classifier')} leaf {leaf}"
            found[name] = kind(200, min_samples_leaf=leaf, n_jobs=-1, random_state=seed)
    return found


class _Fitted:
    """An estimator with the classes it has seen."""

    def __init__(self, name: str, estimator: Any, images: int, outputs: int, several: bool) -> None:
        self.name, self.estimator, self.images, self.seconds, self.auc = name, estimator, images, 0.0, -math.inf
        self._outputs, self._several = outputs, several

    def scores(self, split: Split) -> NDArray[np.float64]:
        """Probabilities, (n, classes or labels); 0 for a class it never saw."""
        given = self.estimator.predict_proba(_pixels(split, np.arange(len(split))))
        found = np.zeros((len(split), self._outputs))
        if isinstance(given, list):  # a table for each label, with a column for each value it has seen
            for label, (table, values) in enumerate(zip(given, self.estimator.classes_, strict=True)):
                found[:, label] = table[:, list(values).index(1)] if 1 in values else 0.0
        elif self._several:
            found[:] = given
        else:
            found[:, self.estimator.classes_.astype(int)] = given
        return found


class _Search:
    def __init__(self, store: Store, budget: float, seed: int) -> None:
        self.store, self.budget, self.seed = store, budget, seed
        self.several = store.info.task == Task.MULTILABEL
        self.outputs = len(store.info.classes)
        self.order = permutation(len(store.train), seed, 0)
        self.start = time.perf_counter()

    def spent(self) -> float:
        return time.perf_counter() - self.start

    def best(self, out: Path) -> _Fitted:
        """The estimator that the search ends with."""
        train = self.store.train
        images = min(_FIRST, len(train))
        names = list(candidates(self.seed, self.several, 1, 1))
        log: list[dict[str, Any]] = []
        best: _Fitted | None = None
        while True:
            round_: list[_Fitted] = []
            for name in names:
                if best is not None and self.spent() > _SEARCH * self.budget:
                    break
                fitted = self._fit(name, images, log)
                round_.append(fitted)
                best = fitted if best is None or best.images < images or fitted.auc > best.auc else best
            whole = len(round_) == len(names)
            if not whole or images == len(train) or (len(names) == 1 and best is not None):
                break
            round_.sort(key=lambda one: -one.auc)
            names = [one.name for one in round_[: max(1, len(round_) // 2)]]
            images = min(2 * images, len(train)) if len(names) > 1 else len(train)
        if best is None or best.auc == -math.inf:
            raise MmtkError(self.store.path, expected="an estimator that can be fitted", found=str(log[-1]["error"]))
        longer = best.seconds * len(train) / best.images
        if best.images < len(train) and self.spent() + longer < self.budget:
            best = self._fit(best.name, len(train), log)
        checkpoints.write_text(out / _LOG, "".join(json.dumps(line) + "\n" for line in log))
        return best

    def _fit(self, name: str, images: int, log: list[dict[str, Any]]) -> _Fitted:
        rows = np.sort(self.order[:images])
        pixels = _pixels(self.store.train, rows)
        estimator = candidates(self.seed, self.several, pixels.shape[1], images)[name]
        labels = self.store.train.labels[rows]
        fitted = _Fitted(name, estimator, images, self.outputs, self.several)
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings(action="ignore"):  # of labels that are constant in a small share, say
                estimator.fit(pixels, labels.astype(int) if self.several else labels[:, 0].astype(int))
            val = self.store.val
            fitted.auc = evaluate(val.labels, fitted.scores(val), self.store.info.task).auc
        except (ValueError, MmtkError) as error:  # one class alone in its share, say
            log.append({"candidate": name, "images": images, "error": str(error).partition("\n")[0]})
            fitted.seconds = time.perf_counter() - begun
            return fitted
        fitted.seconds = time.perf_counter() - begun
        log.append({
            "candidate": name, "images": images, "val_auc": fitted.auc, "seconds": round(fitted.seconds, 3),
            "spent": round(self.spent(), 3),
        })
        return fitted


def _pixels(split: Split, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images as rows of numbers from 0 to 1."""
    flat = split.images[rows].reshape(len(rows), -1)
    return flat.astype(np.float32) / np.float32(255)
