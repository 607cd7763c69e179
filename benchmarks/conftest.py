"""After the benchmarks: one table of ratios, each group's first beside its peers."""

from __future__ import annotations

from typing import Any

from tests.conftest import real_data  # noqa: F401

_OURS = ("mmtk", "Batches", "SplitDataset", "vnni", "avx2", "plain", "numba")  # how names of ours begin
_PARTS = ("mmtk header only", "Batches in stored order")  # of ours, but other work than a peer's


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print for each group how many times slower than its fastest of ours everything else is, by medians."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, dict[str, float]] = {}
    for bench in getattr(session, "benchmarks", ()):
        if bench.stats.data:
            who = bench.params.get("who") or bench.params.get("way") or bench.name
            if who not in _PARTS:
                groups.setdefault(bench.group or bench.name, {})[str(who)] = bench.stats.median
    rows = [row for group, medians in groups.items() for row in _ratios(group, medians)]
    if rows:
        terminalreporter.write_sep("=", "ratios of medians, one run")
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for group, ours, peer, ratio in rows:
            terminalreporter.write_line(f"{group:{widths[0]}}  {ours:{widths[1]}} {ratio:8.2f} times as fast as {peer}")


def _ratios(group: str, medians: dict[str, float]) -> list[tuple[str, str, str, float]]:
    """Everyone's median over the fastest of ours; nothing where a group has nothing of ours, or nothing else."""
    mine = [who for who in medians if who.startswith(_OURS)]
    if len(mine) in (0, len(medians)):
        return []
    best = min(mine, key=lambda who: medians[who])
    others = sorted((median, who) for who, median in medians.items() if who != best)
    return [(group, best, who, median / medians[best]) for median, who in others]
