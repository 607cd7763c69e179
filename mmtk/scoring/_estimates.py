"""Figures with their intervals, and results as JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from mmtk.scoring._metrics import format_figure


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval; NaN where undefined.

    Attributes
    ----------
    value, low, high : float

    Examples
    --------
    >>> from mmtk.scoring import Estimate
    >>> print(Estimate(0.9134, 0.8601, 0.9587))
    0.913 [0.860, 0.959]
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return format_figure(self.value)
        if np.isnan(self.low):
            return f"{self.value:.3f} [unknown]"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ClassIntervals:
    """Figures with intervals of one class against the rest, or of one label.

    Attributes
    ----------
    auc, recall, f1 : Estimate

    Examples
    --------
    >>> from mmtk.scoring import intervals
    >>> first, second = intervals([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.9], "binary-class").classes
    >>> first.recall.value, second.recall.value
    (0.5, 1.0)
    """

    auc: Estimate
    recall: Estimate
    f1: Estimate


@dataclass(frozen=True)
class Intervals:
    """Figures with 95 % bootstrap intervals.

    Attributes
    ----------
    auc, acc : Estimate
    balanced_accuracy : Estimate
        As defined in `Details`.
    kappa : Estimate or None
        Cohen's kappa with quadratic weights, for ordinal tasks.
    classes : tuple of ClassIntervals
    resampled : {"subjects", "images"}
        The sampling unit.
    resamples : int
        Number of resamples.
    undefined : int
        Resamples without images of some class, which have no AUC. They are left out of its interval, which is unknown
        if they are more than half.

    Examples
    --------
    >>> import mmtk.scoring
    >>> result = mmtk.scoring.intervals([0, 0, 1, 1] * 20, [0.1, 0.6, 0.7, 0.9] * 20, "binary-class")
    >>> result.acc.value, result.resampled, result.resamples, result.undefined
    (0.75, 'images', 2000, 0)
    """

    auc: Estimate
    acc: Estimate
    balanced_accuracy: Estimate
    kappa: Estimate | None
    classes: tuple[ClassIntervals, ...]
    resampled: str
    resamples: int
    undefined: int


def as_facts(value: Any) -> Any:
    """Convert results to JSON values, NaN to None."""
    if is_dataclass(value) and not isinstance(value, type):
        return as_facts(asdict(value))
    if isinstance(value, dict):
        return {name: as_facts(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_facts(item) for item in value]
    if isinstance(value, np.ndarray):
        return as_facts(value.tolist())
    return None if isinstance(value, float) and np.isnan(value) else value
