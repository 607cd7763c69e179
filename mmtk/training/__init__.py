"""Training under named, frozen protocols, and other methods: single runs, or all stores by all methods.

Importing this package does not import torch; names that need it load it on first use.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmtk.errors import MmtkError
from mmtk.runs import MODELS, Method, RunResult, read_result
from mmtk.training._pace import OverallProgress
from mmtk.training.cluster import run_on_cluster
from mmtk.training.decathlon import plan_runs, run_all, take_shard
from mmtk.training.methods import SHARE, Job, choose_methods, get_method, list_methods, paper_budget, register, trained
from mmtk.training.protocols import PROTOCOLS, Protocol, get_protocol, read_protocol

if TYPE_CHECKING:
    from mmtk.training._distributed import is_main_process
    from mmtk.training._fit import fit
    from mmtk.training._tensorboard import Curves
    from mmtk.training.models import build_model

_HOME = {
    "Curves": "mmtk.training._tensorboard",
    "build_model": "mmtk.training.models",
    "fit": "mmtk.training._fit",
    "is_main_process": "mmtk.training._distributed",
}

__all__ = [
    "MODELS", "PROTOCOLS", "SHARE", "Curves", "Job", "Method", "OverallProgress", "Protocol", "RunResult",
    "build_model", "choose_methods", "fit", "get_method", "get_protocol", "is_main_process", "list_methods",
    "paper_budget", "plan_runs", "read_protocol", "read_result", "register", "run_all", "run_on_cluster", "take_shard",
    "trained",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        if find_spec("torch") is None:
            raise MmtkError.not_installed("training", "torch", "train")
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
