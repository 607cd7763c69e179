"""Several processes that train one model together, as ``torchrun`` starts them; alone, nothing of it is felt."""

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
    """This process among those that train together.

    Attributes
    ----------
    device : str
        Its own: "cpu" or "cuda:N".
    """

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.rank == 0

    def agreed(self, act: Callable[[], _T]) -> _T:
        """What the first process got when it alone did something; an error of mmtk's is raised in all of them."""
        if self.size == 1:
            return act()
        said: list[Any] = [None, None]
        if self.first:
            try:
                said[0] = act()
            except MmtkError as error:
                said[1] = error
        distributed.broadcast_object_list(said, device=torch.device(self.device))
        if said[1] is not None:
            raise said[1]
        result: _T = said[0]
        return result

    def shared(self, model: Any) -> Any:
        """The model with gradients averaged over processes; on CUDA batch statistics are those of all, too."""
        if self.size == 1:
            return model
        on_cuda = self.device != "cpu"
        if on_cuda:
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        ids = [torch.device(self.device)] if on_cuda else None
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch 2.11 has no other name for it
            return nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

    def mean(self, tensors: list[Any]) -> None:
        """Replace tensors by their means over processes."""
        if self.size > 1:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor /= self.size

    def gathered(self, rows: Any) -> Any:
        """Rows of all processes in the order of the split, of which each took every `size`-th."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.size)]
        distributed.all_gather(parts, rows.contiguous())
        return torch.stack(parts, dim=1).flatten(0, 1)


def leads() -> bool:
    """Whether this process is the first of those that ``torchrun`` has started, or alone."""
    return not distributed.is_torchelastic_launched() or os.environ.get("RANK") == "0"


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` has started, or those of a group that the caller has made; or be alone.

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
