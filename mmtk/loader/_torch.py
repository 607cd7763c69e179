"""torch, or one clear line that it is not there."""

from __future__ import annotations

from types import ModuleType

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
