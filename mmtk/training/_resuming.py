"""Put a run where its last checkpoint has it; all of that is checked before any of it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mmtk.errors import MmtkError
from mmtk.runs import AGAIN, figures_of
from mmtk.scoring import as_facts
from mmtk.training import checkpoints
from mmtk.training._steps import load_optimiser


def resume(path: Path, epochs: int, model: Any, average: Any, optimiser: Any) -> list[dict[str, Any]]:
    """Load a model, its average, if there is one, and its optimiser; return a line for each epoch done.

    Raises
    ------
    MmtkError
        If the checkpoint is damaged, or not one of such a run.
    OSError
        If the system cannot read it.
    """
    state = checkpoints.load(path)
    kinds = {"model": dict, "optimiser": dict, "log": list, **({"average": dict} if average is not None else {})}
    for name, kind in kinds.items():
        if not (isinstance(state, dict) and isinstance(state.get(name), kind)):
            raise _refused(path, "the checkpoint of a run", f"no {name} in it")
    log = _checked_log(path, state["log"], epochs)
    states = _checked_states(path, state["optimiser"], optimiser)
    load_weights(model, state["model"], path)
    if average is not None:
        load_weights(average, state["average"], path)
    # what a protocol sets is the protocol's, whatever the file says
    load_optimiser(optimiser, {"state": states, "param_groups": optimiser.state_dict()["param_groups"]})
    return log


def load_weights(model: Any, state: Any, path: Path) -> None:
    """Load a state dict of the very parameters and buffers of a model.

    Raises
    ------
    MmtkError
        If it holds others, or what no training leaves.
    """
    mine = model.state_dict()
    alike = isinstance(state, dict) and state.keys() == mine.keys()
    if not (alike and all(_is_like(state[name], tensor.shape, tensor.dtype) for name, tensor in mine.items())):
        raise _refused(path, "weights of this model", "others")
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise _refused(path, "weights of this model", f"NaN or infinity in {name}")
    model.load_state_dict(state)


def _checked_log(path: Path, log: list[Any], epochs: int) -> list[dict[str, Any]]:
    if not 1 <= len(log) <= epochs:
        raise _refused(path, f"the log of 1 to {epochs} epochs", f"{len(log)} lines")
    for number, line in enumerate(log, 1):
        whole = figures_of(f"{path} epoch {number}", as_facts(line))["epoch"] == number
        if not (whole and all(type(key) is str and type(value) in (int, float, bool) for key, value in line.items())):
            raise _refused(path, f"the figures of epoch {number}", "others")
    return log


def _checked_states(path: Path, given: Mapping[str, Any], optimiser: Any) -> dict[Any, Any]:
    """What an optimiser keeps of each parameter."""
    states, parameters = given.get("state"), [one for group in optimiser.param_groups for one in group["params"]]
    if isinstance(optimiser, torch.optim.SGD):
        names = {"momentum_buffer"} if optimiser.defaults["momentum"] else set()
    else:
        names = {"step", "exp_avg", "exp_avg_sq"}
    numbers = set(range(len(parameters))) if names else set()
    if not isinstance(states, dict) or set(states) != numbers:
        raise _refused(path, "the state of this optimiser", "another")
    for number, kept in states.items():
        shape = parameters[number].shape
        if not isinstance(kept, dict) or kept.keys() != names or not all(
            _is_like(value, () if name == "step" else shape, torch.float32) and not value.isnan().any()
            for name, value in kept.items()
        ):
            raise _refused(path, "the state of this optimiser", f"another of parameter {number}")
    return states


def _is_like(value: Any, shape: Any, dtype: Any) -> bool:
    return (
        isinstance(value, torch.Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        and value.shape == torch.Size(shape) and value.dtype == dtype
    )


def _refused(path: Path, expected: str, found: str) -> MmtkError:
    return MmtkError(path, expected=expected, found=found, remedy=AGAIN)
