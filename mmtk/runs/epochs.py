"""A line of a run's log: the figures of an epoch, and which epoch is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import Meta

from mmtk.errors import ArgumentError
from mmtk.runs.jsonfiles import AGAIN
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
    """The figures of a line of ``metrics.jsonl``, named in errors; an AUC that is undefined is NaN.

    Raises
    ------
    ArgumentError
        If one is missing or impossible.
    """
    given = vars(typed(what, line, _Figures, AGAIN))
    values = {name: math.nan if value is None else float(value) for name, value in given.items()}
    if not all(math.isfinite(values[name]) for name in ("train_loss", "val_loss")):
        raise ArgumentError(what, expected="losses that are finite", found="others", remedy=AGAIN)
    return values


def merit(line: Mapping[str, Any]) -> float:
    """What the best epoch has most of: validation AUC, or, where it is undefined, the negative validation loss."""
    auc = float(line["val_auc"])
    return -float(line["val_loss"]) if math.isnan(auc) else auc


def best_of(log: Sequence[Mapping[str, Any]]) -> int:
    """The best epoch, the first of equals, counted from 1; 0 before the first."""
    return 1 + max(range(len(log)), key=lambda place: merit(log[place])) if log else 0
