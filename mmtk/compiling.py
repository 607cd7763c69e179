"""Numba functions without the GIL, compiled for fixed types and kept on disk where there is a folder for them.

What they are for, where there is a C extension, and what Numba costs: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(*signatures: Any) -> Callable[[Any], Any]:
    """Compile the function that is decorated for each of these signatures."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(list(signatures), nogil=True, cache=True)(function)
        except Exception:  # no folder to keep machine code in, a full one, or damaged files: each raises what it likes
            return numba.njit(list(signatures), nogil=True)(function)  # which raises again what is wrong with the code

    return decorate
