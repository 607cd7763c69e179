"""The method ``sklearn``: an ensemble of well-known estimators on flattened pixels, within a time budget.

A portfolio of estimators (`mmtk.training._portfolio`) is fitted, the best guesses first, then settings drawn at random
until the budget ends. With up to 10,000 training images, each candidate is fitted on all of them and in five-fold
cross-validation. It is ranked by its out-of-fold scores of the training images together with its scores of the
validation images, and its scores of other images are averaged over the six fits. With more than 10,000, a candidate is
fitted on as many images as time allows and ranked by the validation images only, and random settings come from
successive halving on subsets of 10,000 (Jamieson and Talwalkar, AISTATS 2016). The best few of each kind are combined
with weights from `mmtk.training._ensemble`.

No estimator is fitted on validation images. But they are used for selection, so validation figures are somewhat
optimistic; training figures are of fitted images. Test images are only predicted.

The seed decides the folds, which images a subset contains, and the random numbers of each estimator. Candidates and
their order are the same for all seeds, except those from halving. How many are fitted, and on how many images of a
large dataset, depends on the machine's speed and load: the same seed gives the same predictions only if all candidates
are fitted before the budget ends.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError
from mmtk.files import write_text
from mmtk.loader import permutation
from mmtk.runs import RunResult
from mmtk.scoring import as_facts
from mmtk.store import Split
from mmtk.training._ensemble import SelectionMetric, ensemble_weights
from mmtk.training._features import Features
from mmtk.training._folds import all_columns, folds_of, successive_halving
from mmtk.training._portfolio import Candidate, Kind, draw_candidate, estimator_kinds, portfolio
from mmtk.training.methods import Job, register

SMALL = 10_000  # training images up to which there are out-of-fold scores
_PROBE = 1000  # images of a kind's first fit if there are more than twice as many, to estimate the time of more
_ROUNDS = 25  # randomly drawn settings per kind, at most
_KEPT = 4  # candidates of each kind that the ensemble may choose from
_BLOCK = 4096  # images predicted at a time, which limits memory
_SHARE = 0.86  # of the budget for fits; the rest is for the ensemble and for writing
_LAST = 0.95  # of the budget, when the selection of the ensemble stops
_MARGIN = 1.5  # times the duration of a kind's slowest fit, as estimate for other settings
_LOG = "search.jsonl"


@register("sklearn", "sklearn")
def search(job: Job) -> RunResult:
    """Choose and fit estimators, and write their ensemble's predictions of every split.

    The folder then holds ``config.json``, ``search.jsonl`` with one line per fit and finally the ensemble with its
    weights, ``result.json`` and a result file per split. A run that was killed starts over.
    """
    return job.leave({"method": "sklearn"}, lambda: _Search(job).predictions())


@dataclass
class _Cost:
    """The time that a kind's fits have taken, in seconds."""

    images: int
    fit: float
    per_image: float  # of prediction
    complete: float = 0.0  # of the slowest candidate fitted on all images, with its folds and predictions


@dataclass
class _Member:
    """A fitted candidate with its scores of every split; it is ranked by `ranking_scores`."""

    candidate: Candidate
    images: int
    merit: float
    ranking_scores: NDArray[np.float32]
    scores: dict[str, NDArray[np.float32]]


class _Search:
    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store
        train, val = self.store.train, self.store.val
        self.multilabel = self.store.info.task == Task.MULTILABEL
        self.outputs = len(self.store.info.classes)
        self.order = permutation(len(train), job.seed, 0)
        self.labels = train.labels.astype(int)
        self.features = Features(self.store, job.seed)
        self.kinds = estimator_kinds(self.multilabel)
        self.folds = folds_of(train, job.seed) if len(train) <= SMALL else []
        both = np.concatenate([self.labels, val.labels.astype(int)])
        self.metric = SelectionMetric(both if self.folds else both[len(train) :], self.outputs, self.multilabel)
        self.val_metric = SelectionMetric(both[len(train) :], self.outputs, self.multilabel)
        self.costs: dict[str, _Cost] = {}
        self.members: dict[str, list[_Member]] = {kind.name: [] for kind in self.kinds}
        self.fallback: _Member | None = None  # the best without out-of-fold scores, until there is one with them
        self.log: list[dict[str, Any]] = []

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Fit candidates while there is time; return the ensemble's scores of every split."""
        for candidate in self._candidates():
            self._try(candidate)
        chosen = [member for kind in self.kinds for member in self.members[kind.name]]
        if not chosen and self.fallback:
            chosen = [self.fallback]
        if not chosen:
            error = next((line["error"] for line in self.log if "error" in line), "the budget is too small")
            raise MmtkError(self.store.path, f"no estimator could be fitted: {error}")
        begun = self._spent()
        table = np.stack([member.ranking_scores for member in chosen])
        metric = self.metric if len(table[0]) == len(self.metric.truth) else self.val_metric
        weights = ensemble_weights(table, metric, self.job.seed, lambda: self._spent() < _LAST * self.job.budget)
        ensemble = [
            {"candidate": str(member.candidate), "images": member.images, "weight": round(float(weight), 4)}
            for weight, member in sorted(zip(weights, chosen, strict=True), key=lambda pair: -pair[0]) if weight
        ]
        merit = float(metric.merits(np.average(table, 0, weights)[None])[0])
        self.log.append({"ensemble": ensemble, **_figure(metric, merit), "chosen_after": begun, "spent": self._spent()})
        write_text(self.job.out / _LOG, "".join(json.dumps(as_facts(line)) + "\n" for line in self.log))
        return {
            split.name: np.average([member.scores[split.name] for member in chosen], axis=0, weights=weights)
            for split in self.store.splits
        }

    def _spent(self) -> float:
        spent = time.perf_counter() - self.job.begun
        self.job.progress(min(int(100 * spent / self.job.budget), 99), 100)
        return round(spent, 3)

    def _left(self) -> float:
        return _SHARE * self.job.budget - self._spent()

    def _candidates(self) -> Iterator[Candidate]:
        """Yield the portfolio, then randomly drawn settings, alternating between kinds."""
        yield from portfolio(self.kinds)
        for number in range(_ROUNDS):
            for place, kind in enumerate(self.kinds):
                if self._left() <= 0:
                    return
                if self.members[kind.name]:  # candidates of other kinds could not be fitted in time
                    yield self._drawn(kind, number * len(self.kinds) + place)

    def _drawn(self, kind: Kind, number: int) -> Candidate:
        """A candidate with randomly drawn settings; with many images the best of several by successive halving."""
        if len(self.labels) <= SMALL:
            return draw_candidate(kind, number)
        if 3 * self._estimate(kind, SMALL, SMALL) > self._left() / 3:
            return draw_candidate(kind, number)
        begun = time.perf_counter()
        rows = np.sort(self.order[:SMALL])
        features = self.features.of(self.store.train, rows, Candidate(kind, {}).components)
        try:
            with _threads(False):
                candidate = successive_halving(kind, features, self._labels(rows), self.outputs, number)
        except ValueError:  # none could be fitted to a small share
            return draw_candidate(kind, number)
        line = {"candidate": str(candidate), "images": SMALL, "halving": True}
        self.log.append({**line, "seconds": round(time.perf_counter() - begun, 3), "spent": self._spent()})
        return candidate

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = self.labels[rows] if self.multilabel else self.labels[rows, 0]
        return labels

    def _try(self, candidate: Candidate) -> None:
        """Fit a candidate on as many images as time allows, if any."""
        kind, every = candidate.kind, len(self.labels)
        first = not self.costs
        if kind.name not in self.costs and every > 2 * _PROBE and (first or self._left() > 0):
            self._fit(Candidate(kind, kind.first[0]), _PROBE)
            if kind.name not in self.costs and every > SMALL:
                return
        images = every if first and every <= 2 * _PROBE else self._affordable(kind)
        if images:
            self._fit(candidate, images)

    def _affordable(self, kind: Kind) -> int:
        """The largest number of images that can be fitted in time, 0 for none."""
        every, left = len(self.labels), self._left()
        if left <= 0:
            return 0
        if self.folds:
            predicted = sum(map(len, self.store.splits)) + every
            if self._estimate(kind, every, predicted) < left:
                return every
            if any(self.members.values()):
                return 0
        images = every
        while images > _PROBE or images == every:
            if self._estimate(kind, images, sum(map(len, self.store.splits)), folds=False) < left / 2:
                return images
            images //= 2
        return 0

    def _estimate(self, kind: Kind, images: int, predicted: int, *, folds: bool = True) -> float:
        """Estimate the seconds, at most, to fit a number of images and predict others."""
        cost = self.costs.get(kind.name)
        if cost is None:
            return 0.0
        if cost.complete and images == len(self.labels):
            return _MARGIN * cost.complete
        growth = images / cost.images
        slower = growth if kind.name in ("neighbours", "svc") else growth**0.25
        longer = growth**kind.growth if growth > 1 else growth
        fits = 1 + (len(self.folds) if folds and images == len(self.labels) else 0)
        return float(fits * cost.fit * longer + cost.per_image * slower * predicted)

    def _fit(self, candidate: Candidate, images: int) -> None:
        """Fit a candidate on a number of images; keep it and its scores of every split if it is good enough."""
        line: dict[str, Any] = {"candidate": str(candidate), "images": images}
        begun = time.perf_counter()
        try:
            # about labels that are constant in a fold, or a fit that did not converge
            with warnings.catch_warnings(action="ignore"):
                line |= self._ranked(candidate, images)
        except (ValueError, np.linalg.LinAlgError, MmtkError) as error:  # for example, only one class among its images
            line["error"] = str(error).strip().partition("\n")[0]
        seconds = time.perf_counter() - begun
        cost = self.costs.get(candidate.kind.name)
        if cost and images == len(self.labels) and "error" not in line:
            cost.complete = max(cost.complete, seconds)
        self.log.append({**line, "seconds": round(seconds, 3), "spent": self._spent()})

    def _ranked(self, candidate: Candidate, images: int) -> dict[str, float]:
        """Fit and rank a candidate; its figures for the log."""
        train, val = self.store.train, self.store.val
        rows = np.sort(self.order[:images])
        labels = self._labels(rows)
        features = self.features.of(train, rows, candidate.components)
        candidate.estimator(self.job.seed, self.multilabel)  # so that imports do not count
        begun = time.perf_counter()
        estimator = self._fitted(candidate, features, labels)
        fitted = time.perf_counter()
        ranking_scores = self._scores(candidate, [estimator], val)
        per_image = (time.perf_counter() - fitted) / len(val)
        self._add_cost(candidate.kind, images, fitted - begun, per_image)
        merit = float(self.val_metric.merits(ranking_scores[None])[0])
        figures = _figure(self.val_metric, merit, "val_")
        estimators = [estimator]
        others = len(self.folds) * (fitted - begun + per_image * sum(map(len, self.store.splits)))
        if self.folds and images == len(train) and others < self._left():
            out_of_fold, of_folds = self._out_of_fold(candidate, features, labels)
            estimators += of_folds
            ranking_scores = np.concatenate([out_of_fold, self._scores(candidate, estimators, val)])
            merit = float(self.metric.merits(ranking_scores[None])[0])
            figures |= _figure(self.metric, merit)
        self._keep(candidate, estimators, images, merit, ranking_scores)
        return figures

    def _add_cost(self, kind: Kind, images: int, fit: float, per_image: float) -> None:
        known = self.costs.get(kind.name)
        if known is None or images > known.images:
            self.costs[kind.name] = _Cost(images, fit, per_image)
        elif images == known.images:
            known.fit, known.per_image = max(known.fit, fit), max(known.per_image, per_image)

    def _keep(
        self, candidate: Candidate, estimators: list[Any], images: int, merit: float,
        ranking_scores: NDArray[np.float32],
    ) -> None:
        """Predict every split and keep the candidate, if it is among the best of its kind or the best fallback."""
        any_members = any(self.members.values())
        is_member = len(ranking_scores) == len(self.metric.truth) and (images > _PROBE or images == len(self.labels))
        kept = self.members[candidate.kind.name] if is_member else [self.fallback] if self.fallback else []
        if not is_member and (any_members or (kept and merit <= kept[0].merit)):
            return
        if len(kept) == _KEPT and merit <= kept[-1].merit:
            return
        scores = {
            split.name: (
                ranking_scores[-len(split) :] if split.name == "val" else self._scores(candidate, estimators, split)
            )
            for split in self.store.splits
        }
        member = _Member(candidate, images, merit, ranking_scores, scores)
        if is_member:
            self.members[candidate.kind.name] = sorted([*kept, member], key=lambda member: -member.merit)[:_KEPT]
        else:
            self.fallback = member

    def _out_of_fold(
        self, candidate: Candidate, features: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[Any]]:
        """Scores of the training images, each by an estimator fitted on the other folds, and those estimators."""
        scores, estimators = np.empty((len(labels), self.outputs), np.float32), []
        for rows, held_out in self.folds:
            estimators.append(self._fitted(candidate, features[rows], labels[rows]))
            scores[held_out] = self._probabilities(candidate, estimators[-1], features[held_out])
        return scores, estimators

    def _fitted(self, candidate: Candidate, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        estimator = candidate.estimator(self.job.seed, self.multilabel)
        with _threads(candidate.kind.name == "boosting" and len(labels) > SMALL):
            estimator.fit(features, labels)
        if hasattr(estimator, "n_jobs"):
            estimator.set_params(n_jobs=None)  # threads would sum trees in varying order
        return estimator

    def _probabilities(
        self, candidate: Candidate, estimator: Any, features: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Probabilities (n, classes or labels); 0 for a class that the estimator never saw."""
        many = candidate.kind.name == "neighbours" or (candidate.kind.name == "boosting" and len(features) > SMALL)
        with _threads(many):
            table = estimator.predict_proba(features)
        return all_columns(table, estimator.classes_, len(features), self.outputs, self.multilabel)

    def _scores(self, candidate: Candidate, estimators: list[Any], split: Split) -> NDArray[np.float32]:
        """Mean probabilities (n, classes or labels) of several estimators."""
        scores = np.empty((len(split), self.outputs), np.float32)
        step = len(split) if candidate.components is not None else _BLOCK
        for start in range(0, len(split), step):
            rows = np.arange(start, min(start + step, len(split)))
            features = self.features.of(split, rows, candidate.components)
            by_estimator = [self._probabilities(candidate, estimator, features) for estimator in estimators]
            scores[rows] = np.mean(by_estimator, axis=0)
        return scores


def _threads(many: bool) -> Any:
    """Limit short steps to one thread: several would mostly wait for each other."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(None if many else 1)


def _figure(metric: SelectionMetric, merit: float, prefix: str = "") -> dict[str, float]:
    return {f"{prefix}{metric.measure}": merit if metric.by_auc else -merit}
