"""The words that tell of images that are no whole official dataset, wherever they are shown or written."""

from __future__ import annotations

SYNTHETIC = "SYNTHETIC"
PARTIAL = "PARTIAL"
UNPUBLISHED = "UNPUBLISHED"  # from a file that is called like an official one, has its counts, and is another


def marks_of(synthetic: bool, partial: bool) -> tuple[str, ...]:
    """The marks that hold, in the order they are shown in."""
    return tuple(mark for mark, holds in ((SYNTHETIC, synthetic), (PARTIAL, partial)) if holds)
