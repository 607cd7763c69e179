"""Buffers that are reused once nothing refers to them any more."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = 4  # a training loop holds two; one that keeps its batches gets new buffers, and the ring drops old ones


class Ring:
    """A few arrays of the same shape; every tensor or view made from an array counts as a reference to it.

    The reference count of an unused array differs between interpreters, which may borrow references, so it is measured.
    If an additional reference does not show, no array is reused.

    Parameters
    ----------
    make : callable
        Returns a new array.
    more : int
        Number of prefetched arrays, kept in addition to those in use.
    """

    def __init__(self, make: Callable[[], NDArray[Any]], more: int = 0) -> None:
        self._make = make
        self._buffers: deque[NDArray[Any]] = deque(maxlen=_KEPT + more)
        held = np.empty(0)
        _, self._unused = _next(deque([np.empty(0)]))
        _, used = _next(deque([held]))
        self._shows = used > self._unused

    def take(self) -> NDArray[Any]:
        """An array that nothing else refers to."""
        # an array is taken out while it is examined, so no lock is needed, which a fork could leave held
        for _ in range(len(self._buffers) if self._shows else 0):
            try:
                buffer, references = _next(self._buffers)
            except IndexError:  # other threads are examining all of them
                break
            self._buffers.append(buffer)
            if references == self._unused:
                return buffer
        buffer = self._make()
        self._buffers.append(buffer)
        return buffer


def _next(buffers: deque[NDArray[Any]]) -> tuple[NDArray[Any], int]:
    """Take a buffer out, with its number of references here."""
    buffer = buffers.popleft()
    references = sys.getrefcount(buffer)
    return buffer, references
