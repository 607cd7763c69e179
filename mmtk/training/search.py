"""The method ``sklearn``: an ensemble of well-known estimators on flattened pixels, within a time budget.

A portfolio of estimators (`mmtk.training._portfolio`) is fitted, the best guesses first, then settings drawn at random
until the budget ends. Up to 10,000 training images each candidate is fitted on all of them and on all but each of five
folds; it is judged by its out-of-fold scores of the training images together with those of the validation images, and
its scores of other images are the mean of these six fits. Above 10,000 a candidate is fitted on as many images as the
time allows and judged by the validation images alone, and random settings come from successive halving on shares of
10,000 (Jamieson and Talwalkar, AISTATS 2016). The best few of each kind are weighed by `mmtk.training._ensemble`.

No estimator is fitted on validation images. But they choose, with out-of-fold scores or alone, so that figures of val
are somewhat better than those of images never seen; figures of train are of images that were fitted. Test images are
only predicted.

The seed decides the folds, which images a share of them is, and the random numbers of each estimator; candidates and
their order are the same for all seeds, but for those that halving finds. How many of them are fitted, and on how many
images of a large set, depends on the machine's speed and on what else it does: only where all candidates are fitted
before the budget ends does the same seed give the same predictions.
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
from mmtk.training._ensemble import Judge, weigh
from mmtk.training._features import Features
from mmtk.training._folds import folds_of, halved, table_of
from mmtk.training._portfolio import Candidate, Kind, drawn, kinds_of, portfolio
from mmtk.training.methods import Job, register

SMALL = 10_000  # training images up to which there are out-of-fold scores
_PROBE = 1000  # images of a kind's first fit where there are more than twice as many, to tell what these would take
_ROUNDS = 25  # settings drawn of each kind at most
_KEPT = 4  # candidates of each kind that the ensemble may choose from
_BLOCK = 4096  # images predicted at a time: what their pixels take in memory
_SHARE = 0.86  # of the budget for fits; the rest is for the ensemble and for writing what was found
_LAST = 0.95  # of the budget, when the ensemble is left as it is
_DOUBT = 1.5  # times what a kind's slowest fit took, for other settings
_LOG = "search.jsonl"


@register("sklearn", "sklearn")
def search(job: Job) -> RunResult:
    """Choose and fit estimators, and leave the predictions of their ensemble of every split.

    The folder then holds ``config.json``, ``search.jsonl`` with a line a fit and at last the ensemble with its weights,
    ``result.json`` and a result file for each split; a run that was killed begins anew.
    """
    return job.leave({"method": "sklearn"}, lambda: _Search(job).predictions())


@dataclass
class _Cost:
    """What a kind's fits have taken, in seconds."""

    images: int
    fit: float
    an_image: float  # to predict it
    whole: float = 0.0  # the slowest candidate that was fitted on everything, with its folds and predictions


@dataclass
class _Member:
    """A candidate that was fitted, with its scores of every split."""

    candidate: Candidate
    images: int
    merit: float
    judged: NDArray[np.float32]
    scores: dict[str, NDArray[np.float32]]


class _Search:
    def __init__(self, job: Job) -> None:
        self.job, self.store = job, job.store
        train, val = self.store.train, self.store.val
        self.several = self.store.info.task == Task.MULTILABEL
        self.outputs = len(self.store.info.classes)
        self.order = permutation(len(train), job.seed, 0)
        self.labels = train.labels.astype(int)
        self.features = Features(self.store, job.seed)
        self.kinds = kinds_of(self.several)
        self.folds = folds_of(train, job.seed) if len(train) <= SMALL else []
        both = np.concatenate([self.labels, val.labels.astype(int)])
        self.judge = Judge(both if self.folds else both[len(train) :], self.outputs, self.several)
        self.val_judge = Judge(both[len(train) :], self.outputs, self.several)
        self.costs: dict[str, _Cost] = {}
        self.members: dict[str, list[_Member]] = {kind.name: [] for kind in self.kinds}
        self.plain: _Member | None = None  # the best without out-of-fold scores, until there is one that has them
        self.log: list[dict[str, Any]] = []

    def predictions(self) -> dict[str, NDArray[Any]]:
        """Fit candidates while there is time; the ensemble's scores of every split."""
        for candidate in self._candidates():
            self._try(candidate)
        chosen = [member for kind in self.kinds for member in self.members[kind.name]]
        if not chosen and self.plain:
            chosen = [self.plain]
        if not chosen:
            error = next((line["error"] for line in self.log if "error" in line), "none in the budget")
            raise MmtkError(self.store.path, expected="an estimator that can be fitted", found=error)
        begun = self._spent()
        table = np.stack([member.judged for member in chosen])
        judge = self.judge if len(table[0]) == len(self.judge.truth) else self.val_judge
        weights = weigh(table, judge, self.job.seed, lambda: self._spent() < _LAST * self.job.budget)
        ensemble = [
            {"candidate": str(member.candidate), "images": member.images, "weight": round(float(weight), 4)}
            for weight, member in sorted(zip(weights, chosen, strict=True), key=lambda pair: -pair[0]) if weight
        ]
        merit = float(judge.merits(np.average(table, 0, weights)[None])[0])
        self.log.append({"ensemble": ensemble, **_figure(judge, merit), "chosen_after": begun, "spent": self._spent()})
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
        """The portfolio, then settings at random, a kind after the other."""
        yield from portfolio(self.kinds)
        for number in range(_ROUNDS):
            for place, kind in enumerate(self.kinds):
                if self._left() <= 0:
                    return
                if self.members[kind.name]:  # of the others, none could be fitted in time
                    yield self._drawn(kind, number * len(self.kinds) + place)

    def _drawn(self, kind: Kind, number: int) -> Candidate:
        """Settings drawn at random; the best of several by successive halving where there are many images."""
        if len(self.labels) <= SMALL:
            return drawn(kind, number)
        if 3 * self._foretold(kind, SMALL, SMALL) > self._left() / 3:
            return drawn(kind, number)
        begun = time.perf_counter()
        rows = np.sort(self.order[:SMALL])
        features = self.features.of(self.store.train, rows, Candidate(kind, {}).components)
        try:
            with _threads(False):
                found = halved(kind, features, self._labels(rows), self.outputs, number)
        except ValueError:  # none could be fitted to a small share
            return drawn(kind, number)
        line = {"candidate": str(found), "images": SMALL, "halving": True}
        self.log.append({**line, "seconds": round(time.perf_counter() - begun, 3), "spent": self._spent()})
        return found

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        labels: NDArray[np.int64] = self.labels[rows] if self.several else self.labels[rows, 0]
        return labels

    def _try(self, candidate: Candidate) -> None:
        """Fit a candidate on as many images as there is time for, if there is."""
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
        """The most images that a fit may take, 0 for none."""
        every, left = len(self.labels), self._left()
        if left <= 0:
            return 0
        if self.folds:
            predicted = sum(map(len, self.store.splits)) + every
            if self._foretold(kind, every, predicted) < left:
                return every
            if any(self.members.values()):
                return 0
        images = every
        while images > _PROBE or images == every:
            if self._foretold(kind, images, sum(map(len, self.store.splits)), folds=False) < left / 2:
                return images
            images //= 2
        return 0

    def _foretold(self, kind: Kind, images: int, predicted: int, *, folds: bool = True) -> float:
        """Seconds at most to fit so many images and predict others."""
        cost = self.costs.get(kind.name)
        if cost is None:
            return 0.0
        if cost.whole and images == len(self.labels):
            return _DOUBT * cost.whole
        growth = images / cost.images
        slower = growth if kind.name in ("neighbours", "svc") else growth**0.25
        longer = growth**kind.growth if growth > 1 else growth
        fits = 1 + (len(self.folds) if folds and images == len(self.labels) else 0)
        return float(fits * cost.fit * longer + cost.an_image * slower * predicted)

    def _fit(self, candidate: Candidate, images: int) -> None:
        """Fit a candidate on so many images; keep it and its scores of every split if it is good enough."""
        line: dict[str, Any] = {"candidate": str(candidate), "images": images}
        begun = time.perf_counter()
        try:
            # of labels that are constant in a fold, or of a fit that did not converge
            with warnings.catch_warnings(action="ignore"):
                line |= self._judged(candidate, images)
        except (ValueError, np.linalg.LinAlgError, MmtkError) as error:  # one class alone in its share, say
            line["error"] = str(error).strip().partition("\n")[0]
        seconds = time.perf_counter() - begun
        cost = self.costs.get(candidate.kind.name)
        if cost and images == len(self.labels) and "error" not in line:
            cost.whole = max(cost.whole, seconds)
        self.log.append({**line, "seconds": round(seconds, 3), "spent": self._spent()})

    def _judged(self, candidate: Candidate, images: int) -> dict[str, float]:
        train, val = self.store.train, self.store.val
        rows = np.sort(self.order[:images])
        labels = self._labels(rows)
        features = self.features.of(train, rows, candidate.components)
        candidate.estimator(self.job.seed, self.several)  # imports what it needs
        begun = time.perf_counter()
        estimator = self._fitted(candidate, features, labels)
        fitted = time.perf_counter()
        judged = self._scores(candidate, [estimator], val)
        an_image = (time.perf_counter() - fitted) / len(val)
        self._note(candidate.kind, images, fitted - begun, an_image)
        told = _figure(self.val_judge, merit := float(self.val_judge.merits(judged[None])[0]), "val_")
        estimators = [estimator]
        others = len(self.folds) * (fitted - begun + an_image * sum(map(len, self.store.splits)))
        if self.folds and images == len(train) and others < self._left():
            outside, of_folds = self._out_of_fold(candidate, features, labels)
            estimators += of_folds
            judged = np.concatenate([outside, self._scores(candidate, estimators, val)])
            merit = float(self.judge.merits(judged[None])[0])
            told |= _figure(self.judge, merit)
        self._keep(candidate, estimators, images, merit, judged)
        return told

    def _note(self, kind: Kind, images: int, fit: float, an_image: float) -> None:
        known = self.costs.get(kind.name)
        if known is None or images > known.images:
            self.costs[kind.name] = _Cost(images, fit, an_image)
        elif images == known.images:
            known.fit, known.an_image = max(known.fit, fit), max(known.an_image, an_image)

    def _keep(
        self, candidate: Candidate, estimators: list[Any], images: int, merit: float, judged: NDArray[np.float32]
    ) -> None:
        """Predict every split and remember it, if it is among the best of its kind, or there is no better yet."""
        some = any(self.members.values())
        member = len(judged) == len(self.judge.truth) and (images > _PROBE or images == len(self.labels))
        kept = self.members[candidate.kind.name] if member else [self.plain] if self.plain else []
        if not member and (some or (kept and merit <= kept[0].merit)):
            return
        if len(kept) == _KEPT and merit <= kept[-1].merit:
            return
        scores = {
            split.name: judged[-len(split) :] if split.name == "val" else self._scores(candidate, estimators, split)
            for split in self.store.splits
        }
        found = _Member(candidate, images, merit, judged, scores)
        if member:
            self.members[candidate.kind.name] = sorted([*kept, found], key=lambda one: -one.merit)[:_KEPT]
        else:
            self.plain = found

    def _out_of_fold(
        self, candidate: Candidate, features: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[Any]]:
        """Scores of the training images, each by an estimator fitted on the other folds, and those estimators."""
        found, estimators = np.empty((len(labels), self.outputs), np.float32), []
        for rows, held_out in self.folds:
            estimators.append(self._fitted(candidate, features[rows], labels[rows]))
            found[held_out] = self._chances(candidate, estimators[-1], features[held_out])
        return found, estimators

    def _fitted(self, candidate: Candidate, features: NDArray[np.float32], labels: NDArray[np.int64]) -> Any:
        estimator = candidate.estimator(self.job.seed, self.several)
        with _threads(candidate.kind.name == "boosting" and len(labels) > SMALL):
            estimator.fit(features, labels)
        if hasattr(estimator, "n_jobs"):
            estimator.set_params(n_jobs=None)  # threads would add up trees in any order
        return estimator

    def _chances(self, candidate: Candidate, estimator: Any, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities, (n, classes or labels); 0 for a class it never saw."""
        many = candidate.kind.name == "neighbours" or (candidate.kind.name == "boosting" and len(features) > SMALL)
        with _threads(many):
            table = estimator.predict_proba(features)
        return table_of(table, estimator.classes_, len(features), self.outputs, self.several)

    def _scores(self, candidate: Candidate, estimators: list[Any], split: Split) -> NDArray[np.float32]:
        """Mean probabilities by some estimators, (n, classes or labels)."""
        found = np.empty((len(split), self.outputs), np.float32)
        step = len(split) if candidate.components is not None else _BLOCK
        for start in range(0, len(split), step):
            rows = np.arange(start, min(start + step, len(split)))
            features = self.features.of(split, rows, candidate.components)
            found[rows] = np.mean([self._chances(candidate, one, features) for one in estimators], axis=0)
        return found


def _threads(many: bool) -> Any:
    """Let steps run in one thread where they are short: many would wait for each other most of the time."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(None if many else 1)


def _figure(judge: Judge, merit: float, what: str = "") -> dict[str, float]:
    return {f"{what}{judge.measure}": merit if judge.by_auc else -merit}
