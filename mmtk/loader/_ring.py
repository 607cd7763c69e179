"""Buffers that are written again once nothing refers to them any more."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

_KEPT = 4  # a training loop holds two; one that keeps its batches gets new buffers, and the ring lets go of old ones
_UNUSED = 3  # references to a buffer that only the ring holds: its place, the loop's name and getrefcount's argument


class Ring:
    """A few arrays of one shape; every tensor or view made from one counts as a reference to it.

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
        self._lock = threading.Lock()

    def take(self) -> NDArray[Any]:
        """An array that nobody else refers to."""
        with self._lock:
            for _ in range(len(self._buffers)):
                buffer = self._buffers[0]
                self._buffers.rotate(-1)
                if sys.getrefcount(buffer) == _UNUSED:
                    return buffer
            buffer = self._make()
            self._buffers.append(buffer)
            return buffer
