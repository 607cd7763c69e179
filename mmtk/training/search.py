"""The method ``sklearn``: well-known estimators on flattened pixels, chosen by successive halving within a time budget.

Every candidate is fitted on a small share of the training images; the better half, by AUC on the validation images, or
by log loss there where that is undefined, goes on to a larger share, until one is left for all of them. Jamieson and
Talwalkar, AISTATS 2016. No fit is begun that, as the candidate's earlier fits foretell, would end too late to predict
every split within the budget.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError
from mmtk.files import write_text
from mmtk.loader import permutation
from mmtk.runs import RunResult
from mmtk.scoring import as_facts, evaluate
from mmtk.store import Split
from mmtk.training.methods import Job, register

_FIRST = 300  # images of the first round
_REDUCED = 64  # principal components
_BASIS = 4096  # images they are found from
_BLOCK = 4096  # images predicted at a time: what their pixels take in memory
_FIT_GROWTH = 1.2  # time of a fit goes with this power of its images, at most
_SMALL = 10_000  # images up to which boosting runs in one thread
_SHARE = 0.9  # of the budget; the rest is for writing what was found
_LEAST = 1e-6  # what a chance of 0 counts as in a logarithm
_LOG = "search.jsonl"


@register("sklearn", "sklearn")
def search(job: Job) -> RunResult:
    """Choose and fit an estimator, and leave its predictions of every split.

    The folder then holds ``config.json``, ``search.jsonl``, ``result.json`` and a result file for each split; a run
    that was killed begins anew. As long as the budget leaves out no fit, the same seed gives the same predictions.
    """
    return job.leave({"method": "sklearn"}, lambda: _Search(job).predictions())


def candidates(seed: int, several: bool) -> dict[str, tuple[bool, Any]]:
    """Estimators by name, each with whether it takes principal components; of several labels one by one if it must."""
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.neighbors import KNeighborsClassifier

    def alone(estimator: Any) -> Any:
        return OneVsRestClassifier(estimator) if several else estimator

    found: dict[str, tuple[bool, Any]] = {}
    for strength in (0.01, 0.1, 1.0):
        found[f"logistic C {strength:g}"] = True, alone(LogisticRegression(C=strength, max_iter=500))
    for neighbours in (5, 25):
        found[f"neighbours {neighbours}"] = True, KNeighborsClassifier(neighbours, weights="distance")
    for rate in (0.05, 0.2):
        boosting = HistGradientBoostingClassifier(learning_rate=rate, random_state=seed)
        found[f"boosting rate {rate:g}"] = True, alone(boosting)
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        for leaf in (5, 25) if several else (1, 10):  # a leaf keeps two numbers a label: larger ones save memory
            name = f"{kind.__name__.removesuffix('Classifier')} leaf {leaf}"
            found[name] = False, kind(100, min_samples_leaf=leaf, n_jobs=-1, random_state=seed)
    return found


@dataclass
class _Fitted:
    """An estimator, how well it does and what it costs."""

    name: str
    estimator: Any
    reduced: bool
    images: int
    merit: float = -math.inf
    fit_seconds: float = 0.0
    seconds_an_image: float = 0.0  # to predict it

    def foretold(self, images: int, predicted: int) -> float:
        """Seconds at most to fit so many images and predict others."""
        growth = max(images / self.images, 1.0)
        slower = growth if self.name.startswith("neighbours") else growth**0.25
        return float(self.fit_seconds * growth**_FIT_GROWTH + self.seconds_an_image * slower * predicted)


class _Search:
    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store
        self.start = time.perf_counter()
        self.several = job.store.info.task == Task.MULTILABEL
        self.outputs = len(job.store.info.classes)
        self.order = permutation(len(job.store.train), job.seed, 0)
        self.log: list[dict[str, Any]] = []
        self.known: dict[str, _Fitted] = {}  # the last fit of each candidate, without its estimator
        self.best: _Fitted | None = None
        self._reduce: Any = None

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Search; the best estimator's scores of every split."""
        names = list(candidates(self.job.seed, self.several))
        images = 0
        for size in self._sizes(len(names)):
            whole = size
            while images and size > 1.2 * images and not any(self._fits(name, size) for name in names):
                size = math.isqrt(size * images)
            fitted = [self._fit(name, size) for name in names if self._fits(name, size)]
            if not fitted:
                break
            images = size
            fitted.sort(key=lambda one: -one.merit)
            names = [one.name for one in fitted[: -(-len(fitted) // 2)]]
            if size < whole:
                break
        if self.best is None:
            raise MmtkError(self.store.path, expected="an estimator that can be fitted", found=self.log[-1]["error"])
        found = {split.name: self._scores(self.best, split) for split in self.store.splits}
        self.log.append({"candidate": self.best.name, "images": self.best.images, "chosen_after": self._spent()})
        lines = "".join(json.dumps(as_facts(line)) + "\n" for line in self.log)
        write_text(self.job.out / _LOG, lines)
        return found

    def _sizes(self, count: int) -> list[int]:
        """Images of each round, so that one candidate is left for all of them."""
        every = len(self.store.train)
        rounds = math.ceil(math.log2(count)) if every > _FIRST else 0
        ratio = every / _FIRST
        return [int(_FIRST * ratio ** (number / rounds)) for number in range(rounds)] + [every]

    def _spent(self) -> float:
        spent = time.perf_counter() - self.start
        self.job.progress(min(int(100 * spent / self.job.budget), 99), 100)
        return round(spent, 3)

    def _fits(self, name: str, images: int) -> bool:
        """Whether a fit would end soon enough to predict what is then the best."""
        if self.best is None:
            return True
        left = _SHARE * self.job.budget - self._spent()
        others = len(self.store.train) + len(self.store.test)
        kind = name.partition(" ")[0]
        last = self.known.get(name) or next((one for one in self.known.values() if one.name.startswith(kind)), None)
        longest = last.foretold(images, others + len(self.store.val)) if last else 0.0
        reserve = (last.foretold(images, len(self.store.val)) if last else 0.0) + self.best.seconds_an_image * others
        return max(longest, reserve) < left

    def _fit(self, name: str, images: int) -> _Fitted:
        """Fit a candidate on so many images and score it on the validation images."""
        from threadpoolctl import threadpool_limits

        reduced, estimator = candidates(self.job.seed, self.several)[name]
        one = _Fitted(name, estimator, reduced, images)
        rows = np.sort(self.order[:images])
        labels = self.store.train.labels[rows].astype(int)
        line: dict[str, Any] = {"candidate": name, "images": images}
        begun = time.perf_counter()
        try:
            features = self._features(self.store.train, rows, reduced)
            # where a step is short, threads wait for each other most of the time
            threads = threadpool_limits(None if name.startswith("boosting") and images > _SMALL else 1)
            # of labels that are constant in a small share, say
            with threads, warnings.catch_warnings(action="ignore"):
                estimator.fit(features, labels if self.several else labels[:, 0])
            if hasattr(estimator, "n_jobs"):
                estimator.set_params(n_jobs=None)  # threads would add up trees in any order
            one.fit_seconds = time.perf_counter() - begun
            line |= self._validate(one)
            one.seconds_an_image = (time.perf_counter() - begun - one.fit_seconds) / len(self.store.val)
        except (ValueError, MmtkError) as error:  # one class alone in its share, say
            line["error"] = str(error).partition("\n")[0]
        if one.merit > (self.best.merit if self.best else -math.inf):
            self.best = one
        self.known[name] = _Fitted(name, None, reduced, images, one.merit, one.fit_seconds, one.seconds_an_image)
        self.log.append({**line, "seconds": round(time.perf_counter() - begun, 3), "spent": self._spent()})
        return self.known[name]

    def _validate(self, one: _Fitted) -> dict[str, float]:
        """Find how well it does on the validation images."""
        val, info = self.store.val, self.store.info
        scores = self._scores(one, val)
        auc = evaluate(val.labels, scores, info.task, allow_undefined=info.partial).auc
        if not math.isnan(auc):
            one.merit = auc
            return {"val_auc": auc}
        loss = _log_loss(val.labels, scores, self.several)
        one.merit = -loss
        return {"val_auc": auc, "val_loss": loss}

    def _scores(self, one: _Fitted, split: Split) -> NDArray[np.float64]:
        """Probabilities, (n, classes or labels); 0 for a class it never saw."""
        from threadpoolctl import threadpool_limits

        found = np.zeros((len(split), self.outputs))
        for start in range(0, len(split), _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, len(split)))
            features = self._features(split, rows, one.reduced)
            with threadpool_limits(None if one.name.startswith("neighbours") else 1):
                given = one.estimator.predict_proba(features)
            if isinstance(given, list):  # a table for each label, with a column for each value it has seen
                for label, (table, values) in enumerate(zip(given, one.estimator.classes_, strict=True)):
                    found[rows, label] = table[:, list(values).index(1)] if 1 in values else 0.0
            elif self.several:
                found[rows] = given
            else:
                found[rows[:, None], one.estimator.classes_] = given
        return found

    def _features(self, split: Split, rows: NDArray[np.int64], reduced: bool) -> NDArray[np.float32]:
        """Images as rows of numbers from 0 to 1, or as principal components."""
        if not reduced:
            return _pixels(split, rows)
        if self._reduce is None:
            from sklearn.decomposition import PCA
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            basis = _pixels(self.store.train, np.sort(self.order[:_BASIS]))
            components = min(_REDUCED, *basis.shape)
            pca = PCA(components, svd_solver="randomized", random_state=self.job.seed)
            self._reduce = make_pipeline(StandardScaler(), pca).fit(basis)
        blocks = (rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK))
        return np.concatenate([self._reduce.transform(_pixels(split, block)) for block in blocks])


def _log_loss(labels: NDArray[Any], scores: NDArray[np.float64], several: bool) -> float:
    """Mean log loss of the true class, or of each label."""
    chances = np.clip(scores, _LEAST, 1 - _LEAST)
    if several:
        return float(-np.log(np.where(labels == 1, chances, 1 - chances)).mean())
    return float(-np.log(chances[np.arange(len(labels)), labels[:, 0].astype(int)]).mean())


def _pixels(split: Split, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Images as rows of numbers from 0 to 1, without a second copy of them all."""
    found = np.empty((len(rows), int(np.prod(split.images.shape[1:]))), np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = split.images[rows[start : start + _BLOCK]].reshape(-1, found.shape[1])
        np.divide(part, np.float32(255), out=found[start : start + _BLOCK])
    return found
