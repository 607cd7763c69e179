"""Runs that were never trained: folders as training leaves them, of predictions that come from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from mmtk import store
from mmtk.runs import RunConfig, StoreFacts, write_result
from mmtk.training import get_protocol

MADE_WITH = {"mmtk": "0.1.0", "revision": None, "torch": "2.13.0", "numpy": "2.3.5", "python": "3.12.3"}


def write_small_run(
    path: Path, out: Path, *, model="resnet18", protocol="isbi21", seed=0, epochs=100, skill=1.0, method=None, **more
) -> Path:
    """Write the run of a store; scores are noise with `skill` added where they should be high."""
    opened = store.open(path)
    info = opened.info
    rng = np.random.default_rng([seed, round(100 * skill), len(info.classes)])
    several = info.labels > 1
    scores = {}
    for split in opened.splits:
        truth = split.labels if several else split.labels == np.arange(len(info.classes))
        gain = skill * {"train": 1.5, "val": 1.0, "test": 1.0}[split.name]
        logits = gain * np.where(truth, 1.0, -1.0) + rng.normal(size=truth.shape)
        grown = np.exp(logits).astype(np.float32)
        scores[split.name] = grown / (1 + grown) if several else grown / grown.sum(axis=1, keepdims=True)
    made = {"method": method, "budget": 60.0} if method else {
        "protocol": get_protocol(protocol).for_ndim(info.ndim).facts(), "model": model, "epochs": epochs,
    }
    out.mkdir(parents=True)
    config = RunConfig({**made, **more}, seed, StoreFacts.of(opened), "" if method else "cpu", MADE_WITH)
    (out / "config.json").write_text(config.to_json())
    run = f"{method or model}_{info.size}_seed{seed}"
    write_result(out, opened, run, scores, best_epoch=0 if method else epochs, epochs=0 if method else epochs)
    if not method:
        lines = [
            {"epoch": e, "train_loss": 2 / e + 0.1 * skill, "val_loss": 2 / e + 0.3, "val_auc": 1 - 0.5 / e,
             "val_acc": 0.8 - 0.4 / e, "seconds": 1.0, "images_per_second": 90.0}
            for e in range(1, epochs + 1)
        ]
        (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return out
