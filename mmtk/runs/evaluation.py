"""What a finished run's test predictions are worth: intervals, figures of each class, and resamples to compare by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.errors import MmtkError, ScoreError
from mmtk.files import write_atomically
from mmtk.runs import jsonfiles
from mmtk.runs.folder import RESULT
from mmtk.runs.results import RunResult, read_result
from mmtk.scoring import RESAMPLES as DRAWS
from mmtk.scoring import (
    Metrics,
    Predictions,
    Resampled,
    ScoredFile,
    check_paired,
    draw_of,
    read_predictions,
    score_predictions,
)
from mmtk.store import Store

SCORES, RESAMPLES = "scores.json", "resamples.npz"
_PARTS = ("intervals", "details")  # what scores.json tells at least


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of test predictions.

    Attributes
    ----------
    facts : dict of JSON values
        ``intervals`` (see `Intervals`), ``delong`` for binary tasks where it is defined, and ``details`` (see
        `Details`).
    resampled : Resampled
        AUC and ACC; those of one store are paired.
    unsaved : str
        Why it could not be kept in the run's folder; empty if it was.
    """

    facts: dict[str, Any]
    resampled: Resampled
    unsaved: str = ""


def evaluate_run(run: str | Path, store: Store) -> Evaluation:
    """Score the test predictions of a finished run, or read what was found before.

    Leaves ``scores.json`` and ``resamples.npz`` in its folder, where there is room; they can be found again, so damaged
    ones, and those of another way to draw, are.

    Raises
    ------
    MmtkError
        If the predictions there are not those of the run's result, or not of the store's test images.
    OSError
        If the system cannot read them.
    """
    folder = Path(run)
    result = read_result(folder)
    scored = score_tests(result, store.info.flag, store.info.size, store.path.parent)
    known = _known(folder, scored)
    if known:
        return known
    inside = scored.assess()
    facts = {"images": len(scored.labels), **inside.facts()}
    whole = inside.resampled
    two = Resampled(whole.values[:2], whole.found[:, :2], whole.resampled, whole.drawn)
    try:
        write_atomically(folder / RESAMPLES, lambda out: np.savez(out, **asdict(two)), force=True)
        jsonfiles.write_object(folder / SCORES, facts)
    except (MmtkError, OSError) as error:  # the run is as good without
        return Evaluation(facts, two, str(error))
    return Evaluation(facts, two)


def score_tests(result: RunResult, flag: str, size: int, stores: str | Path) -> ScoredFile:
    """Score the test predictions of a finished run against the store of its dataset and size in a folder.

    Raises
    ------
    MmtkError
        If they are others, or of other figures than the result tells.
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
    """Refuse predictions of another dataset, size, split or number of images than a run's tests.

    Raises
    ------
    ScoreError
        If they are.
    """
    place = predictions.flag, predictions.size, predictions.split
    if place != (flag, size, "test"):
        expected = f"predictions of {flag} {size} test"
        raise ScoreError(path, expected=expected, found=" ".join(map(str, place)))
    images = result.images["test"]
    if len(predictions.scores) != images:
        raise ScoreError(path, expected=f"{images} rows, as in {RESULT}", found=str(len(predictions.scores)))


def check_figures(path: Path, metrics: Metrics, told: Metrics) -> None:
    """Refuse a file of predictions of other figures than a run's result tells.

    Raises
    ------
    MmtkError
        If they differ by more than machines do.
    """
    if not metrics.agrees(told):
        expected, found = (f"AUC {auc:.7g} and ACC {acc:.7g}" for auc, acc in (told, metrics))
        expected, remedy = f"{expected}, as in {RESULT}", "one of them was changed: remove the run's folder"
        raise MmtkError(path, expected=expected, found=found, remedy=remedy)


def _known(folder: Path, scored: ScoredFile) -> Evaluation | None:
    """What was found of these very predictions before, if it is there, whole, and drawn as it would be now."""
    facts_file, found_file = folder / SCORES, folder / RESAMPLES
    with suppress(Exception):  # whatever is wrong with it, it can be found again
        if facts_file.stat().st_mtime_ns < scored.path.stat().st_mtime_ns:
            return None
        facts = jsonfiles.read_object(facts_file)
        with found_file.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            known = Resampled(arrays["values"], arrays["found"], str(arrays["resampled"]), str(arrays["drawn"]))
        shapes = (2,), (DRAWS, 2)
        whole = (
            all(isinstance(facts[name], dict) for name in _PARTS) and facts["images"] == len(scored.labels)
            and (known.values.shape, known.found.shape) == shapes
            and known.values.dtype == known.found.dtype == np.float64
            and Metrics(*known.values).agrees(scored.metrics)
            and known.drawn == draw_of(scored.labels, scored.subjects)
        )
        return Evaluation(facts, known) if whole else None
    return None


def over_seeds(parts: Sequence[Resampled]) -> Resampled:
    """Figures of one dataset, averaged over seeds resample by resample.

    Raises
    ------
    ScoreError
        If their resamples did not draw the same.
    """
    check_paired(parts)
    values, found = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("values", "found"))
    return Resampled(values, found, parts[0].resampled, parts[0].drawn)
