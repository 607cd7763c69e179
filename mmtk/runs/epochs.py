"""A line of a run's log: the figures of an epoch, and which epoch is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmtk.runs.jsonfiles import field, figure

_LOSSES, _SCORES = ("train_loss", "val_loss"), ("val_auc", "val_acc")


def figures_of(line: Any) -> dict[str, float]:
    """The figures of a line of ``metrics.jsonl``; an AUC that is undefined is NaN.

    Raises
    ------
    ValueError
        If one is missing or impossible.
    """
    if not isinstance(line, dict):
        raise ValueError(f"{type(line).__name__} in place of an object")
    epoch = field(line, "epoch", "a whole number")
    losses = {name: float(field(line, name, "a number")) for name in _LOSSES}
    if epoch < 1 or not all(map(math.isfinite, losses.values())):
        raise ValueError("an epoch or a loss that cannot be")
    scores = {name: figure(line, name) for name in _SCORES}
    if math.isnan(scores["val_acc"]):
        raise ValueError("no 'val_acc'")
    return {"epoch": float(epoch), **losses, **scores}


def merit(line: Mapping[str, Any]) -> float:
    """What the best epoch has most of: validation AUC, or, where it is undefined, the negative validation loss."""
    auc = float(line["val_auc"])
    return -float(line["val_loss"]) if math.isnan(auc) else auc


def best_of(log: Sequence[Mapping[str, Any]]) -> int:
    """The best epoch, the first of equals, counted from 1; 0 before the first."""
    return 1 + max(range(len(log)), key=lambda place: merit(log[place])) if log else 0
