"""How the values of ``tuned-v1`` were chosen: candidates trained on several datasets, held against each other by their
validation splits alone. ``python -m benchmarks.choose_protocol STORES OUT FLAG...`` goes on where it was stopped.

Each candidate is one setting for all datasets. The figure is the best validation AUC of a run, meaned over datasets; no
figure of a test split is read here.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import mean

import mmtk
from mmtk.loader import Augmentation
from mmtk.training import Protocol, fit, get_protocol

EPOCHS = 20
FIRST = replace(
    get_protocol("isbi21"), name="first", title="a candidate", learning_rate=0.05, weight_decay=5e-4, nesterov=True,
    schedule="cosine", warmup=0.05, augmentation=Augmentation(horizontal=0.0, padding=2), label_smoothing=0.1,
    averaging=2.0,
)
ADAMW = replace(FIRST, name="adamw", optimiser="adamw", nesterov=False, learning_rate=1e-3, weight_decay=0.05)
CANDIDATES: tuple[Protocol, ...] = (
    replace(get_protocol("isbi21"), name="published"),
    FIRST,
    replace(FIRST, name="slower", learning_rate=0.01),
    ADAMW,
    replace(ADAMW, name="no-smoothing", label_smoothing=0.0),
)


def best_auc(folder: Path) -> float:
    """The best validation AUC of a run's epochs."""
    return max(json.loads(line)["val_auc"] for line in (folder / "metrics.jsonl").read_text().splitlines())


def main() -> None:
    """Train every candidate on the stores of the flags given, then print a line each."""
    stores, out, *flags = sys.argv[1:]
    for candidate in CANDIDATES:
        figures = []
        for flag in flags:
            folder = Path(out) / f"{flag}_{candidate.name}"
            fit(
                mmtk.open(Path(stores) / f"{flag}_28.h5"), candidate, "resnet18", folder,
                epochs=EPOCHS, device="cpu", precision="bfloat16",
            )
            figures.append(best_auc(folder))
        each = "  ".join(f"{flag} {auc:.3f}" for flag, auc in zip(flags, figures, strict=True))
        print(f"{candidate.name:16} validation AUC {mean(figures):.4f}   {each}", flush=True)


if __name__ == "__main__":
    main()
