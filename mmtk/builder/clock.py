"""Where the time of a build goes."""

from __future__ import annotations

import time
from threading import local


class Clock:
    """Seconds by stage, added up over threads: of a build with n workers, n times as many as pass on the wall."""

    def __init__(self) -> None:
        self._mine = local()  # a lock would make threads wait for each other, for the sake of knowing how long they do
        self._everyones: list[dict[str, float]] = []

    def __call__(self, stage: str, cores: int = 1) -> _Stage:
        """Time a ``with`` block; `cores` counts those that have nothing else to do meanwhile."""
        return _Stage(self, stage, cores)

    def add(self, stage: str, seconds: float) -> None:
        try:
            mine: dict[str, float] = self._mine.seconds
        except AttributeError:
            mine = self._mine.seconds = {}
            self._everyones.append(mine)
        mine[stage] = mine.get(stage, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        """The sum so far."""
        total: dict[str, float] = {}
        for mine in self._everyones:
            for stage, seconds in mine.items():
                total[stage] = total.get(stage, 0.0) + seconds
        return total


class _Stage:
    """A class of its own, since it is entered five times an image and a generator would take three times as long."""

    __slots__ = ("clock", "cores", "stage", "start")

    def __init__(self, clock: Clock, stage: str, cores: int) -> None:
        self.clock, self.stage, self.cores = clock, stage, cores

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.add(self.stage, self.cores * (time.perf_counter() - self.start))
