"""All that test predictions tell, found in one way for ``evaluate``, the decathlon and the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from mmtk.datasets.base import Task
from mmtk.scoring._delong import delong_if_defined
from mmtk.scoring._details import Details, details
from mmtk.scoring._intervals import Estimate, Intervals, Resampled, as_facts, resample


@dataclass(frozen=True)
class Assessment:
    """Figures of predictions with their intervals, and what AUC and ACC hide; what is undefined is NaN.

    Attributes
    ----------
    resampled : Resampled
    intervals : Intervals
    details : Details
    delong : Estimate or None
        For binary tasks with two images of each class or more.
    """

    resampled: Resampled
    intervals: Intervals
    details: Details
    delong: Estimate | None

    def estimate(self, figure: int) -> Estimate | None:
        """AUC (0) or ACC (1) with its interval; None where resamples cannot differ, as of a single subject."""
        chosen = (self.intervals.auc, self.intervals.acc)[figure]
        return None if chosen.low == chosen.high and 0 < chosen.value < 1 else chosen

    def facts(self) -> dict[str, Any]:
        """As JSON values; ``delong`` where it is defined."""
        told = {"intervals": self.intervals, "delong": self.delong, "details": self.details}
        return {name: as_facts(value) for name, value in told.items() if value is not None}


def assess(
    labels: ArrayLike, scores: ArrayLike, task: str | Task, classes: tuple[str, ...], subjects: ArrayLike | None = None
) -> Assessment:
    """Score predictions in all ways.

    Parameters and errors are those of `resample` and `details`.
    """
    resampled = resample(labels, scores, task, subjects)
    return Assessment(
        resampled, resampled.intervals(), details(labels, scores, task, classes),
        delong_if_defined(labels, scores, task),
    )
