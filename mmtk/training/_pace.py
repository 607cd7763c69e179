"""How far many runs are, and how long the rest will take at the pace so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mmtk.runs import Entry


@dataclass(frozen=True)
class Standing:
    """How far all runs are.

    Attributes
    ----------
    done, runs : runs that are over, and all of them
    name : the run at work
    share : what part of it is done
    left : seconds, None as long as nothing foretells them
    """

    done: int
    runs: int
    name: str
    share: float
    left: float | None


class Clock:
    """Foretells what is left from the pace so far: seconds a batch, or the budget of what goes by one."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._paces: dict[tuple[str, int, int], float] = {}  # by method, size and dimensions
        self._first: tuple[float, int] | None = None

    def begin(self) -> None:
        self._first = None

    def tell(self, entry: Entry, done: int, total: int) -> None:
        now = time.perf_counter()
        if self._first is None:  # a run that goes on starts with what was done before
            self._first = now, done
        begun, before = self._first
        if not entry.method.timed and done > before:
            self._paces[_kind(entry)] = (now - begun) / (done - before)

    def left(self, number: int, share: float) -> float | None:
        """Seconds from a share of a run to the end of all."""
        left = 0.0
        for place, entry in enumerate(self._entries[number:]):
            part = 1 - share if place == 0 else 1.0
            if entry.method.timed:
                left += part * entry.budget
                continue
            pace = self._paces.get(_kind(entry), max(self._paces.values(), default=None))
            if pace is None:
                return None
            left += part * pace * entry.batches
        return left


def _kind(entry: Entry) -> tuple[str, int, int]:
    return entry.method.name, entry.size, entry.ndim
