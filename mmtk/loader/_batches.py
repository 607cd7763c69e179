"""Batches of a split as tensors: a view where the order allows, else gathered once into a ring of buffers."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError
from mmtk.loader._order import permutation
from mmtk.loader._torch import import_torch, target_labels
from mmtk.store import Split

_DTYPES = ("uint8", "float32", "bfloat16")
_RING = 4  # buffers kept for reuse; more are made as long as the caller keeps batches
_UNUSED = 2  # references to a buffer that only its finder holds: his name for it and the argument of getrefcount
_AHEAD = 2  # batches copied to a CUDA device before they are asked for


class Batches:
    """Iterate over a split in batches; each iteration is one epoch.

    Parameters
    ----------
    split : mmtk.Split
    batch_size : int
    shuffle : bool
        Take the rows in the order `permutation` gives for `seed` and the epoch, else as they are stored.
    seed : int
    drop_last : bool
        Leave out a last batch that is not full.
    device : str
        "cpu", "cuda" or "cuda:N".
    dtype : {"uint8", "float32", "bfloat16"}
        Pixels as they are, or normalised, ``(x / 255 - 0.5) / 0.5`` in float32.

    Yields
    ------
    images : (b, c, h, w) tensor over NHWC memory
        A batch that is kept is never written again by later ones.
    labels : (b,) int64 tensor, or (b, l) float32 for multi-label tasks

    Raises
    ------
    ArgumentError
        If the batch size is below 1, the split is empty, `drop_last` leaves no batch, or a word is unknown.
    MmtkError
        If torch is not installed.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int = 128,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        device: str = "cpu",
        dtype: str = "uint8",
    ) -> None:
        self._torch = import_torch()
        if batch_size < 1:
            raise ArgumentError("batch_size", expected="at least 1", found=str(batch_size))
        if not len(split):
            raise ArgumentError(f"{split.store_path} {split.name}", expected="images", found="an empty split")
        if drop_last and batch_size > len(split):
            found = f"{batch_size} with drop_last, which leaves no batch"
            raise ArgumentError("batch_size", expected=f"at most {len(split)}, the images of the split", found=found)
        if dtype not in _DTYPES:
            raise ArgumentError("dtype", expected=", ".join(_DTYPES), found=repr(dtype))
        self._device = self._torch.device(device)
        if self._device.type == "cuda" and not self._torch.cuda.is_available():
            raise ArgumentError("device", expected="a CUDA device", found="none on this machine", remedy="use cpu")
        self.split, self.batch_size, self.drop_last = split, batch_size, drop_last
        self.shuffle, self.seed = shuffle, seed
        self._dtype = getattr(self._torch, dtype)
        images = split.images if split.images.ndim == 4 else split.images[..., None]
        self._images: NDArray[np.uint8] = np.asarray(images)
        self._labels = self._torch.from_numpy(target_labels(split))
        self._epoch, self._position, self._resumed = -1, len(self), False
        self._ring: deque[NDArray[np.uint8]] = deque()

    def __len__(self) -> int:
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration the given epoch, from its start."""
        self._epoch, self._position, self._resumed = epoch, 0, True

    def state_dict(self) -> dict[str, int | bool]:
        """Where the iteration stands: the epoch and the batches given in it, and what their order depends on."""
        return {**self._identity(), "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int | bool]) -> None:
        """Let the next iteration go on where `state` was taken.

        Raises
        ------
        ArgumentError
            If it was taken with other data, seed or batches.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise ArgumentError(f"state: {name}", expected=str(value), found=str(state.get(name)))
        self._epoch, self._position, self._resumed = int(state["epoch"]), int(state["position"]), True

    def _identity(self) -> dict[str, int | bool]:
        return {
            "images": len(self.split),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "seed": self.seed,
            "drop_last": self.drop_last,
        }

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if not self._resumed or self._position == len(self):
            self._epoch, self._position = self._epoch + 1, 0
        self._resumed = False
        for batch in self._on_host() if self._device.type == "cpu" else self._on_cuda():
            self._position += 1
            yield batch

    def _on_host(self) -> Iterator[tuple[Any, Any]]:
        for images, labels in self._gathered():
            yield self._normalised(images), labels

    def _on_cuda(self) -> Iterator[tuple[Any, Any]]:
        """Copy ahead on a side stream; a host buffer stays referred to until its copy is done."""
        torch = self._torch
        side = torch.cuda.Stream(self._device)
        waiting: deque[tuple[Any, Any, Any, Any]] = deque()

        def copied() -> Iterator[tuple[Any, Any, Any, Any]]:
            for images, labels in self._gathered():
                with torch.cuda.stream(side):
                    moved = self._normalised(images.to(self._device, non_blocking=True))
                    targets = labels.to(self._device, non_blocking=True)
                    done = side.record_event()
                yield images, moved, targets, done

        def next_out() -> tuple[Any, Any]:
            host, moved, targets, done = waiting.popleft()
            current = torch.cuda.current_stream(self._device)
            current.wait_event(done)
            for tensor in (moved, targets):
                tensor.record_stream(current)
            done.synchronize()
            del host
            return moved, targets

        for batch in copied():
            waiting.append(batch)
            if len(waiting) > _AHEAD:
                yield next_out()
        while waiting:
            yield next_out()

    def _gathered(self) -> Iterator[tuple[Any, Any]]:
        torch = self._torch
        order = permutation(len(self.split), self.seed, self._epoch) if self.shuffle else None
        for number in range(self._position, len(self)):
            rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
            if order is None:
                pixels, labels = self._images[rows], self._labels[rows]
            else:
                pixels, labels = self._gather(order[rows]), self._labels[torch.from_numpy(order[rows])]
            yield torch.from_numpy(pixels).permute(0, 3, 1, 2), labels

    def _normalised(self, images: Any) -> Any:
        if self._dtype == self._torch.uint8:
            return images
        return images.to(self._torch.float32).div_(255).sub_(0.5).div_(0.5).to(self._dtype)

    def _gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copy rows into a buffer that nothing else refers to, or into a new one."""
        buffer = None
        for _ in range(len(self._ring)):
            candidate = self._ring.popleft()
            if sys.getrefcount(candidate) == _UNUSED:
                buffer = candidate
                break
            self._ring.append(candidate)
        if buffer is None:
            shape = (self.batch_size, *self._images.shape[1:])
            pinned = self._device.type == "cuda"
            buffer = self._torch.empty(shape, dtype=self._torch.uint8, pin_memory=pinned).numpy()
        if len(self._ring) < _RING:
            self._ring.append(buffer)
        out = buffer[: len(rows)]
        np.take(self._images, rows, axis=0, out=out, mode="clip")  # clip: the one mode that fills `out` directly
        return out
