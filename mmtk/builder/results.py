"""What the results of a build say together: how many images, where the time went, which were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mmtk.builder._build import BuildResult


def facts_of(result: BuildResult) -> dict[str, Any]:
    """A result as JSON values, for ``mmtk build --json``."""
    names = ("flag", "size", "counts", "reused", "synthetic", "partial", "seconds")
    facts = {name: getattr(result, name) for name in names}
    return {"path": str(result.path), **facts, "findings": [vars(finding) for finding in result.findings]}


def images_built(results: Iterable[BuildResult]) -> int:
    """Images that were decoded: those of several sizes count once, those of stores that were there do not."""
    return sum(sum(counts.values()) for counts in {r.flag: r.counts for r in results if not r.reused}.values())


def time_shares(results: Iterable[BuildResult]) -> dict[str, float]:
    """Parts of the time of all workers by stage, the largest first."""
    spent: Counter[str] = Counter()
    for seconds in {id(result.seconds): result.seconds for result in results}.values():  # built together: in common
        spent.update(seconds)
    total = sum(spent.values()) or 1.0
    return {stage: seconds / total for stage, seconds in spent.most_common()}


def bad_images(results: Iterable[BuildResult]) -> list[tuple[str, str]]:
    """Images that were left out and why, each once, by name."""
    return sorted({(f.name, f.detail) for result in results for f in result.findings if f.kind == "bad"})
