"""Everything computed from test predictions, shared by ``evaluate``, the decathlon and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from mmtk.datasets.base import Task
from mmtk.scoring._delong import delong_if_defined
from mmtk.scoring._details import Details, details
from mmtk.scoring._estimates import Estimate, Intervals, as_facts
from mmtk.scoring._intervals import Resampled, resample


@dataclass(frozen=True)
class Assessment:
    """Figures of predictions with their intervals and per-class details; undefined figures are NaN.

    Attributes
    ----------
    resampled : Resampled
        All figures of every bootstrap resample.
    intervals : Intervals
        Figures with 95 % bootstrap intervals.
    details : Details
        Per-class figures, confusion matrix, calibration.
    delong : Estimate or None
        AUC with DeLong's 95 % interval, for binary tasks with at least two images of each class.

    Examples
    --------
    >>> from mmtk.scoring import assess
    >>> labels, scores = [0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9]
    >>> assessment = assess(labels, scores, "binary-class", ("malignant", "benign"))
    >>> assessment.estimate(0).value, assessment.estimate(1).value
    (0.75, 0.5)
    >>> sorted(assessment.facts())
    ['delong', 'details', 'intervals']
    """

    resampled: Resampled
    intervals: Intervals
    details: Details
    delong: Estimate | None

    def estimate(self, figure: int) -> Estimate | None:
        """AUC (0) or ACC (1) with its interval; None if all resamples are equal, as with a single subject."""
        chosen = (self.intervals.auc, self.intervals.acc)[figure]
        return None if chosen.low == chosen.high and 0 < chosen.value < 1 else chosen

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values; ``delong`` only if it is defined."""
        parts = {"intervals": self.intervals, "delong": self.delong, "details": self.details}
        return {name: as_facts(value) for name, value in parts.items() if value is not None}


def assess(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, classes: tuple[str, ...], subjects: ArrayLike | None = None
) -> Assessment:
    """Score predictions: AUC and ACC, bootstrap and DeLong intervals, per-class details.

    Parameters
    ----------
    labels : array_like, shape (n,), (n, 1) or (n, l), int
        As `evaluate` takes them.
    scores : array_like, shape (n, k), float
        As `evaluate` takes them.
    task : str or Task
        As MedMNIST names it, such as ``"binary-class"``.
    classes : tuple of str
        Names of the classes or labels.
    subjects : array_like, shape (n,), optional
        The subject of each image; whole subjects are then resampled.

    Returns
    -------
    Assessment

    Raises
    ------
    ScoreError
        If labels, scores, classes and subjects do not match, or a score is not finite.
    ArgumentError
        If the task is unknown.

    Examples
    --------
    >>> from mmtk.scoring import assess
    >>> result = assess([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], "binary-class", ("malignant", "benign"))
    >>> print(result.delong)
    0.750 [0.057, 1.000]
    >>> result.details.confusion
    array([[1, 1],
           [1, 1]])
    """
    resampled = resample(labels, scores, task, subjects)
    return Assessment(
        resampled, resampled.intervals(), details(labels, scores, task, classes),
        delong_if_defined(labels, scores, task),
    )
