"""What a finished run's test predictions are worth: intervals, figures of each class, and resamples to compare by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError
from mmtk.scoring import Resampled, as_facts, delong, details, evaluate_file, resample
from mmtk.store import Store, write_atomically
from mmtk.training import checkpoints

SCORES, RESAMPLES = "scores.json", "resamples.npz"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of test predictions.

    Attributes
    ----------
    facts : dict of JSON values
        ``intervals`` (see `Intervals`), for binary tasks ``delong``, and ``details`` (see `Details`).
    resampled : Resampled
        AUC and ACC; those of one store are paired.
    """

    facts: dict[str, Any]
    resampled: Resampled


def evaluate_run(run: str | Path, store: Store) -> Evaluation:
    """Score the test predictions of a finished run, or read what was found before.

    Leaves ``scores.json`` and ``resamples.npz`` in its folder.

    Raises
    ------
    MmtkError
        If the predictions there are not those of the run's result, or not of the store's test images.
    """
    folder = Path(run)
    told = checkpoints.read_json(folder / checkpoints.RESULT)["splits"]["test"]
    file, facts_file, found_file = folder / told["file"], folder / SCORES, folder / RESAMPLES
    scored = evaluate_file(file, store.path.parent)
    place = scored.info.flag, scored.info.size, scored.predictions.split
    if place != (store.info.flag, store.info.size, "test"):
        expected = f"test predictions of {store.info.flag}_{store.info.size}"
        raise MmtkError(file, expected=expected, found=f"{place[2]} predictions of {place[0]}_{place[1]}")
    if tuple(scored.metrics) != (told["auc"], told["acc"]):
        expected = f"AUC {told['auc']} and ACC {told['acc']}, as in {checkpoints.RESULT}"
        remedy = "it has been changed: remove the run's folder"
        raise MmtkError(file, expected=expected, found="{} and {}".format(*scored.metrics), remedy=remedy)
    if found_file.exists() and facts_file.exists() and facts_file.stat().st_mtime_ns >= file.stat().st_mtime_ns:
        return Evaluation(checkpoints.read_json(facts_file), _read(found_file))
    task, scores = scored.info.task, scored.predictions.scores
    resampled = resample(scored.labels, scores, task, scored.subjects)
    inside = details(scored.labels, scores, task, scored.info.classes)
    facts = {
        "images": len(scores), "intervals": as_facts(resampled.intervals()),
        **({"delong": as_facts(delong(scored.labels, scores))} if task == Task.BINARY else {}),
        "details": as_facts(inside),
    }
    two = Resampled(resampled.values[:2], resampled.found[:, :2], resampled.resampled)
    write_atomically(found_file, lambda out: np.savez(out, **asdict(two)), force=True)
    checkpoints.write_text(facts_file, json.dumps(facts, indent=2) + "\n")
    return Evaluation(facts, two)


def _read(path: Path) -> Resampled:
    with np.load(path, allow_pickle=False) as arrays:
        return Resampled(arrays["values"], arrays["found"], str(arrays["resampled"]))


def over_seeds(parts: Sequence[Resampled]) -> Resampled:
    """Figures of one dataset, meaned over seeds resample by resample."""
    values, found = (np.mean([getattr(part, name) for part in parts], axis=0) for name in ("values", "found"))
    return Resampled(values, found, parts[0].resampled)
