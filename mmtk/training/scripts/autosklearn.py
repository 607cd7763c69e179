"""auto-sklearn 0.15.0 as a command, with the settings of MedMNIST's authors.

    python autosklearn.py FOLDER

FOLDER holds ``task.json``, ``train.npz``, ``val.npz`` and ``test.npz`` as mmtk writes them for a command; the scores of
the three splits are left there. The pixels of an image are a row, four jobs of 9,216 MB each search, no run may
take more than a tenth of the time, and models are chosen by auto-sklearn's own holdout from the training images: those
of val are scored, and used for nothing else. A search that was killed begins anew.

Needs auto-sklearn 0.15.0, and so a Python of 3.7 to 3.9; nothing of mmtk.
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

sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]  # other tools' names stand there

JOBS, MEMORY, PART = 4, 9216, 10  # jobs, MB for each, and what part of the time one run may take: the authors'
SHARE = 0.75  # of the budget for the search; the rest is for its last runs and the scores
SHORTEST = 30  # seconds; auto-sklearn takes no less


def leave(folder: Path, scores: dict[str, Any]) -> None:
    """Write the scores of all splits, so that none of them is ever half a file."""
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
    is_multi_label = labels.shape[1] == len(task["classes"])  # a column a label; otherwise one of class numbers
    if not is_multi_label:
        labels = labels.ravel()
    try:
        from autosklearn.classification import AutoSklearnClassifier
    except ImportError as error:
        sys.exit(f"autosklearn.py: {error}; auto-sklearn 0.15.0 needs a Python of 3.7 to 3.9")
    seconds = int((task["budget"] - (time.monotonic() - begun)) * SHARE)
    if seconds < SHORTEST:
        least = SHORTEST / SHARE + 5
        sys.exit(f"autosklearn.py: expected a budget of at least {least:.0f} s, found {task['budget']:.0f} s")
    shutil.rmtree(folder / "autosklearn", ignore_errors=True)  # what a killed search left; it must not be there
    search = AutoSklearnClassifier(
        time_left_for_this_task=seconds, per_run_time_limit=seconds // PART, memory_limit=MEMORY, n_jobs=JOBS,
        seed=task["seed"], tmp_folder=str(folder / "autosklearn"),
    )
    search.fit(pixels["train"], labels)
    print(search.sprint_statistics(), flush=True)
    if "Success" not in list(search.cv_results_["status"]):  # what it would predict by is no more than chance
        sys.exit(f"autosklearn.py: none of its runs ended well within {seconds // PART} s; give it a larger budget")
    scores = {split: search.predict_proba(of_split) for split, of_split in pixels.items()}
    if not is_multi_label:  # a column a class that train has
        known, found = np.unique(labels), scores
        scores = {split: np.zeros((len(of_split), len(task["classes"]))) for split, of_split in found.items()}
        for split, of_split in found.items():
            scores[split][:, known] = of_split
    leave(folder, scores)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
