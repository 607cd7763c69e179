"""The evaluation of a finished run's test predictions: intervals, per-class figures, resamples for comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import MmtkError, ScoreError
from mmtk.files import write_atomically
from mmtk.runs import jsonfiles
from mmtk.runs.folder import RESULT
from mmtk.runs.jsonfiles import REMOVE_FOLDER
from mmtk.runs.results import RunResult, read_result
from mmtk.scoring import RESAMPLES as DRAWS
from mmtk.scoring import (
    Metrics,
    Predictions,
    Resampled,
    ScoredFile,
    check_paired,
    draw_digest,
    read_predictions,
    score_predictions,
)
from mmtk.store import Store

SCORES, RESAMPLES = "scores.json", "resamples.npz"
_PARTS = ("intervals", "details")  # required in scores.json


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The evaluation of a run's test predictions.

    Attributes
    ----------
    facts : dict of JSON values
        ``images`` (their number), ``intervals`` (see `Intervals`), ``details`` (see `Details`), and ``delong`` for
        binary tasks if it is defined.
    resampled : Resampled
        AUC and ACC of every resample; those of runs on one store can be paired.
    unsaved : str
        Why it could not be saved in the run's folder; empty if it was.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.runs import evaluate_run
    >>> evaluation = evaluate_run("runs/resnet18_28_seed0", mmtk.open("stores/breastmnist_28.h5"))
    >>> sorted(evaluation.facts), evaluation.resampled.replicates.shape
    (['delong', 'details', 'images', 'intervals'], (2000, 2))
    """

    facts: dict[str, Any]
    resampled: Resampled
    unsaved: str = ""


def evaluate_run(run: str | Path, store: Store) -> Evaluation:
    """Evaluate the test predictions of a finished run, or read an earlier evaluation of them.

    Saves ``scores.json`` and ``resamples.npz`` in the run's folder, if there is space. They are computed again if they
    are damaged or come from another way of resampling.

    Parameters
    ----------
    run : str or path
        Folder of the run.
    store : Store
        The store that the run was made from.

    Returns
    -------
    Evaluation

    Raises
    ------
    MmtkError
        If the predictions do not match the run's result or the store's test images.
    OSError
        If the system cannot read them.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.runs import evaluate_run
    >>> evaluation = evaluate_run("runs/resnet18_28_seed0", mmtk.open("stores/breastmnist_28.h5"))
    >>> auc = evaluation.facts["intervals"]["auc"]
    >>> auc["low"] <= auc["value"] <= auc["high"]
    True
    """
    folder = Path(run)
    result = read_result(folder)
    scored = score_tests(result, store.info.flag, store.info.size, store.path.parent)
    saved = _saved(folder, scored)
    if saved:
        return saved
    assessment = scored.assess()
    facts = {"images": len(scored.labels), **assessment.facts()}
    everything = assessment.resampled
    overall = Resampled(
        everything.values[:2], everything.replicates[:, :2], everything.resampled, everything.drawn
    )
    arrays: dict[str, Any] = {
        "values": overall.values, "found": overall.replicates, "resampled": overall.resampled, "drawn": overall.drawn,
    }
    try:
        write_atomically(folder / RESAMPLES, lambda out: np.savez(out, **arrays), force=True)
        jsonfiles.write_object(folder / SCORES, facts)
    except (MmtkError, OSError) as error:  # the run is valid without them
        return Evaluation(facts, overall, str(error))
    return Evaluation(facts, overall)


def score_tests(result: RunResult, flag: str, size: int, stores: str | Path) -> ScoredFile:
    """Score the test predictions of a finished run against the store of its dataset and size in a folder.

    Raises
    ------
    MmtkError
        If they are not the run's test predictions, or score differently than the result says.
    OSError
        If the system cannot read them.
    """
    file = result.path / result.files["test"]
    predictions = read_predictions(file, stores)
    check_predictions(file, predictions, flag, size, result)
    scored = score_predictions(file, predictions, stores)
    check_figures(file, scored.metrics, result.metrics["test"])
    return scored


def check_predictions(path: Path, predictions: Predictions, flag: str, size: int, result: RunResult) -> None:
    """Raise unless predictions are of a run's test images: same dataset, size, split and number of rows.

    Raises
    ------
    ScoreError
        If they are not.
    """
    place = predictions.flag, predictions.size, predictions.split
    if place != (flag, size, "test"):
        found = f"predictions of {' '.join(map(str, place))}"
        raise ScoreError(path, found=found, expected=f"{flag} {size} test")
    images = result.images["test"]
    if len(predictions.scores) != images:
        raise ScoreError(path, found=f"{len(predictions.scores)} rows", expected=f"{images}, as in {RESULT}")


def check_figures(path: Path, metrics: Metrics, recorded: Metrics) -> None:
    """Raise unless a prediction file scores as the run's result says.

    Raises
    ------
    MmtkError
        If the figures differ by more than they do between machines.
    """
    if not metrics.agrees(recorded):
        found, expected = (f"AUC {auc:.7g} and ACC {acc:.7g}" for auc, acc in (metrics, recorded))
        problem = f"does not match {RESULT}: one of the two was changed"
        raise MmtkError(path, problem, found=found, expected=expected, remedy=REMOVE_FOLDER)


def _saved(folder: Path, scored: ScoredFile) -> Evaluation | None:
    """An earlier evaluation of the same predictions, if it is intact and was resampled as it would be now."""
    facts_file, resamples_file = folder / SCORES, folder / RESAMPLES
    with suppress(Exception):  # whatever is wrong with it, it can be computed again
        if facts_file.stat().st_mtime_ns < scored.path.stat().st_mtime_ns:
            return None
        facts = jsonfiles.read_object(facts_file)
        with resamples_file.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            saved = Resampled(arrays["values"], arrays["found"], str(arrays["resampled"]), str(arrays["drawn"]))
        shapes = (2,), (DRAWS, 2)
        valid = (
            all(isinstance(facts[name], dict) for name in _PARTS) and facts["images"] == len(scored.labels)
            and (saved.values.shape, saved.replicates.shape) == shapes
            and saved.values.dtype == saved.replicates.dtype == np.float64
            and Metrics(*saved.values).agrees(scored.metrics)
            and saved.drawn == draw_digest(scored.labels, scored.subjects)
        )
        return Evaluation(facts, saved) if valid else None
    return None


def average_seeds(parts: Sequence[Resampled]) -> Resampled:
    """Average figures of one dataset over seeds, resample by resample.

    Raises
    ------
    ScoreError
        If their resamples draw different subjects or images.
    """
    check_paired(parts)
    values, replicates = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("values", "replicates"))
    return Resampled(values, replicates, parts[0].resampled, parts[0].drawn)
