"""Training under named, frozen protocols: models, fit with checkpoints and resume, predictions.

Importing this room does not import torch; the names below that need it load it when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmtk.errors import MmtkError
from mmtk.training.protocols import PROTOCOLS, Protocol, get_protocol
from mmtk.training.results import RunResult, read_result

if TYPE_CHECKING:
    from mmtk.training._fit import fit
    from mmtk.training.models import MODELS, build_model

_HOME = {
    "MODELS": "mmtk.training.models",
    "build_model": "mmtk.training.models",
    "fit": "mmtk.training._fit",
}

__all__ = [
    "MODELS", "PROTOCOLS", "Protocol", "RunResult", "build_model", "fit", "get_protocol", "read_result",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        if find_spec("torch") is None:
            remedy = "pip install 'mmtk[train]'"
            raise MmtkError("training", expected="the package torch", found="not installed", remedy=remedy)
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
