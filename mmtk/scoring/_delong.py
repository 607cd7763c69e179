"""DeLong's intervals of the binary AUC, and of the difference of two on the same images.

DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837-845, 1988, by the midranks of Sun and Xu, IEEE Signal Processing
Letters 21, 1389-1393, 2014. They take images for independent: where subjects are known, the bootstrap is the one to
believe.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ScoreError
from mmtk.scoring._intervals import Estimate
from mmtk.scoring._metrics import checked, evaluate


def delong(labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """A binary AUC with DeLong's 95 % interval, cut at 0 and 1.

    Parameters
    ----------
    labels : (n,) or (n, 1)
    scores : (n,), (n, 1) or (n, 2)

    Raises
    ------
    ScoreError
        For the reasons of `evaluate`, or with fewer than two images of a class.
    """
    (area,), covariance = _delong(labels, [scores])
    return _normal(area, float(covariance[0, 0]), 0.0, 1.0)


def delong_difference(labels: ArrayLike, scores: ArrayLike, others: ArrayLike) -> tuple[Estimate, float]:
    """How much higher a binary AUC is than another on the same images: 95 % interval and two-sided p, by DeLong.

    Parameters and errors are those of `delong`.
    """
    (mine, theirs), covariance = _delong(labels, [scores, others])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = mine - theirs
    spread = np.sqrt(max(variance, 0.0))
    p = 1.0 if difference == 0 else 0.0 if spread == 0 else 2 * NormalDist().cdf(-abs(difference) / spread)
    return _normal(difference, variance, -1.0, 1.0), p


def delong_if_defined(labels: ArrayLike, scores: ArrayLike, task: str | Task) -> Estimate | None:
    """DeLong's interval of a binary AUC; None for other tasks, or with fewer than two images of a class."""
    return delong(labels, scores) if Task(task) is Task.BINARY and enough(labels) else None


def enough(labels: ArrayLike) -> bool:
    """Whether there are two images of each of two classes, without which DeLong's variance is undefined."""
    return bool(np.bincount(np.ravel(labels).astype(np.int64), minlength=2).min() > 1)


def _delong(labels: ArrayLike, predictions: list[ArrayLike]) -> tuple[list[float], NDArray[np.float64]]:
    """AUCs and their covariance."""
    from scipy.stats import rankdata

    parts, areas = [], []
    positive = negative = 0
    for scores in predictions:
        evaluate(labels, scores, Task.BINARY)  # refuses what cannot be scored
        y, s = checked(labels, scores, Task.BINARY)
        ones, zeros = s[y[:, 0] == 1, -1], s[y[:, 0] == 0, -1]
        positive, negative = len(ones), len(zeros)
        if min(positive, negative) < 2:
            raise ScoreError("labels", expected="two images of each class or more", found=f"{positive} and {negative}")
        together = rankdata(np.concatenate([ones, zeros]))
        above = (together[:positive] - rankdata(ones)) / negative  # for each positive, the share of negatives below
        below = 1 - (together[positive:] - rankdata(zeros)) / positive
        areas.append(float(above.mean()))
        parts.append((above, below))
    covariance = sum(
        np.atleast_2d(np.cov(np.stack([part[i] for part in parts]))) / n for i, n in enumerate((positive, negative))
    )
    return areas, np.asarray(covariance)


def _normal(value: float, variance: float, least: float, most: float) -> Estimate:
    reach = NormalDist().inv_cdf(0.975) * float(np.sqrt(max(variance, 0.0)))
    return Estimate(value, max(value - reach, least), min(value + reach, most))
