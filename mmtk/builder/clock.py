"""Measure where the time of a build goes."""

from __future__ import annotations

import time
from threading import local


class Clock:
    """Seconds by stage, summed over threads: with n workers up to n times the elapsed time."""

    def __init__(self) -> None:
        self._local = local()  # a lock would make threads wait for each other just to measure how long they wait
        self._by_thread: list[dict[str, float]] = []

    def __call__(self, stage: str, cores: int = 1) -> _Stage:
        """Time a ``with`` block during which `cores` workers have nothing else to do."""
        return _Stage(self, stage, cores)

    def add(self, stage: str, seconds: float) -> None:
        try:
            times: dict[str, float] = self._local.seconds
        except AttributeError:
            times = self._local.seconds = {}
            self._by_thread.append(times)
        times[stage] = times.get(stage, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        """The sum so far."""
        total: dict[str, float] = {}
        for times in self._by_thread:
            for stage, seconds in times.items():
                total[stage] = total.get(stage, 0.0) + seconds
        return total


class _Stage:
    """A class, because it is entered five times per image and a generator would take three times as long."""

    __slots__ = ("clock", "cores", "stage", "start")

    def __init__(self, clock: Clock, stage: str, cores: int) -> None:
        self.clock, self.stage, self.cores = clock, stage, cores

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.add(self.stage, self.cores * (time.perf_counter() - self.start))
