"""Greedy ensemble selection with replacement from bags of candidates (Caruana et al., ICML 2004)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_BAGS = 20
_ROUNDS = 20  # additions in each bag
_LOWEST = 1e-6  # probabilities are clipped to this before the logarithm


class SelectionMetric:
    """The metric by which scores of a set of images are compared: AUC, or log loss if the AUC is undefined.

    Parameters
    ----------
    labels : (n, l) int
        One column with the class; for multi-label tasks a column of 0 and 1 per label.
    outputs : int
        Number of classes or labels.
    multilabel : bool
    """

    def __init__(self, labels: NDArray[np.int64], outputs: int, multilabel: bool) -> None:
        truth = labels if multilabel else labels == np.arange(outputs)
        self.truth: NDArray[np.bool_] = truth.astype(bool)
        self.multilabel = multilabel
        self._binary = not multilabel and outputs == 2  # the second column suffices
        counts = self.truth.sum(axis=0)
        self.by_auc = bool(((counts > 0) & (counts < len(labels))).all())
        self.measure = "auc" if self.by_auc else "loss"

    def merits(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return a number per table of scores, higher is better: the AUC, or the negative log loss.

        Parameters
        ----------
        scores : (tables, n, outputs)
        """
        return self._aucs(scores) if self.by_auc else -self._losses(scores)

    def _aucs(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        from scipy.stats import rankdata

        first = 1 if self._binary else 0
        truth = self.truth[:, first:]
        positives = truth.sum(axis=0)
        ranks = rankdata(scores[:, :, first:], axis=1)
        above = (ranks * truth).sum(axis=1) - positives * (positives + 1) / 2
        aucs: NDArray[np.float64] = (above / (positives * (len(truth) - positives))).mean(axis=1)
        return aucs

    def _losses(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        probabilities = np.clip(scores, _LOWEST, 1 - _LOWEST)
        if self.multilabel:
            likelihoods = np.where(self.truth, probabilities, 1 - probabilities)
            losses: NDArray[np.float64] = -np.log(likelihoods).mean(axis=(1, 2))
        else:
            losses = -np.log(probabilities[:, self.truth]).mean(axis=1)
        return losses


def ensemble_weights(
    scores: NDArray[np.floating], metric: SelectionMetric, seed: int, keep_going: Callable[[], bool] = lambda: True
) -> NDArray[np.float64]:
    """Return weights of candidates that make the weighted mean of their scores good.

    Parameters
    ----------
    scores : (candidates, n, outputs)
    metric : SelectionMetric
        Of these n images.
    seed : int
        Decides the bags, each of half the candidates.
    keep_going : callable
        Called after each bag; False stops the selection.

    Returns
    -------
    (candidates,) float64
        Their sum is 1.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros(len(scores))
    for _ in range(_BAGS):
        bag = np.sort(rng.permutation(len(scores))[: -(-len(scores) // 2)])
        np.add.at(counts, bag[_greedy(scores[bag], metric)], 1)
        if not keep_going():
            break
    weights: NDArray[np.float64] = counts / counts.sum()
    return weights


def _greedy(scores: NDArray[np.floating], metric: SelectionMetric) -> list[int]:
    """The candidate added in each round: the one that makes the mean best."""
    added: list[int] = []
    total = np.zeros(scores.shape[1:])
    for number in range(1, (_ROUNDS if len(scores) > 1 else 1) + 1):
        best = int(np.argmax(metric.merits((total + scores) / number)))
        added.append(best)
        total += scores[best]
    return added
