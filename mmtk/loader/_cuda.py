"""Batches on a CUDA device: copied from pinned memory on a side stream, ahead of use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mmtk.loader._torch import import_torch

_AHEAD = 2  # batches in transfer while another is in use
_SHARE = 0.5  # fraction of the free memory that a resident split may take


def fits_on(size: int, device: Any) -> tuple[bool, str]:
    """Whether so many bytes should be kept on a CUDA device, and why."""
    free, _ = import_torch().cuda.mem_get_info(device)
    fits = size <= _SHARE * free
    limit = f"{_SHARE:.0%} of {free / 1e9:.2f} GB of free memory"
    return fits, f"its {size / 1e9:.2f} GB are {'at most' if fits else 'more than'} {limit}"


def copied_ahead(
    batches: Iterable[tuple[int, tuple[Any, Any]]], device: Any, finish: Callable[[Any, int], Any]
) -> Iterator[tuple[Any, Any]]:
    """Move batches to a device.

    Parameters
    ----------
    batches : iterable of (number, (images, labels))
        Images on the host, pinned and not overwritten while anything refers to them; labels on the device.
    device : torch.device
    finish : callable
        Called with images on the device and the batch's number; returns the finished images.

    Yields
    ------
    (images, labels)
        On the device, ready for the stream that is current when the batch is requested.
    """
    torch = import_torch()
    side = torch.cuda.Stream(device)
    waiting: deque[tuple[Any, Any, Any, Any]] = deque()

    def hand_out() -> tuple[Any, Any]:
        host, images, labels, copied = waiting.popleft()
        copied.synchronize()  # from here on the pinned buffer may be reused
        del host
        current = torch.cuda.current_stream(device)
        current.wait_event(copied)
        for tensor in (images, labels):
            tensor.record_stream(current)
        return images, labels

    try:
        for number, (host, labels) in batches:
            with torch.cuda.stream(side):
                images = finish(host.to(device, non_blocking=True), number)
                waiting.append((host, images, labels, side.record_event()))
            del host, images
            if len(waiting) > _AHEAD:
                yield hand_out()
        while waiting:
            yield hand_out()
    finally:
        side.synchronize()
