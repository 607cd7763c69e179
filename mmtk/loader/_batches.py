"""Batches of a split as tensors: views if the order allows it, else gathered into a ring of buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.errors import ArgumentError, MmtkError
from mmtk.loader._augment import Augmentation, seeded
from mmtk.loader._cuda import copied_ahead, fits_on
from mmtk.loader._data import Data
from mmtk.loader._epochs import Epochs, ahead, check_whole
from mmtk.loader._ring import Ring
from mmtk.loader._torch import channels_last, import_torch
from mmtk.store import Split

_DTYPES = ("uint8", "float32", "bfloat16")


class Batches(Epochs):
    """Iterate over a split in batches; each ``iter()`` is the next epoch.

    The order depends only on `seed` and epoch, not on device, threads or number of processes.

    Parameters
    ----------
    split : Split or Data
        A split, or several combined by `mmtk.loader.join`.
    batch_size : int
        If it exceeds the size of the split, there is a single short batch.
    shuffle : bool
        Take rows in the order of `permutation` for `seed` and epoch, instead of the stored order.
    seed : int
        At least 0, below 2**64.
    drop_last : bool
        Drop an incomplete last batch; with several processes all get the same number of batches.
    device : str or torch.device
        "cpu", "cuda" or "cuda:N".
    dtype : {"uint8", "float32", "bfloat16"}
        Raw pixels, or normalised ones: ``(x / 255 - 0.5) / 0.5``, computed in float32.
    sampling : None, "balanced" or (n,) array
        Draw as many rows as the split has, with replacement: each class equally often, or each row by its weight.
    window : int
        If not 0, shuffle the chunks of the file, and rows only within that many chunks, so that a store larger than
        memory, or a compressed one, is read nearly sequentially; see `mmtk.loader.windowed` for the cost. For a
        compressed split two windows should fit into the cache of `mmtk.store.CACHE_BYTES`.
    rank, world_size : int
        Index of this process and number of processes that share the work. Together their batches are those of a single
        process with a batch `world_size` times as large; no image is repeated or omitted.
    pad : bool
        Repeat the first images of an epoch so that every process gets the same number.
    ordinal : bool
        For an ordinal task with k grades: ``(b, k - 1)`` float32 targets; target i tells whether the grade is above i.
    resident : "auto" or bool
        Keep the whole split on the device, as uint8, and select rows there. "auto" does so on CUDA if it takes at most
        half of the free memory.
    threads : int, optional
        Threads that prefetch batches; by default one for CUDA and compressed stores, otherwise none.
    augment : callable, optional
        Takes the images of a batch, uint8 on the device, and returns as many: an `Augmentation`, or a transform of
        ``torchvision.transforms.v2``, which draws once per batch. Its randomness depends on `seed`, epoch and batch.

    Yields
    ------
    images : (b, c, h, w) tensor over NHWC memory, or (b, 1, d, h, w) for volumes
        Later batches never overwrite a batch that is still in use. On the CPU, in stored order and as uint8, a batch is
        a view of the split: clone it before writing into it, or the next batch raises an error.
    labels : (b,) int64 tensor, or (b, l) float32 for multi-label tasks

    Raises
    ------
    ArgumentError
        If the batch size is below 1, the split is empty, `drop_last` leaves no batch, or another argument is unknown or
        out of range.
    MmtkError
        If torch is not installed.
    StoreError
        While iterating, if the file has been truncated or a compressed chunk is corrupt.

    Examples
    --------
    >>> import mmtk
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> batches = mmtk.loader.Batches(store.train, batch_size=4, shuffle=True, seed=0, dtype="float32")
    >>> images, labels = next(iter(batches))
    >>> tuple(images.shape), images.dtype, tuple(labels.shape)
    ((4, 1, 28, 28), torch.float32, (4,))
    """

    _prepared = ("_torch", "_half", "_targets", "_whole", "_untouched", "_gathered", "_resident", "_why")

    def __init__(
        self, split: Split | Data, batch_size: int = 128, *, shuffle: bool = False, seed: int = 0,
        drop_last: bool = False, device: Any = "cpu", dtype: str = "uint8", sampling: ArrayLike | str | None = None,
        window: int = 0, rank: int = 0, world_size: int = 1, pad: bool = False, ordinal: bool = False,
        resident: str | bool = "auto", threads: int | None = None, augment: Callable[[Any], Any] | None = None,
    ) -> None:
        torch = import_torch()
        super().__init__(
            split, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, sampling=sampling, window=window,
            rank=rank, world_size=world_size, pad=pad, ordinal=ordinal,
        )
        if dtype not in _DTYPES:
            raise ArgumentError("dtype", expected=" or ".join(_DTYPES), found=repr(dtype))
        if resident not in ("auto", True, False):
            raise ArgumentError("resident", expected="'auto', True or False", found=repr(resident))
        if threads is not None:
            check_whole("threads", threads, 0)
        self._device = _device(torch, device)
        if isinstance(augment, Augmentation):
            augment.expect(self.data.ndim)
        self._dtype, self._augment, self._asked = getattr(torch, dtype), augment, resident
        waits = self._device.type != "cpu" or self.data.mapped is None
        self.threads = (1 if waits else 0) if threads is None else int(threads)
        self._prepare()

    def _prepare(self) -> None:
        torch = self._torch = import_torch()
        on_cpu, mapped = self._device.type == "cpu", self.data.mapped
        self._resident, self._why = self._residence(self._asked)
        with torch.inference_mode(False):  # these tensors outlive the caller's inference mode
            # a tensor on the device: for a plain number CUDA multiplies by the reciprocal, which rounds differently
            self._half = torch.tensor(127.5, dtype=torch.float32, device=self._device)
            self._targets = torch.tensor(self.data.targets)
            self._whole: Any = None if mapped is None else torch.from_numpy(mapped)
            if self._resident:
                self._targets, self._whole = self._targets.to(self._device), self._upload()
        self._untouched = None if self._whole is None else self._whole._version
        shape = (min(self.batch_size, len(self.order)), *self.data.row_shape)
        self._fused = torch.bfloat16 if self._dtype == torch.bfloat16 and on_cpu and not self._augment else None
        forms = {torch.uint8: np.uint8, torch.float32: np.float32, torch.bfloat16: np.uint16}
        kept = np.uint8 if self._augment else forms[self._dtype]
        self._gathered = Ring(lambda: np.empty(shape, kept) if on_cpu else self._pinned(shape), 2 * self.threads)

    @property
    def resident(self) -> bool:
        """Whether the split is kept on the device; decided again after unpickling."""
        return self._resident

    def explain(self) -> str:
        """How batches are made here, and why."""
        if self.resident:
            return f"{self.data.name}: kept on {self._device} as uint8, rows selected there; {self._why}"
        if self._gives_views():
            return f"{self.data.name}: views of the mapped file; {self._why}"
        mapped = self.data.mapped is not None
        how = "rows gathered from mapped memory" if mapped else "rows read, decompressed or joined on demand"
        if self._device.type == "cuda":
            how += f", copied to {self._device} from pinned memory on a separate stream"
        return f"{self.data.name}: {how}; {self._why}; prefetch threads: {self.threads}"

    def _residence(self, resident: str | bool) -> tuple[bool, str]:
        if resident != "auto":
            return bool(resident), "as requested"
        if self._device.type == "cpu":
            return False, "on the CPU the page cache holds it already"
        return fits_on(len(self.data) * int(np.prod(self.data.row_shape)), self._device)

    def _upload(self) -> Any:
        """Copy all images to the device, in parts."""
        torch, shape = self._torch, self.data.row_shape
        whole = torch.empty((len(self.data), *shape), dtype=torch.uint8, device=self._device)
        step = max(1, (32 << 20) // int(np.prod(shape)))
        for start in range(0, len(whole), step):
            rows = np.arange(start, min(start + step, len(whole)))
            part = np.empty((len(rows), *shape), np.uint8)
            self.data.take(rows, part)
            whole[start : start + step].copy_(torch.from_numpy(part))
        return whole

    def _epoch(self, epoch: int, start: int) -> Iterable[tuple[Any, Any]]:
        numbers = range(start, len(self))
        if self.resident:
            return self._picked(epoch, numbers)
        if self._gives_views():
            return map(self._view, numbers)
        order = self.order.rows(epoch)
        labels = self._torch.from_numpy(self.data.targets[order]).to(self._device).split(self.batch_size)
        host = ahead(lambda number: (self._gather(order[self._part(number)]), labels[number]), numbers, self.threads)

        def finish(images: Any, number: int) -> Any:
            return self._finished(images, epoch, number)

        if self._device.type == "cuda":
            return copied_ahead(zip(numbers, host, strict=True), self._device, finish)
        if self._augment is None:
            return host
        return ((finish(images, number), targets) for number, (images, targets) in zip(numbers, host, strict=True))

    def _gives_views(self) -> bool:
        """Whether batches are views of the mapped file."""
        plain = self.order.stored and self._augment is None and self._device.type == "cpu"
        return plain and self._dtype == self._torch.uint8 and self.data.mapped is not None and not self.resident

    def _view(self, number: int) -> tuple[Any, Any]:
        self.data.check_whole()
        if self._whole._version != self._untouched:
            problem = "a batch was modified in place, and with it this process's copy of the split"
            remedy = "clone() a batch before writing into it, and open the store again"
            raise MmtkError(self.data.name, problem, remedy=remedy)
        part = self._part(number)
        return self._whole[part].permute(self.data.channels_first), self._targets[part].clone()

    def _gather(self, rows: NDArray[np.int64]) -> Any:
        out = self._gathered.take()[: len(rows)]
        self.data.take(rows, out)
        pixels = self._torch.from_numpy(out.transpose(self.data.channels_first))
        return pixels if self._fused is None else pixels.view(self._fused)

    def _picked(self, epoch: int, numbers: range) -> Iterator[tuple[Any, Any]]:
        """Batches of a split that is on the device; the order is copied there once per epoch."""
        order = self._torch.from_numpy(self.order.rows(epoch)).to(self._device)
        flat, axes = self._whole.flatten(1), self.data.channels_first
        for number in numbers:
            rows = order[self._part(number)]
            images = flat.index_select(0, rows).view(len(rows), *self.data.row_shape).permute(axes)
            yield self._finished(images, epoch, number), self._targets.index_select(0, rows)

    def _finished(self, pixels: Any, epoch: int, number: int) -> Any:
        """Finish a batch on the device: augmentation, and normalisation unless done while gathering."""
        torch = self._torch
        if self._augment is not None:
            key = (self.order.seed, epoch, number, self.order.rank)
            pixels = channels_last(seeded(self._augment, pixels, key))
        if self._dtype == torch.uint8 or pixels.dtype != torch.uint8:
            return pixels
        return pixels.to(torch.float32).div_(self._half).sub_(1).to(self._dtype)

    def _pinned(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        buffer: NDArray[np.uint8] = self._torch.empty(shape, dtype=self._torch.uint8, pin_memory=True).numpy()
        return buffer


def _device(torch: Any, name: Any) -> Any:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ArgumentError("device", expected="cpu, cuda or cuda:N", found=repr(name)) from None
    if device.type not in ("cpu", "cuda"):
        raise ArgumentError("device", expected="cpu, cuda or cuda:N", found=str(device))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        problem = f"{device} does not exist: torch can use {torch.cuda.device_count()} CUDA devices"
        raise ArgumentError("device", problem, remedy="use cpu")
    return device
