"""After the benchmarks: one table of ratios, each group's first beside its peers."""

from __future__ import annotations

from typing import Any

_OURS = ("mmtk", "Batches", "SplitDataset", "avx2", "plain", "numba")  # how names of ours begin
_PARTS = ("mmtk header only", "Batches in stored order")  # of ours, but other work than a peer's


def pytest_terminal_summary(terminalreporter: Any, config: Any) -> None:
    """Print for each group how many times slower than its fastest of ours each peer is, by medians."""
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
    """Each peer's median over the fastest of ours; nothing where a group has no peer or nothing of ours."""
    mine = {who: median for who, median in medians.items() if _is_ours(who)}
    peers = {who: median for who, median in medians.items() if who not in mine}
    if not mine or not peers:
        return []
    best = min(mine, key=lambda who: mine[who])
    return [(group, best, peer, median / mine[best]) for peer, median in sorted(peers.items())]


def _is_ours(who: str) -> bool:
    return who.startswith(_OURS)
