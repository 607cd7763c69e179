"""Whether memory that was mapped from a file copy-on-write has been written: the kernel keeps a private copy then."""

from __future__ import annotations

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAP = "/proc/self/pagemap"  # of Linux: eight bytes a page, see the kernel's documentation of it
_PRESENT, _SWAPPED, _OF_FILE = (np.uint64(1 << bit) for bit in (63, 62, 61))
_BLOCK = 1 << 17  # pages that are looked at in one go


def may_be_written(array: NDArray[Any]) -> bool:
    """Whether any of an array's pages is the process's own, as after a write, and not the file's.

    Of memory that was never mapped, and where the system does not tell, it is True.
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
    told = os.pread(handle, 8 * len(pages), 8 * pages.start)
    if len(told) != 8 * len(pages):
        return True
    entries = np.frombuffer(told, np.uint64)
    return bool((((entries & _PRESENT) != 0) & ((entries & _OF_FILE) == 0) | ((entries & _SWAPPED) != 0)).any())
