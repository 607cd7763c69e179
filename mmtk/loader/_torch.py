"""torch, or one clear line that it is not there."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import MmtkError
from mmtk.store import Split


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


def target_labels(split: Split) -> NDArray[Any]:
    """Labels as a loss wants them: ``(n,)`` int64, or ``(n, l)`` float32 for multi-label tasks."""
    if split.info.task == Task.MULTILABEL:
        return split.labels.astype(np.float32)
    return split.labels[:, 0].astype(np.int64)
