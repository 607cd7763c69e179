"""Files with a flipped byte, each to be refused or read as if it were whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from mmtk.errors import ImageError


def one_bit(at: int) -> Iterable[int]:
    """Which bits of the byte at a place are flipped: one, another at each place."""
    return (1 << at % 8,)


def refused_flips(
    path: Path, expect_same: Callable[[int], None], start: int = 0, flips: Callable[[int], Iterable[int]] = one_bit
) -> int:
    """How many copies of a file with one byte flipped are refused, from a place on; the file is left damaged.

    `expect_same`, told the place, reads what depends on the file and holds it against what the whole file has.
    """
    content, refused = path.read_bytes(), 0
    for at in range(start, len(content)):
        for flip in flips(at):
            damaged = bytearray(content)
            damaged[at] ^= flip
            path.write_bytes(damaged)
            try:
                expect_same(at)
            except ImageError:
                refused += 1
    return refused
