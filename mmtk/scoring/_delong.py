"""DeLong's intervals for a binary AUC, and for the difference between two AUCs on the same images.

DeLong, DeLong and Clarke-Pearson, Biometrics 44, 837-845, 1988, computed from midranks as in Sun and Xu, IEEE Signal
Processing Letters 21, 1389-1393, 2014. The method assumes independent images; if subjects are known, use the bootstrap.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ScoreError
from mmtk.scoring._estimates import Estimate
from mmtk.scoring._metrics import checked, evaluate


def delong(labels: ArrayLike, scores: ArrayLike) -> Estimate:
    """Return a binary AUC with DeLong's 95 % interval, clipped to [0, 1].

    Parameters
    ----------
    labels : array_like, shape (n,) or (n, 1), int
        0 or 1.
    scores : array_like, shape (n,), (n, 1) or (n, 2), float
        The last column is the score of class 1.

    Returns
    -------
    Estimate

    Raises
    ------
    ScoreError
        If labels and scores do not match (see `evaluate`), or a class has fewer than two images.

    Examples
    --------
    >>> from mmtk.scoring import delong
    >>> print(delong([0, 0, 0, 1, 1, 1], [0.1, 0.3, 0.6, 0.4, 0.8, 0.9]))
    0.889 [0.581, 1.000]
    """
    (area,), covariance = _delong(labels, [scores])
    return _normal(area, float(covariance[0, 0]), 0.0, 1.0)


def delong_difference(labels: ArrayLike, scores: ArrayLike, others: ArrayLike) -> tuple[Estimate, float]:
    """Return the difference between two binary AUCs on the same images, with DeLong's 95 % interval and p-value.

    Parameters
    ----------
    labels : array_like, shape (n,) or (n, 1), int
        0 or 1.
    scores, others : array_like, shape (n,), (n, 1) or (n, 2), float
        The last column is the score of class 1.

    Returns
    -------
    difference : Estimate
        AUC of `scores` minus that of `others`.
    p : float
        Two-sided p-value.

    Raises
    ------
    ScoreError
        If labels and scores do not match (see `evaluate`), or a class has fewer than two images.

    Examples
    --------
    >>> from mmtk.scoring import delong_difference
    >>> labels = [0, 0, 0, 1, 1, 1]
    >>> difference, p = delong_difference(labels, [0.1, 0.3, 0.2, 0.4, 0.8, 0.9], [0.1, 0.3, 0.6, 0.4, 0.8, 0.9])
    >>> print(difference, round(p, 2))
    0.111 [-0.197, 0.419] 0.48
    """
    (mine, theirs), covariance = _delong(labels, [scores, others])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = mine - theirs
    spread = np.sqrt(max(variance, 0.0))
    p = 1.0 if difference == 0 else 0.0 if spread == 0 else 2 * NormalDist().cdf(-abs(difference) / spread)
    return _normal(difference, variance, -1.0, 1.0), p


def delong_if_defined(labels: ArrayLike, scores: ArrayLike, task: str | Task) -> Estimate | None:
    """DeLong's interval of a binary AUC; None for other tasks, or with fewer than two images of a class."""
    return delong(labels, scores) if Task(task) is Task.BINARY and is_defined(labels) else None


def is_defined(labels: ArrayLike) -> bool:
    """Whether both classes have at least two images, without which DeLong's variance is undefined."""
    return bool(np.bincount(np.ravel(labels).astype(np.int64), minlength=2).min() > 1)


def _delong(labels: ArrayLike, predictions: list[ArrayLike]) -> tuple[list[float], NDArray[np.float64]]:
    """AUCs and their covariance."""
    from scipy.stats import rankdata

    parts, areas = [], []
    positive = negative = 0
    for scores in predictions:
        evaluate(labels, scores, Task.BINARY)  # raises if they cannot be scored
        y, s = checked(labels, scores, Task.BINARY)
        ones, zeros = s[y[:, 0] == 1, -1], s[y[:, 0] == 0, -1]
        positive, negative = len(ones), len(zeros)
        if min(positive, negative) < 2:
            found = f"{positive} positive and {negative} negative"
            raise ScoreError("labels", "a class has too few images", found=found, expected="at least 2 of each class")
        together = rankdata(np.concatenate([ones, zeros]))
        above = (together[:positive] - rankdata(ones)) / negative  # share of negatives below each positive
        below = 1 - (together[positive:] - rankdata(zeros)) / positive
        areas.append(float(above.mean()))
        parts.append((above, below))
    covariance = sum(
        np.atleast_2d(np.cov(np.stack([part[i] for part in parts]))) / n for i, n in enumerate((positive, negative))
    )
    return areas, np.asarray(covariance)


def _normal(value: float, variance: float, lowest: float, highest: float) -> Estimate:
    half_width = NormalDist().inv_cdf(0.975) * float(np.sqrt(max(variance, 0.0)))
    return Estimate(value, max(value - half_width, lowest), min(value + half_width, highest))
