"""The result of a build, and summaries of several: number of images, time by stage, skipped images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmtk.datasets.base import Finding
from mmtk.datasets.marks import marks_of
from mmtk.display import facts_table


@dataclass(frozen=True)
class BuildResult:
    """Result of building one store.

    Attributes
    ----------
    path : Path
        The store.
    flag : str
    size : int
        Edge length of its images in pixels.
    counts : dict of str to int
        Images per split.
    findings : tuple of Finding
        What a user should know about the source, including bad images.
    reused : bool
        Whether the store existed already, built from the same plan, and was kept.
    synthetic, partial : bool
        Whether it was built from synthetic or incomplete raw data.
    seconds : dict of str to float
        Worker time by stage, in seconds summed over all workers; "waiting" is the remainder. Datasets that are built
        together share it.

    Examples
    --------
    >>> import mmtk
    >>> results = mmtk.build("breastmnist", sources="sources", out="stores", allow_partial=True)
    >>> results[0].path.name, results[0].size, results[0].reused
    ('breastmnist_28.h5', 28, True)
    """

    path: Path
    flag: str
    size: int
    counts: dict[str, int]
    findings: tuple[Finding, ...] = field(repr=False)
    reused: bool
    synthetic: bool
    partial: bool
    seconds: dict[str, float] = field(repr=False, compare=False)

    def _repr_html_(self) -> str:
        findings = Counter(finding.kind for finding in self.findings)
        return facts_table(f"{self.flag}, {self.size} px", {
            "file": self.path, "images": [f"{split} {count:,}" for split, count in self.counts.items()],
            "marks": " ".join(marks_of(self.synthetic, self.partial)), "reused": "yes" if self.reused else "",
            "findings": [f"{count:,} {kind}" for kind, count in findings.items()],
        })


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
