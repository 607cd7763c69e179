"""Ensembles chosen greedily with replacement, in bags of candidates. Caruana et al., ICML 2004."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_BAGS = 20
_ROUNDS = 20  # additions in each bag
_LEAST = 1e-6  # what a chance of 0 counts as in a logarithm


class Judge:
    """How good scores of some images are: by AUC, or where that is undefined by log loss.

    Parameters
    ----------
    labels : (n, l) int
        A column with the class; for several labels 0 and 1 in a column each.
    outputs : int
        Classes, or labels.
    several : bool
    """

    def __init__(self, labels: NDArray[np.int64], outputs: int, several: bool) -> None:
        truth = labels if several else labels == np.arange(outputs)
        self.truth: NDArray[np.bool_] = truth.astype(bool)
        self.several = several
        self._one = not several and outputs == 2  # where one column says all
        counts = self.truth.sum(axis=0)
        self.by_auc = bool(((counts > 0) & (counts < len(labels))).all())
        self.measure = "auc" if self.by_auc else "loss"

    def merits(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """A number for each table, higher is better: the AUC, or the log loss times -1.

        Parameters
        ----------
        scores : (tables, n, outputs)
        """
        return self._aucs(scores) if self.by_auc else -self._losses(scores)

    def _aucs(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        from scipy.stats import rankdata

        first = 1 if self._one else 0
        truth = self.truth[:, first:]
        positives = truth.sum(axis=0)
        ranks = rankdata(scores[:, :, first:], axis=1)
        above = (ranks * truth).sum(axis=1) - positives * (positives + 1) / 2
        aucs: NDArray[np.float64] = (above / (positives * (len(truth) - positives))).mean(axis=1)
        return aucs

    def _losses(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        chances = np.clip(scores, _LEAST, 1 - _LEAST)
        if self.several:
            losses: NDArray[np.float64] = -np.log(np.where(self.truth, chances, 1 - chances)).mean(axis=(1, 2))
        else:
            losses = -np.log(chances[:, self.truth]).mean(axis=1)
        return losses


def weigh(
    scores: NDArray[np.floating], judge: Judge, seed: int, go_on: Callable[[], bool] = lambda: True
) -> NDArray[np.float64]:
    """Weights of candidates by which the mean of their scores is good.

    Parameters
    ----------
    scores : (candidates, n, outputs)
    judge : Judge
        Of these n images.
    seed : int
        Of the bags, each a half of the candidates.
    go_on : callable
        Asked after each bag.

    Returns
    -------
    (candidates,) float
        Their sum is 1.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros(len(scores))
    for _ in range(_BAGS):
        bag = np.sort(rng.permutation(len(scores))[: -(-len(scores) // 2)])
        np.add.at(counts, bag[_greedy(scores[bag], judge)], 1)
        if not go_on():
            break
    weights: NDArray[np.float64] = counts / counts.sum()
    return weights


def _greedy(scores: NDArray[np.floating], judge: Judge) -> list[int]:
    """Which candidate is added in each round: the one with which the mean is best."""
    added: list[int] = []
    total = np.zeros(scores.shape[1:])
    for number in range(1, (_ROUNDS if len(scores) > 1 else 1) + 1):
        best = int(np.argmax(judge.merits((total + scores) / number)))
        added.append(best)
        total += scores[best]
    return added
