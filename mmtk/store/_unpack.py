"""What undoes the filters of a compressed store, each within a length that is known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mmtk.base import inflate

# HDF5's numbers of filters
DEFLATE, SHUFFLE, ZSTD = 1, 2, 32015
COMPRESSIONS = {"gzip": DEFLATE, "zstd": ZSTD}
FORMER = {"lzf": 32000, "blosc": 32001}  # once written, refused now: see docs/decisions.md

Unpack = Callable[[bytes, int], Any]


def unpacker(number: int) -> Unpack | None:
    """What unpacks a filter's bytes to a known length and never to more, if it is here."""
    try:
        if number == DEFLATE:
            return inflate
        if number == ZSTD:
            from numcodecs.zstd import decompress as unpack_zstd

            return lambda packed, length: unpack_zstd(packed, np.empty(length, np.uint8))
    except ImportError:
        pass
    return None
