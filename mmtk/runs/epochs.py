"""A run's log: the figures of an epoch, and the choice of the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from mmtk.errors import ArgumentError
from mmtk.runs.jsonfiles import REMOVE_FOLDER
from mmtk.values import typed

Share = Annotated[float, Meta(ge=0, le=1)]


@dataclass(frozen=True)
class _Figures:
    epoch: Annotated[int, Meta(ge=1)]
    train_loss: float
    val_loss: float
    val_auc: Share | None
    val_acc: Share


def figures_of(what: str, line: Any) -> dict[str, float]:
    """Return the figures in a line of ``metrics.jsonl``; an undefined AUC is NaN.

    Raises
    ------
    ArgumentError
        If one is missing or out of range.
    """
    given = vars(typed(what, line, _Figures, REMOVE_FOLDER))
    values = {name: math.nan if value is None else float(value) for name, value in given.items()}
    if not all(math.isfinite(values[name]) for name in ("train_loss", "val_loss")):
        raise ArgumentError(what, "a loss is not finite", remedy=REMOVE_FOLDER)
    return values


def merit(line: Mapping[str, Any]) -> float:
    """What is maximised over epochs: validation AUC, or the negative validation loss if the AUC is undefined."""
    auc = float(line["val_auc"])
    return -float(line["val_loss"]) if math.isnan(auc) else auc


def best_of(log: Sequence[Mapping[str, Any]]) -> int:
    """Return the best epoch, counted from 1, the first in case of ties; 0 if the log is empty."""
    return 1 + max(range(len(log)), key=lambda place: merit(log[place])) if log else 0
