"""Progress over many runs, and an estimate of the remaining time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from mmtk.runs import Entry


@dataclass(frozen=True)
class OverallProgress:
    """Progress over all runs.

    Attributes
    ----------
    done, runs : int
        Number of finished runs and of all runs.
    name : str
        The active run, or how many are active.
    fraction : float
        Finished fraction of the active run, or the sum over all active runs.
    remaining : float or None
        Estimated seconds; None while there is no basis for an estimate.
    """

    done: int
    runs: int
    name: str
    fraction: float
    remaining: float | None


class Clock:
    """Estimates the remaining time from the seconds per batch so far, or from the budgets of methods that have one.

    Runs are identified by their index in `entries`; several may be active at once, on different machines.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._paces: dict[tuple[str, int, int], float] = {}  # by method, size and dimensions
        self._firsts: dict[int, tuple[float, int]] = {}  # time and batches at the first report of each run
        self._fractions: dict[int, float] = {}  # of active runs
        self._finished: set[int] = set()

    def begin(self, number: int) -> None:
        self._firsts.pop(number, None)
        self._fractions[number] = 0.0

    def end(self, number: int) -> None:
        self._fractions.pop(number, None)
        self._finished.add(number)

    def update(self, number: int, done: int, total: int) -> None:
        entry, now = self._entries[number], time.perf_counter()
        # a resumed run starts with earlier batches; one whose worker died falls back to its last epoch
        if number not in self._firsts or done / total < self._fractions.get(number, 0.0):
            self._firsts[number] = now, done
        begun, before = self._firsts[number]
        if not entry.method.timed and done > before:
            self._paces[_kind(entry)] = (now - begun) / (done - before)
        self._fractions[number] = done / total

    def progress(self) -> OverallProgress:
        """Return the progress as of the last update."""
        name = ""
        if len(self._fractions) == 1:
            name = self._entries[next(iter(self._fractions))].name
        elif self._fractions:
            name = f"{len(self._fractions)} active"
        fraction, remaining = sum(self._fractions.values()), self._remaining()
        return OverallProgress(len(self._finished), len(self._entries), name, fraction, remaining)

    def _remaining(self) -> float | None:
        """Seconds until all runs are finished, divided by the number of active runs."""
        seconds = 0.0
        for number, entry in enumerate(self._entries):
            if number in self._finished:
                continue
            part = 1 - self._fractions.get(number, 0.0)
            if entry.method.timed:
                seconds += part * entry.budget
                continue
            pace = self._paces.get(_kind(entry), max(self._paces.values(), default=None))
            if pace is None:
                return None
            seconds += part * pace * entry.batches
        return seconds / max(1, len(self._fractions))


def _kind(entry: Entry) -> tuple[str, int, int]:
    return entry.method.name, entry.size, entry.ndim
