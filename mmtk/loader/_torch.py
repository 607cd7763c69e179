"""torch, or one clear line that it is not there."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError


def import_torch() -> ModuleType:
    """Import torch.

    Raises
    ------
    MmtkError
        If it is not installed.
    """
    try:
        import torch
    except ImportError:
        remedy = "pip install 'mmtk[train]'"
        raise MmtkError("tensors", expected="the package torch", found="not installed", remedy=remedy) from None
    return torch  # type: ignore[no-any-return]


def target_labels(task: str, labels: NDArray[np.uint8]) -> NDArray[Any]:
    """Labels ``(n, l)`` as a loss wants them: ``(n,)`` int64, or ``(n, l)`` float32 for multi-label tasks."""
    return labels.astype(np.float32) if task == Task.MULTILABEL else labels[:, 0].astype(np.int64)
