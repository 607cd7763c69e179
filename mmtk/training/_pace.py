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
    name : the run at work, or how many are
    share : what part of it is done, or of all that are at work together
    left : seconds, None as long as nothing foretells them
    """

    done: int
    runs: int
    name: str
    share: float
    left: float | None


class Clock:
    """Foretells what is left from the pace so far: seconds a batch, or the budget of what goes by one.

    Runs are told apart by their place in `entries`; several may be at work at once, on machines of their own.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._paces: dict[tuple[str, int, int], float] = {}  # by method, size and dimensions
        self._firsts: dict[int, tuple[float, int]] = {}
        self._shares: dict[int, float] = {}  # of those at work
        self._over: set[int] = set()

    def begin(self, number: int) -> None:
        self._firsts.pop(number, None)
        self._shares[number] = 0.0

    def end(self, number: int) -> None:
        self._shares.pop(number, None)
        self._over.add(number)

    def tell(self, number: int, done: int, total: int) -> None:
        entry, now = self._entries[number], time.perf_counter()
        # a run that goes on starts with what was done before; one whose worker died falls back to its last epoch
        if number not in self._firsts or done / total < self._shares.get(number, 0.0):
            self._firsts[number] = now, done
        begun, before = self._firsts[number]
        if not entry.method.timed and done > before:
            self._paces[_kind(entry)] = (now - begun) / (done - before)
        self._shares[number] = done / total

    def standing(self) -> Standing:
        """How far they are by what was told."""
        name = ""
        if len(self._shares) == 1:
            name = self._entries[next(iter(self._shares))].name
        elif self._shares:
            name = f"{len(self._shares)} at work"
        return Standing(len(self._over), len(self._entries), name, sum(self._shares.values()), self._left())

    def _left(self) -> float | None:
        """Seconds to the end of all, shared by as many as are at work."""
        left = 0.0
        for number, entry in enumerate(self._entries):
            if number in self._over:
                continue
            part = 1 - self._shares.get(number, 0.0)
            if entry.method.timed:
                left += part * entry.budget
                continue
            pace = self._paces.get(_kind(entry), max(self._paces.values(), default=None))
            if pace is None:
                return None
            left += part * pace * entry.batches
        return left / max(1, len(self._shares))


def _kind(entry: Entry) -> tuple[str, int, int]:
    return entry.method.name, entry.size, entry.ndim
