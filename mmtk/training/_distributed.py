"""Data-parallel training by several processes that ``torchrun`` starts; a no-op in a single process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from mmtk.errors import MmtkError

_T = TypeVar("_T")


@dataclass(frozen=True)
class World:
    """This process's place among those that train together.

    Attributes
    ----------
    rank, size : int
    device : str
        This process's device, "cpu" or "cuda:N".
    """

    rank: int
    size: int
    device: str

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def on_main(self, act: Callable[[], _T]) -> _T:
        """Call a function in the main process only and return its result in all; an `MmtkError` is raised in all."""
        if self.size == 1:
            return act()
        outcome: list[Any] = [None, None]
        if self.is_main:
            try:
                outcome[0] = act()
            except MmtkError as error:
                outcome[1] = error
        distributed.broadcast_object_list(outcome, device=torch.device(self.device))
        if outcome[1] is not None:
            raise outcome[1]
        result: _T = outcome[0]
        return result

    def parallel(self, model: Any) -> Any:
        """Return the model with gradients averaged over processes; on CUDA with synchronised batch statistics."""
        if self.size == 1:
            return model
        on_cuda = self.device != "cpu"
        if on_cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        ids = [torch.device(self.device)] if on_cuda else None
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch 2.11 has no other name for it
            return nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def average(self, tensors: list[Any]) -> None:
        """Replace tensors by their means over processes."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor /= self.size

    def gather(self, rows: Any) -> Any:
        """Return the rows of all processes in the order of the split; each process had every `size`-th row."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)


def is_main_process() -> bool:
    """Whether this is the first process that ``torchrun`` started, or the only one."""
    return not distributed.is_torchelastic_launched() or os.environ.get("RANK") == "0"


@contextmanager
def join_group(device: str) -> Iterator[World]:
    """Join the processes started by ``torchrun`` or an existing process group; without either, the group is this one.

    Parameters
    ----------
    device : {"cpu", "cuda"}
    """
    started = distributed.is_torchelastic_launched()
    own = started and not distributed.is_initialized()
    local = int(os.environ.get("LOCAL_RANK", "0")) if started else 0
    if device == "cuda":
        torch.cuda.set_device(local)
        device = f"cuda:{torch.cuda.current_device()}"
    if own:
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")
    try:
        if distributed.is_available() and distributed.is_initialized():
            yield World(distributed.get_rank(), distributed.get_world_size(), device)
        else:
            yield World(0, 1, device)
    finally:
        if own:
            distributed.destroy_process_group()
