"""Summarise the results of a build: number of images, time by stage, skipped images."""

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
    """Number of images decoded: an image built at several sizes counts once, images of reused stores do not count."""
    return sum(sum(counts.values()) for counts in {r.flag: r.counts for r in results if not r.reused}.values())


def time_shares(results: Iterable[BuildResult]) -> dict[str, float]:
    """Fractions of the workers' time by stage, largest first."""
    spent: Counter[str] = Counter()
    for seconds in {id(result.seconds): result.seconds for result in results}.values():  # shared if built together
        spent.update(seconds)
    total = sum(spent.values()) or 1.0
    return {stage: seconds / total for stage, seconds in spent.most_common()}


def bad_images(results: Iterable[BuildResult]) -> list[tuple[str, str]]:
    """Skipped images and the reasons, each once, sorted by name."""
    return sorted({(f.name, f.detail) for result in results for f in result.findings if f.kind == "bad"})
