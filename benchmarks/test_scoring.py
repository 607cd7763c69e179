"""Bootstrap resamples of ChestMNIST's test split in size, 22,433 images and 14 labels: ours beside scikit-learn's AUC.

``seconds_of_2000`` in the extra info is what 2,000 resamples would take.
"""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmtk.scoring import intervals

CYCLES = 3
IMAGES, LABELS = 22_433, 14
RESAMPLES = 100
WAYS = ("mmtk", "scikit-learn, a resample at a time")


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    labels = (rng.random((IMAGES, LABELS)) < 0.05).astype(np.uint8)
    return labels, (rng.random((IMAGES, LABELS)) * 0.9 + 0.1 * labels).astype(np.float32)


@pytest.mark.parametrize("who", WAYS)
def test_bootstrap(benchmark, predictions, who):
    benchmark.group = f"{RESAMPLES} bootstrap resamples of 22,433 x 14"
    labels, scores = predictions
    if who == "mmtk":
        def work():
            intervals(labels, scores, "multi-label, binary-class", resamples=RESAMPLES)
    else:
        def work():
            rng = np.random.default_rng(0)
            for _ in range(RESAMPLES):
                rows = rng.integers(0, IMAGES, IMAGES)
                roc_auc_score(labels[rows], scores[rows], average="macro")

    benchmark.pedantic(work, rounds=1, warmup_rounds=1 if who == "mmtk" else 0)
    benchmark.extra_info["seconds_of_2000"] = benchmark.stats.stats.median * 2000 / RESAMPLES
