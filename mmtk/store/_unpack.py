"""Decompression for the filters of a compressed store, each limited to a length known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mmtk.base import inflate

# HDF5's filter numbers
DEFLATE, SHUFFLE, ZSTD = 1, 2, 32015
COMPRESSIONS = {"gzip": DEFLATE, "zstd": ZSTD}
FORMER = {"lzf": 32000, "blosc": 32001}  # no longer supported: see docs/decisions.md

Unpack = Callable[[bytes, int], Any]


def unpacker(number: int) -> Unpack | None:
    """The function that decompresses a filter's bytes to a known length and no further, None if it is not available."""
    try:
        if number == DEFLATE:
            return inflate
        if number == ZSTD:
            from numcodecs.zstd import decompress as unpack_zstd

            return lambda packed, length: unpack_zstd(packed, np.empty(length, np.uint8))
    except ImportError:
        pass
    return None
