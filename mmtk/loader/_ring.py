"""Buffers that are written again once nothing refers to them any more."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = 4  # a training loop holds two; one that keeps its batches gets new buffers, and the ring lets go of old ones


class Ring:
    """A few arrays of one shape; every tensor or view made from one counts as a reference to it.

    How many references an array has that nobody holds differs between interpreters, which may borrow some of their own:
    it is measured. Where one more does not show, no array is used again.

    Parameters
    ----------
    make : callable
        Gives a new array.
    more : int
        Arrays that are prepared ahead, to be kept besides those in use.
    """

    def __init__(self, make: Callable[[], NDArray[Any]], more: int = 0) -> None:
        self._make = make
        self._buffers: deque[NDArray[Any]] = deque(maxlen=_KEPT + more)
        held = np.empty(0)
        _, self._unused = _next(deque([np.empty(0)]))
        _, used = _next(deque([held]))
        self._shows = used > self._unused

    def take(self) -> NDArray[Any]:
        """An array that nobody else refers to."""
        # an array that is looked at is in nobody else's reach: no lock, which a fork could leave held
        for _ in range(len(self._buffers) if self._shows else 0):
            try:
                buffer, references = _next(self._buffers)
            except IndexError:  # other threads look at all of them
                break
            self._buffers.append(buffer)
            if references == self._unused:
                return buffer
        buffer = self._make()
        self._buffers.append(buffer)
        return buffer


def _next(buffers: deque[NDArray[Any]]) -> tuple[NDArray[Any], int]:
    """Take a buffer out, with the number of references it has here."""
    buffer = buffers.popleft()
    references = sys.getrefcount(buffer)
    return buffer, references
