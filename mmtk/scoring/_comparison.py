"""How much better one result file scores than another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.datasets.base import Task
from mmtk.display import facts_table
from mmtk.errors import ScoreError
from mmtk.scoring._delong import delong_difference, enough
from mmtk.scoring._intervals import Estimate, Intervals, as_facts, paired_difference
from mmtk.scoring.predictions import evaluate_file


@dataclass(frozen=True)
class Comparison:
    """The figures of a result file less those of another, on the same images.

    Attributes
    ----------
    intervals : Intervals
        From the same resamples for both.
    delong : Estimate or None
        Of the AUC, for binary tasks with two images of each class or more.
    p : float or None
        DeLong's, two-sided.
    """

    intervals: Intervals
    delong: Estimate | None = None
    p: float | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON values; ``delong`` where it is defined."""
        delong = {"delong": {**as_facts(self.delong), "p": self.p}} if self.delong else {}
        return {**as_facts(self.intervals), **delong}

    def _repr_html_(self) -> str:
        bands = self.intervals
        return facts_table("Difference of scores", {
            "AUC": bands.auc, "ACC": bands.acc, "intervals": f"95 %, {bands.resamples} resamples of {bands.resampled}",
            "AUC (DeLong)": f"{self.delong}, p = {self.p:.3g}" if self.delong else "",
        })


def compare_files(path: str | Path, other: str | Path, stores: str | Path) -> Comparison:
    """Compare two result files of the same images; errors are those of `evaluate_file`.

    Parameters
    ----------
    path, other : path
    stores : path
        Folder with their store.

    Raises
    ------
    ScoreError
        If they are not of the same images in the same order.
    """
    mine, theirs = evaluate_file(path, stores), evaluate_file(other, stores)
    same = (mine.info, mine.predictions.split) == (theirs.info, theirs.predictions.split)
    if not same or (mine.labels != theirs.labels).any():
        raise ScoreError(other, expected=f"the images of {mine.path.name}, in their order", found="others")
    scores = mine.predictions.scores, theirs.predictions.scores
    difference = paired_difference(mine.labels, *scores, mine.info.task, mine.subjects)
    if mine.info.task == Task.BINARY and enough(mine.labels):
        return Comparison(difference, *delong_difference(mine.labels, *scores))
    return Comparison(difference)
