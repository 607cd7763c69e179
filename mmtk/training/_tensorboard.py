"""Learning curves for TensorBoard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mmtk.errors import MmtkError


class Curves:
    """Writes each epoch's figures for TensorBoard; pass it to `fit` as ``report``.

    A resumed run overwrites the epochs that it repeats.

    Parameters
    ----------
    folder : Path
        Folder for event files.

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
            if name != "epoch" and not math.isnan(value):  # an undefined AUC
                self._writer.add_scalar(name, value, line["epoch"])
        self._writer.flush()
