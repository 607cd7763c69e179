"""The markers of images that are not a complete official dataset, used wherever they are shown or written."""

from __future__ import annotations

SYNTHETIC = "SYNTHETIC"
PARTIAL = "PARTIAL"
UNPUBLISHED = "UNPUBLISHED"  # from a file with the name and counts of an official one but other content


def marks_of(synthetic: bool, partial: bool) -> tuple[str, ...]:
    """The markers that apply, in display order."""
    return tuple(mark for mark, holds in ((SYNTHETIC, synthetic), (PARTIAL, partial)) if holds)
