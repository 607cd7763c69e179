"""Numba functions without the GIL, compiled for fixed types and kept on disk where there is a folder for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(*signatures: Any) -> Callable[[Any], Any]:
    """Compile the function that is decorated for each of these signatures."""

    def decorate(function: Any) -> Any:
        try:
            return numba.njit(list(signatures), nogil=True, cache=True)(function)
        except RuntimeError:  # no folder to keep machine code in
            return numba.njit(list(signatures), nogil=True)(function)

    return decorate
