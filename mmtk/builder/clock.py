"""Where the time of a build goes."""

from __future__ import annotations

import time
from threading import Lock


class Clock:
    """Seconds by stage, added up over threads: of a build with n workers, n times as many as pass on the wall."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    def __call__(self, stage: str, cores: int = 1) -> _Stage:
        """Time a ``with`` block; `cores` counts those that have nothing else to do meanwhile."""
        return _Stage(self, stage, cores)

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


class _Stage:
    """A class of its own, since it is entered five times an image and a generator would take three times as long."""

    __slots__ = ("clock", "cores", "stage", "start")

    def __init__(self, clock: Clock, stage: str, cores: int) -> None:
        self.clock, self.stage, self.cores = clock, stage, cores

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.clock.add(self.stage, self.cores * (time.perf_counter() - self.start))
