"""Peers are timed by turns, again and again, and in the end one table says how they compare.

A shared machine is slower in one second than in the next by more than the differences looked for. So each benchmark is
run in several cycles (a module's own ``CYCLES``, or five), all peers of a group in each, and a ratio is the median of
its cycles' ratios.
"""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest

from tests.conftest import real_data  # noqa: F401

CYCLES = 5
_OURS = ("mmtk", "Batches", "SplitDataset", "vnni", "avx2", "neon", "plain", "numba")  # how names of ours begin
# of ours, but other work than a peer's
_PARTS = ("mmtk header only", "Batches in stored order", "Batches as NumPy arrays")
_WHO = ("who", "way")  # the parameter that names a peer


@pytest.fixture
def cycle() -> int:
    return 0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "benchmark" in metafunc.fixturenames:
        metafunc.fixturenames.append("cycle")
        cycles = getattr(metafunc.module, "CYCLES", CYCLES)
        metafunc.parametrize("cycle", range(cycles), ids=lambda number: f"cycle {number}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the cycles of a group one behind the other, and the peers inside a cycle."""
    seen: dict[Any, int] = {}

    def place(item: pytest.Item) -> tuple[int, int]:
        params = getattr(item, "callspec", None)
        values = dict(params.params) if params else {}
        number = values.pop("cycle", 0)
        group = (item.nodeid.partition("[")[0], repr({k: v for k, v in values.items() if k not in _WHO}))
        return seen.setdefault(group, len(seen)), number

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print for each group how many times slower than its fastest of ours everything else is."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, list[float]]] = {}
    for bench in getattr(session, "benchmarks", ()):
        who = next((str(bench.params[name]) for name in _WHO if name in bench.params), bench.name.partition("[")[0])
        if bench.stats.data and who not in _PARTS:
            groups.setdefault(bench.group or bench.name, {}).setdefault(who, []).append(bench.stats.median)
    rows = [row for group, medians in groups.items() for row in _ratios(group, medians)]
    if rows:
        terminalreporter.write_sep("=", "ratios by turns, medians of the cycles")
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for group, ours, peer, ratio in rows:
            terminalreporter.write_line(f"{group:{widths[0]}}  {ours:{widths[1]}} {ratio:8.2f} times as fast as {peer}")


def _ratios(group: str, medians: dict[str, list[float]]) -> list[tuple[str, str, str, float]]:
    """Everyone's time over that of the fastest of ours; nothing where a group has nothing of ours, or nothing else."""
    mine = [who for who in medians if who.startswith(_OURS)]
    if len(mine) in (0, len(medians)):
        return []
    best = min(mine, key=lambda who: median(medians[who]))
    others = {
        who: median(theirs / ours for theirs, ours in zip(times, medians[best], strict=False))
        for who, times in medians.items() if who != best
    }
    return [(group, best, who, ratio) for who, ratio in sorted(others.items(), key=lambda pair: pair[1])]
