"""Exponential moving average of weights and of batch normalisation's running statistics.

torch's `AveragedModel` also averages the batch counts, which then never change: see docs/decisions.md.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import torch


class Average:
    """A model's exponential moving average, updated on its device without synchronisation.

    Running means and variances are averaged like the weights, so that they match them; counts are copied.

    Parameters
    ----------
    model : nn.Module
    epochs : float
        Time constant: after this many epochs the weight of a step has decayed to 1/e.
    steps_per_epoch : int

    Attributes
    ----------
    model : nn.Module
        The average.
    """

    def __init__(self, model: Any, epochs: float, steps_per_epoch: int) -> None:
        self.model = deepcopy(model).requires_grad_(False)
        self._weight = -math.expm1(-1 / (epochs * steps_per_epoch))
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averages, self._current = (list(tensors) for tensors in zip(*averaged, strict=True))
        self._copied = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def update(self, first: bool) -> None:
        """Update it with the model after a step; in the first epoch the average is the model itself."""
        if first:
            torch._foreach_copy_(self._averages, self._current)
        else:
            torch._foreach_lerp_(self._averages, self._current, self._weight)
        for old, new in self._copied:
            old.copy_(new)
