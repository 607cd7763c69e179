"""AutoGluon-Tabular as a command: a worked example of how a tool takes part.

    python autogluon.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command; the scores of
the three splits are left there. The pixels of an image are a row, models are weighed by val, and each label of a
multi-label task has a predictor of its own. AutoGluon has no seed for all that it does, so two runs may differ.

Needs autogluon.tabular with lightgbm, catboost and xgboost; nothing of mmtk.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]  # this file has the package's name

SHARE = 0.6  # of what is left of the budget; AutoGluon was seen to take up to half as much again as it is given
LABEL = "label"


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, so that none of them is ever half a file."""
    for split, of_split in scores.items():
        with open(folder / f"scores_{split}.partial", "wb") as file:
            np.save(file, of_split)
    for split in scores:
        os.replace(folder / f"scores_{split}.partial", folder / f"scores_{split}.npy")


def fit(path: Path, frames: dict[str, Any], labels: dict[str, Any], classes: int, seconds: float) -> dict[str, Any]:
    """Scores of each split, a column a class, by a predictor that has so many seconds."""
    from autogluon.tabular import TabularPredictor

    scores = {split: np.zeros((len(frame), classes)) for split, frame in frames.items()}
    known = np.unique(labels["train"])
    if len(known) == 1:  # there is nothing to tell apart
        for of_split in scores.values():
            of_split[:, known] = 1
        return scores
    if classes == 2:
        kind, metric = "binary", "roc_auc"
    else:  # where val lacks a class there is no mean of AUC over classes
        kind = "multiclass"
        metric = "roc_auc_ovr_macro" if len(np.unique(labels["val"])) == classes else "log_loss"
    predictor = TabularPredictor(
        LABEL, problem_type=kind, eval_metric=metric, path=str(path), verbosity=1,
        learner_kwargs={"label_count_threshold": 1},  # by default classes of fewer than ten images are dropped
    )
    train, val = (frames[split].assign(**{LABEL: labels[split]}) for split in ("train", "val"))
    val = val[val[LABEL].isin(known)]
    predictor.fit(train, tuning_data=val if len(val) else None, time_limit=seconds, presets="medium_quality")
    for split, frame in frames.items():
        found = predictor.predict_proba(frame)
        scores[split][:, [int(name) for name in found.columns]] = found.to_numpy()
    return scores


def main(folder: Path) -> None:
    """Fit, and score the three splits, in a folder."""
    begun = time.monotonic()
    task = json.loads((folder / "task.json").read_text())
    splits = {split: np.load(folder / f"{split}.npz") for split in task["images"]}
    labels = {split: splits[split]["labels"].astype(int) for split in ("train", "val")}
    try:
        import pandas
        from autogluon.tabular import TabularPredictor  # noqa: F401
    except ImportError as error:
        sys.exit(f"autogluon.py: {error}; pip install 'autogluon.tabular[lightgbm,catboost,xgboost]'")
    frames = {}
    for split, held in splits.items():
        pixels = held["images"].reshape(task["images"][split], -1)
        frames[split] = pandas.DataFrame(pixels, columns=[f"pixel_{number}" for number in range(pixels.shape[1])])

    def left() -> float:
        return float(task["budget"]) - (time.monotonic() - begun)

    if labels["train"].shape[1] != len(task["classes"]):  # one column, of class numbers
        columns = {split: column.ravel() for split, column in labels.items()}
        leave(folder, fit(folder / "autogluon", frames, columns, len(task["classes"]), SHARE * left()))
        return
    names = task["classes"]
    scores = {split: np.zeros((len(frame), len(names))) for split, frame in frames.items()}
    for number, name in enumerate(names):
        columns = {split: column[:, number] for split, column in labels.items()}
        of_one = fit(folder / f"autogluon_{number}", frames, columns, 2, SHARE * left() / (len(names) - number))
        for split, of_split in scores.items():
            of_split[:, number] = of_one[split][:, 1]
        print(f"{name}: label {number + 1} of {len(names)}, {left():.0f} s left", flush=True)
    leave(folder, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
