"""Restore a run from its last checkpoint, which is checked completely before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmtk.errors import MmtkError
from mmtk.runs import REMOVE_FOLDER, figures_of
from mmtk.scoring import as_facts
from mmtk.training import checkpoints
from mmtk.training._steps import load_optimiser


def resume(path: Path, epochs: int, model: Any, average: Any, optimiser: Any) -> list[dict[str, Any]]:
    """Load a model, its average if there is one, and its optimiser; return the log of the finished epochs.

    Raises
    ------
    MmtkError
        If the checkpoint is damaged, or belongs to another kind of run.
    OSError
        If the system cannot read it.
    """
    state = checkpoints.load(path)
    kinds = {"model": dict, "optimiser": dict, "log": list, **({"average": dict} if average is not None else {})}
    for name, kind in kinds.items():
        if not (isinstance(state, dict) and isinstance(state.get(name), kind)):
            raise _damaged(path, f"the {name} is missing")
    log = _checked_log(path, state["log"], epochs)
    states = _checked_states(path, state["optimiser"], optimiser)
    load_weights(model, state["model"], path)
    if average is not None:
        load_weights(average, state["average"], path)
    # settings of the protocol take precedence over those in the file
    load_optimiser(optimiser, {"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return log


def load_weights(model: Any, state: Any, path: Path) -> None:
    """Load a state dict with exactly the parameters and buffers of a model.

    Raises
    ------
    MmtkError
        If its names, shapes or types differ, or a value is not finite.
    """
    mine = model.state_dict()
    same_keys = isinstance(state, dict) and state.keys() == mine.keys()
    if not (same_keys and all(_is_like(state[name], tensor.shape, tensor.dtype) for name, tensor in mine.items())):
        raise _damaged(path, "the weights do not match the model")
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise _damaged(path, f"NaN or infinity in the weights {name}")
    model.load_state_dict(state)


def _checked_log(path: Path, log: list[Any], epochs: int) -> list[dict[str, Any]]:
    if not 1 <= len(log) <= epochs:
        raise _damaged(path, f"its log has {len(log)} epochs, not 1 to {epochs}")
    for number, line in enumerate(log, 1):
        valid = figures_of(f"{path} epoch {number}", as_facts(line))["epoch"] == number
        if not (valid and all(type(key) is str and type(value) in (int, float, bool) for key, value in line.items())):
            raise _damaged(path, f"the figures of epoch {number} are invalid")
    return log


def _checked_states(path: Path, given: Mapping[str, Any], optimiser: Any) -> dict[Any, Any]:
    """The optimiser's state of each parameter."""
    states = given.get("state")
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if isinstance(optimiser, torch.optim.SGD):
        names = {"momentum_buffer"} if optimiser.defaults["momentum"] else set()
    else:
        names = {"step", "exp_avg", "exp_avg_sq"}
    numbers = set(range(len(parameters))) if names else set()
    if not isinstance(states, dict) or set(states) != numbers:
        raise _damaged(path, "the optimiser's state does not match the protocol")
    for number, state in states.items():
        shape = parameters[number].shape
        if not isinstance(state, dict) or state.keys() != names or not all(
            _is_like(value, () if name == "step" else shape, torch.float32) and not value.isnan().any()
            for name, value in state.items()
        ):
            raise _damaged(path, f"the optimiser's state of parameter {number} is invalid")
    return states


def _is_like(value: Any, shape: Any, dtype: Any) -> bool:
    return (
        isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        and value.shape == torch.Size(shape) and value.dtype == dtype
    )


def _damaged(path: Path, reason: str) -> MmtkError:
    return MmtkError(path, f"cannot be used as a checkpoint of this run: {reason}", remedy=REMOVE_FOLDER)
