"""AutoGluon-Tabular as a command: a worked example of a tool as a method.

    python autogluon.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command; the scores of
the three splits are written there. The pixels of an image are a row, models are weighted by the validation images, and
each label of a multi-label task has its own predictor. AutoGluon has no seed for everything it does, so two runs may
differ.

Needs autogluon.tabular with lightgbm, catboost and xgboost, but not mmtk.
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

SHARE = 0.6  # of the remaining budget; AutoGluon was seen to overrun its limit by up to half
LABEL = "label"


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, renaming them at the end, so that no file is ever incomplete."""
    for split, of_split in scores.items():
        with open(folder / f"scores_{split}.partial", "wb") as file:
            np.save(file, of_split)
    for split in scores:
        os.replace(folder / f"scores_{split}.partial", folder / f"scores_{split}.npy")


def fit(path: Path, frames: dict[str, Any], labels: dict[str, Any], classes: int, seconds: float) -> dict[str, Any]:
    """Fit a predictor within a time limit; return scores of each split, one column per class."""
    from autogluon.tabular import TabularPredictor

    scores = {split: np.zeros((len(frame), classes)) for split, frame in frames.items()}
    known = np.unique(labels["train"])
    if len(known) == 1:  # nothing to learn
        for of_split in scores.values():
            of_split[:, known] = 1
        return scores
    if classes == 2:
        kind, metric = "binary", "roc_auc"
    else:  # if val lacks a class, the mean AUC over classes is undefined
        kind = "multiclass"
        metric = "roc_auc_ovr_macro" if len(np.unique(labels["val"])) == classes else "log_loss"
    predictor = TabularPredictor(
        LABEL, problem_type=kind, eval_metric=metric, path=str(path), verbosity=1,
        learner_kwargs={"label_count_threshold": 1},  # by default classes with fewer than ten images are dropped
    )
    train, val = (frames[split].assign(**{LABEL: labels[split]}) for split in ("train", "val"))
    val = val[val[LABEL].isin(known)]
    predictor.fit(train, tuning_data=val if len(val) else None, time_limit=seconds, presets="medium_quality")
    for split, frame in frames.items():
        probabilities = predictor.predict_proba(frame)
        scores[split][:, [int(name) for name in probabilities.columns]] = probabilities.to_numpy()
    return scores


def main(folder: Path) -> None:
    """Fit predictors and score the three splits in a folder."""
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

    if labels["train"].shape[1] != len(task["classes"]):  # one column of class numbers
        columns = {split: column.ravel() for split, column in labels.items()}
        leave(folder, fit(folder / "autogluon", frames, columns, len(task["classes"]), SHARE * left()))
        return
    names = task["classes"]
    scores = {split: np.zeros((len(frame), len(names))) for split, frame in frames.items()}
    for number, name in enumerate(names):
        columns = {split: column[:, number] for split, column in labels.items()}
        of_label = fit(folder / f"autogluon_{number}", frames, columns, 2, SHARE * left() / (len(names) - number))
        for split, of_split in scores.items():
            of_split[:, number] = of_label[split][:, 1]
        print(f"{name}: label {number + 1} of {len(names)}, {left():.0f} s left", flush=True)
    leave(folder, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
