"""Drop-in replacements and exports for other libraries: `mmtk.compat.medmnist`, `to_huggingface`, `export_hub`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmtk.compat.croissant import to_croissant
    from mmtk.compat.hub import export_hub
    from mmtk.compat.huggingface import to_huggingface

_HOME = {"export_hub": "hub", "to_croissant": "croissant", "to_huggingface": "huggingface"}

__all__ = ["export_hub", "to_croissant", "to_huggingface"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
