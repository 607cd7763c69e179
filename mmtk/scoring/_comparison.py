"""Compare two result files of the same images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmtk.datasets.base import Task
from mmtk.display import facts_table
from mmtk.errors import ScoreError
from mmtk.scoring._delong import delong_difference, is_defined
from mmtk.scoring._estimates import Estimate, Intervals, as_facts
from mmtk.scoring._intervals import paired_difference
from mmtk.scoring.predictions import evaluate_file


@dataclass(frozen=True)
class Comparison:
    """Figures of one result file minus those of another, on the same images.

    Attributes
    ----------
    intervals : Intervals
        Differences with paired 95 % bootstrap intervals.
    delong : Estimate or None
        Difference in AUC with DeLong's 95 % interval, for binary tasks with at least two images of each class.
    p : float or None
        DeLong's two-sided p-value.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import compare_files
    >>> files = sorted(Path("runs").glob("resnet*/*_test_*.csv"))
    >>> comparison = compare_files(files[0], files[1], "stores")
    >>> sorted(comparison.facts())[:3]
    ['acc', 'auc', 'balanced_accuracy']
    """

    intervals: Intervals
    delong: Estimate | None = None
    p: float | None = None

    def facts(self) -> dict[str, Any]:
        """Return it as JSON values; ``delong`` only if it is defined."""
        delong = {"delong": {**as_facts(self.delong), "p": self.p}} if self.delong else {}
        return {**as_facts(self.intervals), **delong}

    def _repr_html_(self) -> str:
        bands = self.intervals
        return facts_table("Difference of scores", {
            "AUC": bands.auc, "ACC": bands.acc, "intervals": f"95 %, {bands.resamples} resamples of {bands.resampled}",
            "AUC (DeLong)": f"{self.delong}, p = {self.p:.3g}" if self.delong else "",
        })


def compare_files(path: str | Path, other: str | Path, stores: str | Path) -> Comparison:
    """Compare two result files of the same images: how much higher the first scores than the second.

    Parameters
    ----------
    path, other : str or path
        Result files; see `read_predictions`.
    stores : str or path
        Folder with the store of their images.

    Returns
    -------
    Comparison

    Raises
    ------
    ScoreError
        If the files do not score the same images in the same order, or one cannot be scored; see `evaluate_file`.
    StoreError
        If the store does not exist or cannot be opened.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import compare_files
    >>> (first,), (second,) = (list(Path("runs").glob(f"{model}_*/*_test_*.csv")) for model in ("resnet18", "resnet50"))
    >>> comparison = compare_files(second, first, "stores")
    >>> auc = comparison.intervals.auc
    >>> auc.low <= auc.value <= auc.high
    True
    """
    mine, theirs = evaluate_file(path, stores), evaluate_file(other, stores)
    same = (mine.info, mine.predictions.split) == (theirs.info, theirs.predictions.split)
    if not same or (mine.labels != theirs.labels).any():
        raise ScoreError(other, f"scores other images than {mine.path.name}, or the same ones in another order")
    scores = mine.predictions.scores, theirs.predictions.scores
    difference = paired_difference(mine.labels, *scores, mine.info.task, mine.subjects)
    if mine.info.task == Task.BINARY and is_defined(mine.labels):
        return Comparison(difference, *delong_difference(mine.labels, *scores))
    return Comparison(difference)
