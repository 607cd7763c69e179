"""Weights averaged over the steps of the last epochs, and with them the running statistics of batch normalisation.

torch's `AveragedModel` averages the counts of batches too, which then stand still: see docs/decisions.md.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch


class Average:
    """A model's exponential moving average, updated on its device without waiting for it.

    Running means and variances are averaged as the weights are, so that they belong to them; counts are copied.

    Parameters
    ----------
    model : nn.Module
    epochs : float
        After so many epochs of steps a step weighs 1/e of what it did.
    in_epoch : int
        Steps in an epoch.

    Attributes
    ----------
    model : nn.Module
        The average.
    """

    def __init__(self, model: Any, epochs: float, in_epoch: int) -> None:
        self.model = deepcopy(model).requires_grad_(False)
        self._share = -math.expm1(-1 / (epochs * in_epoch))
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._mine, self._its = (list(some) for some in zip(*averaged, strict=True))
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, first: bool) -> None:
        """Take in the model after a step; in the first epoch the average is the model itself."""
        if first:
            torch._foreach_copy_(self._mine, self._its)
        else:
            torch._foreach_lerp_(self._mine, self._its, self._share)
        for old, new in self._copied:
            old.copy_(new)
