"""Where the time of a build goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class Clock:
    """Seconds by stage, added up over threads: of a build with n workers, n times as many as pass on the wall."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = Lock()

    @contextmanager
    def __call__(self, stage: str, cores: int = 1) -> Iterator[None]:
        """Add what the block takes; `cores` counts those that have nothing else to do meanwhile."""
        start = time.perf_counter()
        try:
            yield
        finally:
            took = cores * (time.perf_counter() - start)
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + took
