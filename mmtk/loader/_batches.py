"""Batches of a split as tensors: a view where the order allows, else gathered once into a ring of buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader._cuda import copied_ahead
from mmtk.loader._gather import gather
from mmtk.loader._order import KEY_LIMIT, permutation
from mmtk.loader._ring import Ring
from mmtk.loader._torch import import_torch, target_labels
from mmtk.store import Split

_DTYPES = ("uint8", "float32", "bfloat16")


class Batches:
    """Iterate over a split in batches; each ``iter()`` is the next epoch.

    Parameters
    ----------
    split : mmtk.Split
    batch_size : int
        If larger than the split, one short batch comes.
    shuffle : bool
        Take the rows in the order `permutation` gives for `seed` and the epoch, else as they are stored.
    seed : int
        From 0, below 2**64.
    drop_last : bool
        Leave out a last batch that is not full.
    device : str or torch.device
        "cpu", "cuda" or "cuda:N".
    dtype : {"uint8", "float32", "bfloat16"}
        Pixels as they are, or normalised: ``(x / 255 - 0.5) / 0.5``, computed in float32.

    Yields
    ------
    images : (b, c, h, w) tensor over NHWC memory
        A batch that is kept is never written again by later ones. On the CPU, in stored order and as uint8, it is a
        view of the split: clone it before you write into it, or the next batch is refused.
    labels : (b,) int64 tensor, or (b, l) float32 for multi-label tasks

    Raises
    ------
    ArgumentError
        If the batch size is below 1, the split is empty, `drop_last` leaves no batch, or another argument is unknown or
        out of range.
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
        device: Any = "cpu",
        dtype: str = "uint8",
    ) -> None:
        torch = self._torch = import_torch()
        n = len(split)
        _check_whole("batch_size", batch_size, 1)
        _check_whole("seed", seed, 0)
        if not n:
            raise ArgumentError(f"{split.store_path} {split.name}", expected="images", found="an empty split")
        if drop_last and batch_size > n:
            found = f"{batch_size} with drop_last, which leaves no batch"
            raise ArgumentError("batch_size", expected=f"at most {n}, the images of the split", found=found)
        if dtype not in _DTYPES:
            raise ArgumentError("dtype", expected=", ".join(_DTYPES), found=repr(dtype))
        self._device = _device(torch, device)
        self._dtype = getattr(torch, dtype)
        self.split, self.batch_size, self.drop_last = split, int(batch_size), bool(drop_last)
        self.shuffle, self.seed = bool(shuffle), int(seed)
        # epoch and batches of it: where the next iteration starts, and what has been given
        self._next = self._given = (0, 0)

        images = split.images if split.images.ndim == 4 else split.images[..., None]
        self._images: NDArray[np.uint8] = images
        with torch.inference_mode(False):  # these outlive the mode they are made in
            self._whole = torch.from_numpy(images)
            self._targets = torch.from_numpy(target_labels(split.info.task, split.labels))
            # a tensor on the device: CUDA multiplies by the reciprocal of a plain number, which rounds otherwise
            self._half = torch.tensor(127.5, dtype=torch.float32, device=self._device)
        self._untouched = self._whole._version
        shape = (min(self.batch_size, n), *images.shape[1:])
        on_cpu = self._device.type == "cpu"
        kept = {torch.uint8: np.uint8, torch.float32: np.float32, torch.bfloat16: np.uint16}[self._dtype]
        self._gathered = Ring(lambda: np.empty(shape, kept) if on_cpu else self._pinned(shape))

    def __len__(self) -> int:
        """Batches in an epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        epoch, start = self._given = self._next
        self._next = (epoch + 1, 0)
        return self._epoch(epoch, start)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration the given epoch, from its start."""
        _check_whole("epoch", epoch, 0)
        self._next = self._given = (int(epoch), 0)

    def state_dict(self) -> dict[str, int | bool]:
        """Where the iteration stands: the epoch, the batches given in it, and what their order depends on."""
        epoch, position = self._given
        return {**self._identity(), "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on after the last batch given when `state` was taken.

        Raises
        ------
        ArgumentError
            If it is no such state, or one of other images, order or batch size.
        """
        identity = self._identity()
        if set(state) != {*identity, "epoch", "position"}:
            found = f"fields {', '.join(map(str, state))}" if state else "nothing"
            raise ArgumentError("state", expected="what state_dict gave", found=found)
        for name, value in identity.items():
            if state[name] != value:
                raise ArgumentError(f"state: {name}", expected=str(value), found=str(state[name]))
        epoch, position = state["epoch"], state["position"]
        _check_whole("state: epoch", epoch, 0)
        _check_whole("state: position", position, 0)
        if position > len(self):
            raise ArgumentError("state: position", expected=f"at most {len(self)} batches", found=str(position))
        self._given = (epoch, position)
        self._next = self._given if position < len(self) else (epoch + 1, 0)

    def _identity(self) -> dict[str, int | bool]:
        return {"n": len(self.split), "batch_size": self.batch_size, "shuffle": self.shuffle, "seed": self.seed}

    def _epoch(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        order = permutation(len(self.split), self.seed, epoch) if self.shuffle else None
        host = (self._host_batch(number, order) for number in range(start, len(self)))
        batches = copied_ahead(host, self._device, self._finished) if self._device.type == "cuda" else host
        for given, batch in enumerate(batches, start + 1):
            self._given = (epoch, given)
            yield batch

    def _host_batch(self, number: int, order: NDArray[np.int64] | None) -> tuple[Any, Any]:
        torch = self._torch
        first = number * self.batch_size
        stop = min(first + self.batch_size, len(self.split))
        if order is None and self._device.type == "cpu" and self._dtype == torch.uint8:
            self._check_untouched()
            return self._whole[first:stop].permute(0, 3, 1, 2), self._targets[first:stop].clone()
        rows = np.arange(first, stop) if order is None else order[first:stop]
        out = self._gathered.take()[: len(rows)]
        gather(self._images, rows, out)
        pixels = torch.from_numpy(out)
        if out.dtype == np.uint16:
            pixels = pixels.view(torch.bfloat16)
        return pixels.permute(0, 3, 1, 2), self._targets[torch.from_numpy(rows)]

    def _finished(self, pixels: Any) -> Any:
        """What is left to do on a CUDA device."""
        torch = self._torch
        if self._dtype == torch.uint8:
            return pixels
        return pixels.to(torch.float32).div_(self._half).sub_(1).to(self._dtype)

    def _pinned(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] = self._torch.empty(shape, dtype=self._torch.uint8, pin_memory=True).numpy()
        return buffer

    def _check_untouched(self) -> None:
        if self._whole._version != self._untouched:
            raise MmtkError(
                f"{self.split.store_path} {self.split.name}", expected="batches as they were given",
                found="one that was written in place, and with it this process's view of the split",
                remedy="clone() a batch before writing into it, and open the store again",
            )


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, (int, np.integer)) or not least <= value < KEY_LIMIT:
        raise ArgumentError(name, expected=f"a whole number from {least}", found=repr(value))


def _device(torch: Any, name: Any) -> Any:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ArgumentError("device", expected="cpu, cuda or cuda:N", found=repr(name)) from None
    if device.type not in ("cpu", "cuda"):
        raise ArgumentError("device", expected="cpu, cuda or cuda:N", found=str(device))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = f"{device}, of {torch.cuda.device_count()} that torch can use"
        raise ArgumentError("device", expected="a CUDA device that is there", found=found, remedy="use cpu")
    return device
