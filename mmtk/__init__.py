"""mmtk rebuilds the MedMNIST Classification Decathlon from raw images, bit for bit.

The names below, and the packages they come from (``mmtk.training``, ``mmtk.store``, ...), are imported when first used,
so importing mmtk costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmtk import (
        builder,
        compat,
        datasets,
        errors,
        imaging,
        loader,
        machine,
        matching,
        phantom,
        plugins,
        proof,
        report,
        runs,
        scoring,
        store,
        training,
    )
    from mmtk.builder import BuildResult, build
    from mmtk.datasets import get_dataset, list_datasets, register
    from mmtk.datasets.own import draft_dataset, read_dataset
    from mmtk.errors import MmtkError
    from mmtk.scoring import Metrics, evaluate
    from mmtk.store import Split, Store, open
    from mmtk.training import register as method

_HOME = {  # public name -> its module, and after a colon its name there if that differs
    "MmtkError": "mmtk.errors",
    "BuildResult": "mmtk.builder",
    "build": "mmtk.builder",
    "get_dataset": "mmtk.datasets",
    "list_datasets": "mmtk.datasets",
    "draft_dataset": "mmtk.datasets.own",
    "read_dataset": "mmtk.datasets.own",
    "register": "mmtk.datasets",
    "Metrics": "mmtk.scoring",
    "evaluate": "mmtk.scoring",
    "Split": "mmtk.store",
    "Store": "mmtk.store",
    "open": "mmtk.store",
    "method": "mmtk.training:register",
}
_ROOMS = (
    "builder", "compat", "datasets", "errors", "imaging", "loader", "machine", "matching", "phantom", "plugins",
    "proof", "report", "runs", "scoring", "store", "training",
)

__all__ = [
    "BuildResult", "Metrics", "MmtkError", "Split", "Store", "build", "builder", "compat", "datasets", "draft_dataset",
    "errors", "evaluate", "get_dataset", "imaging", "list_datasets", "loader", "machine", "matching", "method", "open",
    "phantom", "plugins", "proof", "read_dataset", "register", "report", "runs", "scoring", "store", "training",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module, _, attribute = _HOME[name].partition(":")
        return getattr(import_module(module), attribute or name)
    if name in _ROOMS:
        return import_module(f"mmtk.{name}")
    raise AttributeError(f"module 'mmtk' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
