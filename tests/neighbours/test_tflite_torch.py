"""Trained networks converted by litert-torch, in floats and in integers: scored as torch scores them."""

from __future__ import annotations

import numpy as np
import pytest

from mmtk import store
from mmtk.runs import read_result
from mmtk.scoring import read_predictions
from mmtk.training import Job, fit, get_method
from tests.small_stores import MULTILABEL, write_small_store

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
pytest.importorskip("litert_torch", reason="litert-torch is not installed")


def scores_of(run):
    return {split: read_predictions(run / file).scores for split, file in read_result(run).files.items()}


def scored(run, opened, folder, calibrate=0):
    """Convert a run and score it: the metrics, and the predictions of each split."""
    from mmtk.training.scripts.run_to_tflite import convert

    convert(run, opened, folder / "models", calibrate)
    result = get_method(f"tflite:{folder / 'models'}").run(Job(opened, folder / "run", 600))
    return result.metrics, scores_of(folder / "run")


@pytest.mark.parametrize("kind", [
    {"flag": "breastmnist"},
    {"flag": "retinamnist", "task": "ordinal-regression", "classes": 5, "channels": 3},
    {"flag": "chestmnist", "task": MULTILABEL, "classes": 3},
])
def test_a_network_in_floats_has_the_scores_that_torch_gave(tmp_path, kind):
    opened = store.open(write_small_store(tmp_path / f"{kind['flag']}_8.h5", **kind))
    fit(opened, "quick", "resnet18", tmp_path / "trained", epochs=1, device="cpu")
    found = scored(tmp_path / "trained", opened, tmp_path)[1]
    for split, expected in scores_of(tmp_path / "trained").items():
        assert np.allclose(found[split], expected, rtol=0, atol=1e-4)


def test_breast_has_torchs_auc_in_floats_and_in_integers(tmp_path, real_data):
    opened = store.open(store.import_npz(real_data / "npz" / "breastmnist.npz", tmp_path))
    trained = fit(opened, "quick", "resnet18", tmp_path / "trained", epochs=3, device="cpu").metrics
    for name, images in (("floats", 0), ("integers", 200)):
        found = scored(tmp_path / "trained", opened, tmp_path / name, images)[0]
        for split in ("val", "test"):
            assert found[split].auc == pytest.approx(trained[split].auc, abs=0.01), (name, split)
