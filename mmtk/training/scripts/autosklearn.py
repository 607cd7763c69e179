"""auto-sklearn 0.15.0 as a command, with the settings of MedMNIST's authors.

    python autosklearn.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command; the scores of
the three splits are written there. The pixels of an image are a row, four jobs with 9,216 MB each search, no fit may
take more than a tenth of the time, and models are chosen by auto-sklearn's own holdout from the training images:
validation images are only scored. A search that was killed starts over.

Needs auto-sklearn 0.15.0, and so Python 3.7 to 3.9, but not mmtk.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]  # its files have packages' names

JOBS, MEMORY, PART = 4, 9216, 10  # the authors' jobs, MB per job, and time over that of one fit
SHARE = 0.75  # of the budget for the search; the rest is for its last fits and the scores
SHORTEST = 30  # seconds that auto-sklearn accepts


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, renaming them at the end, so that no file is ever incomplete."""
    for split, of_split in scores.items():
        with open(folder / f"scores_{split}.partial", "wb") as file:
            np.save(file, of_split)
    for split in scores:
        os.replace(folder / f"scores_{split}.partial", folder / f"scores_{split}.npy")


def main(folder: Path) -> None:
    """Search in a folder."""
    begun = time.monotonic()
    task = json.loads((folder / "task.json").read_text())
    splits = {split: np.load(folder / f"{split}.npz") for split in task["images"]}
    pixels = {split: held["images"].reshape(task["images"][split], -1) for split, held in splits.items()}
    labels = splits["train"]["labels"]
    is_multi_label = labels.shape[1] == len(task["classes"])  # else class numbers
    if not is_multi_label:
        labels = labels.ravel()
    try:
        from autosklearn.classification import AutoSklearnClassifier
    except ImportError as error:
        sys.exit(f"autosklearn.py: {error}; auto-sklearn 0.15.0 needs Python 3.7 to 3.9")
    seconds = int((task["budget"] - (time.monotonic() - begun)) * SHARE)
    if seconds < SHORTEST:
        least = SHORTEST / SHARE + 5
        sys.exit(f"autosklearn.py: the budget of {task['budget']:.0f} s is too small; use at least {least:.0f} s")
    shutil.rmtree(folder / "autosklearn", ignore_errors=True)  # left by a killed search
    search = AutoSklearnClassifier(
        time_left_for_this_task=seconds, per_run_time_limit=seconds // PART, memory_limit=MEMORY, n_jobs=JOBS,
        seed=task["seed"], tmp_folder=str(folder / "autosklearn"),
    )
    search.fit(pixels["train"], labels)
    print(search.sprint_statistics(), flush=True)
    if "Success" not in list(search.cv_results_["status"]):  # its predictions would be chance
        sys.exit(f"autosklearn.py: no fit succeeded within {seconds // PART} s; increase the budget")
    scores = {split: search.predict_proba(of_split) for split, of_split in pixels.items()}
    if not is_multi_label:  # so far there are only columns of classes in train
        known, narrow = np.unique(labels), scores
        scores = {split: np.zeros((len(of_split), len(task["classes"]))) for split, of_split in narrow.items()}
        for split, of_split in narrow.items():
            scores[split][:, known] = of_split
    leave(folder, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
