"""Curves of a run for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError


class Curves:
    """Writes each epoch's figures; give it to `fit` as its ``report``.

    A run that goes on overwrites the epochs that it repeats.

    Parameters
    ----------
    folder : path
        Where event files go.

    Raises
    ------
    MmtkError
        If tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MmtkError.not_installed("curves", "tensorboard", "train") from None
        self._make, self._folder = SummaryWriter, folder
        self._writer: Any = None

    def __call__(self, line: dict[str, Any]) -> None:
        """Add a line of ``metrics.jsonl``."""
        if self._writer is None:
            self._writer = self._make(self._folder, purge_step=line["epoch"])
        for name, value in line.items():
            if name != "epoch" and not math.isnan(value):  # an AUC that is undefined
                self._writer.add_scalar(name, value, line["epoch"])
        self._writer.flush()
