"""Numba functions that release the GIL, compiled for fixed types and cached on disk if possible.

For why they exist beside the C extension, and what Numba costs, see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(*signatures: Any) -> Callable[[Any], Any]:
    """Compile the decorated function for each of these signatures."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(list(signatures), nogil=True, cache=True)(function)
        except Exception:  # no cache folder, a full one or damaged files raise various errors
            return numba.njit(list(signatures), nogil=True)(function)  # raises again if the code itself is at fault

    return decorate
