"""Training objectives by task: number of outputs, loss, and scores computed from outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from mmtk.datasets.base import Task
from mmtk.store import StoreInfo
from mmtk.training.protocols import Protocol


class Objective:
    """Outputs, loss and scores of a store's task under a protocol.

    Attributes
    ----------
    outputs : int
        Columns of the network's logits.
    """

    def __init__(self, info: StoreInfo, protocol: Protocol) -> None:
        self.classes = self.outputs = len(info.classes)
        self._kind = "labels" if info.task == Task.MULTILABEL else "classes"
        if info.task == Task.ORDINAL and protocol.ordinal_loss != "cross entropy":
            self._kind = protocol.ordinal_loss
        if self._kind == "cumulative":
            self.outputs -= 1
        self._loss = (
            nn.BCEWithLogitsLoss() if self._kind == "labels"
            else nn.CrossEntropyLoss(label_smoothing=protocol.label_smoothing)
        )

    def loss(self, logits: Any, labels: Any) -> Any:
        """Mean loss of float32 logits (b, outputs) and labels as `Batches` yields them."""
        if self._kind == "emd":
            above = labels[:, None] > torch.arange(self.classes - 1, device=labels.device)
            below = logits.softmax(1).cumsum(1)[:, :-1]
            return (below - (~above).float()).square().sum(1).mean()
        if self._kind == "cumulative":  # CORN (Shi, Cao & Raschka 2021): each step conditional on the previous one
            above = labels[:, None] > torch.arange(-1, self.outputs, device=labels.device)
            steps = functional.binary_cross_entropy_with_logits(logits, above[:, 1:].float(), reduction="none")
            return (steps * above[:, :-1]).sum(1).mean()
        return self._loss(logits, labels)

    def scores(self, logits: Any) -> Any:
        """Scores (b, classes): of classes or grades, with sum 1, or of independent labels."""
        if self._kind == "labels":
            return logits.sigmoid()
        if self._kind == "cumulative":
            above = functional.pad(logits.sigmoid().cumprod(1), (1, 1))
            above[:, 0] = 1
            return above[:, :-1] - above[:, 1:]
        return logits.softmax(dim=1)
