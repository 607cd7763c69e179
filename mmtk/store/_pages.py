"""Detect writes to a copy-on-write mapping: the kernel keeps a private copy of every page written to."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAP = "/proc/self/pagemap"  # Linux: eight bytes per page, see the kernel's documentation
_PRESENT, _SWAPPED, _OF_FILE = (np.uint64(1 << bit) for bit in (63, 62, 61))
_BLOCK = 1 << 17  # pages read at a time


def may_be_written(array: NDArray[Any]) -> bool:
    """Whether any of an array's pages is private to the process, as after a write, rather than the file's.

    True for memory that was never mapped, and on systems that do not provide this information.
    """
    start = array.__array_interface__["data"][0]
    pages = range(start // mmap.PAGESIZE, -(-(start + array.nbytes) // mmap.PAGESIZE) if array.nbytes else 0)
    try:
        handle = os.open(_MAP, os.O_RDONLY)
    except OSError:
        return bool(pages)
    try:
        return any(_own(handle, pages[at : at + _BLOCK]) for at in range(0, len(pages), _BLOCK))
    except OSError:
        return True
    finally:
        os.close(handle)


def _own(handle: int, pages: range) -> bool:
    data = os.pread(handle, 8 * len(pages), 8 * pages.start)
    if len(data) != 8 * len(pages):
        return True
    entries = np.frombuffer(data, np.uint64)
    return bool((((entries & _PRESENT) != 0) & ((entries & _OF_FILE) == 0) | ((entries & _SWAPPED) != 0)).any())
