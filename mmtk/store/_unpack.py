"""What undoes the filters of a compressed store, each within a length that is known beforehand."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

# HDF5's numbers of filters
DEFLATE, SHUFFLE, ZSTD = 1, 2, 32015
COMPRESSIONS = {"gzip": DEFLATE, "zstd": ZSTD}
FORMER = {"lzf": 32000, "blosc": 32001}  # once written, refused now: see docs/decisions.md

Unpack = Callable[[bytes, int], Any]


def unpacker(number: int) -> Unpack | None:
    """What unpacks a filter's bytes to a known length and never to more, if it is here."""
    try:
        if number == DEFLATE:
            return _inflater()
        if number == ZSTD:
            from numcodecs.zstd import decompress as unpack_zstd

            return lambda packed, length: unpack_zstd(packed, np.empty(length, np.uint8))
    except ImportError:
        pass
    return None


def _inflater() -> Unpack:
    try:
        import deflate
    except ImportError:
        return inflate
    return deflate.zlib_decompress  # type: ignore[no-any-return]


def inflate(packed: bytes, length: int) -> bytes:
    """Inflate zlib's format without libdeflate, to at most a byte more than `length`.

    Raises
    ------
    ValueError or zlib.error
        If the stream is damaged, does not end with the data, or is longer.
    """
    stream = zlib.decompressobj()
    content = stream.decompress(packed, length + 1)
    if not stream.eof:  # the checksum at its end has not been compared
        raise ValueError("more bytes than the chunk has" if len(content) > length else "no end of the stream")
    return content
