"""Batches on a CUDA device: copied from pinned memory on a side stream, some batches ahead of use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mmtk.loader._torch import import_torch

_AHEAD = 2  # batches on their way while one is used
_SHARE = 0.5  # of the free memory that a resident split may take


def room_for(size: int, device: Any) -> tuple[bool, str]:
    """Whether so many bytes are to be kept on a CUDA device, and why."""
    free, _ = import_torch().cuda.mem_get_info(device)
    fits = size <= _SHARE * free
    limit = f"{_SHARE:.0%} of the {free / 1e9:.2f} GB that are free"
    return fits, f"its {size / 1e9:.2f} GB are {'at most' if fits else 'more than'} {limit}"


def copied_ahead(
    batches: Iterable[tuple[int, tuple[Any, Any]]], device: Any, finish: Callable[[Any, int], Any]
) -> Iterator[tuple[Any, Any]]:
    """Move batches to a device.

    Parameters
    ----------
    batches : iterable of (number, (images, labels))
        Images on the host, pinned and not written again while something refers to them; labels on the device.
    device : torch.device
    finish : callable
        What is left to do with images on the device, given the batch's number.

    Yields
    ------
    (images, labels) on the device, ready for the stream that is current when they are asked for.
    """
    torch = import_torch()
    side = torch.cuda.Stream(device)
    waiting: deque[tuple[Any, Any, Any, Any]] = deque()

    def hand_out() -> tuple[Any, Any]:
        host, images, labels, copied = waiting.popleft()
        copied.synchronize()  # from here on the pinned buffer may be written again
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
