"""Epochs of batches: order of rows, state of an iteration, and threads that prefetch batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from mmtk.errors import ArgumentError
from mmtk.loader._data import Data, data_of, labels_of
from mmtk.loader._order import KEY_LIMIT, Order, sampling_weights
from mmtk.store import Split

_T = TypeVar("_T")


class Epochs:
    """Base of `Batches` and `ArrayBatches`; each ``iter()`` is the next epoch.

    Their pickles are as small as those of their splits; whatever `_prepare` creates is created again.
    """

    _prepared: tuple[str, ...] = ()

    def __init__(
        self, split: Split | Data, batch_size: int, *, shuffle: bool, seed: int, drop_last: bool,
        sampling: ArrayLike | str | None, window: int, rank: int, world_size: int, pad: bool, ordinal: bool,
    ) -> None:
        check_whole("batch_size", batch_size, 1)
        check_whole("seed", seed, 0)
        check_whole("window", window, 0)
        check_whole("world_size", world_size, 1)
        check_whole("rank", rank, 0)
        if rank >= world_size:
            raise ArgumentError("rank", expected=f"below the world size {world_size}", found=str(rank))
        if pad and drop_last:
            raise ArgumentError("pad", "cannot be combined with drop_last, which makes ranks even already")
        if window and not shuffle:
            raise ArgumentError("window", "has no effect without shuffling", remedy="use shuffle=True")
        if sampling is not None and (shuffle or window):
            raise ArgumentError("sampling", "cannot be combined with shuffle: rows are drawn in random order already")
        self.data = data_of(split, ordinal)
        self.batch_size, self.drop_last = int(batch_size), bool(drop_last)
        by_class = isinstance(sampling, str)
        labels, classes = labels_of(self.data) if by_class else (np.empty((len(self.data), 1), np.uint8), ())
        weights = sampling_weights(sampling, labels, classes, self.data.name)
        self.order = Order(
            len(self.data), bool(shuffle), int(seed), weights, int(window), self.data.chunk_rows if window else 1,
            int(rank), int(world_size), "pad" if pad else "drop" if drop_last else "",
        )
        rows = len(self.order)
        if not len(self):
            if not rows:
                problem = f"has too few images ({len(self.data)}): none is left for rank {rank}"
                raise ArgumentError(self.data.name, problem)
            problem = f"drop_last leaves no batch of {rows} images"
            raise ArgumentError("batch_size", problem, expected=f"at most {rows}", found=str(batch_size))
        # epoch and number of batches: where the next iteration starts, and what has been yielded
        self._next = self._given = (0, 0)

    def _prepare(self) -> None:
        """Create the attributes named in `_prepared`, which belong to this process."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._prepared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __len__(self) -> int:
        """Number of batches per epoch."""
        full, rest = divmod(len(self.order), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        epoch, start = self._given = self._next
        self._next = (epoch + 1, 0)
        return self._noted(epoch, start)

    def _noted(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        for given, batch in enumerate(self._epoch(epoch, start), start + 1):
            self._given = (epoch, given)
            yield batch

    def _epoch(self, epoch: int, start: int) -> Iterable[tuple[Any, Any]]:
        raise NotImplementedError

    def _part(self, number: int) -> slice:
        """The slice of an epoch's rows that form a batch."""
        return slice(number * self.batch_size, (number + 1) * self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration start at the beginning of the given epoch."""
        check_whole("epoch", epoch, 0)
        self._next = self._given = (int(epoch), 0)

    def state_dict(self) -> dict[str, Any]:
        """State of the iteration: epoch, batches yielded in it, and everything their order depends on.

        It is the same on all ranks.
        """
        epoch, position = self._given
        return {**self._identity(), "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume after the last batch yielded when `state` was saved.

        Raises
        ------
        ArgumentError
            If it is not such a state, or belongs to another store, order or batch size.
        """
        identity = self._identity()
        if not isinstance(state, Mapping) or set(state) != {*identity, "epoch", "position"}:
            kind = f"fields {', '.join(map(str, state))}" if isinstance(state, Mapping) else type(state).__name__
            raise ArgumentError("state", "was not made by state_dict", found=kind if state else "nothing")
        for name, value in identity.items():
            if state[name] != value:
                problem = "belongs to other batches"
                raise ArgumentError(f"state: {name}", problem, expected=str(value), found=str(state[name]))
        epoch, position = state["epoch"], state["position"]
        check_whole("state: epoch", epoch, 0)
        check_whole("state: position", position, 0)
        if position > len(self):
            raise ArgumentError("state: position", expected=f"at most {len(self)} batches", found=str(position))
        self._given = (epoch, position)
        self._next = self._given if position < len(self) else (epoch + 1, 0)

    def _identity(self) -> dict[str, Any]:
        return {"data": self.data.key, "batch_size": self.batch_size, **self.order.identity()}


def ahead(make: Callable[[int], _T], numbers: range, threads: int) -> Iterator[_T]:
    """Call `make` for each number, in order, by threads that work ahead: up to two calls per thread are pending.

    Exceptions are raised in their place; when the iteration ends early, pending calls are cancelled.
    """
    if not threads:
        yield from map(make, numbers)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="mmtk-batches") as pool:
        waiting: deque[Future[_T]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(make, number))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse anything but an integer of at least `least` and below 2**64."""
    if not isinstance(value, (int, np.integer)) or not least <= value < KEY_LIMIT:
        raise ArgumentError(name, expected=f"an integer of at least {least}", found=repr(value))
