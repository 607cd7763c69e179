"""What HDF5 and the system say of a file in many ways, said in one line."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmtk.errors import MmtkError, StoreError, reason_of, system_remedy

REBUILD = "build or import it again"
DISTRUST = "do not trust this file"


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Say in one line what HDF5 and NumPy say of a damaged file in many ways, and the system of any."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StoreError(path, expected="a store", found=reason_of(error)) from None
    if not stat.S_ISREG(mode):
        raise StoreError(path, expected="a store", found="no regular file")
    try:
        yield
    except MmtkError:
        raise
    except _DAMAGE as error:
        if number := _errno(error):
            found, remedy = os.strerror(number), system_remedy(number)
            raise StoreError(path, expected="a readable store", found=found, remedy=remedy) from None
        reason = re.sub("^'(.*)'$", r"\1", str(error)) or type(error).__name__
        found = "a file cut short" if "truncated file" in reason else f"a damaged one ({reason})"
        raise StoreError(path, expected="a whole store", found=found, remedy=REBUILD) from None


# what HDF5, h5py, JSON and NumPy raise on damaged or hostile bytes
_DAMAGE = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
)


def _errno(error: BaseException) -> int | None:
    """The system's number of an error, also where HDF5 tells it in its text only."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    told = re.search(r"\berrno = (\d+)", str(error))
    return getattr(error, "errno", None) or (int(told[1]) if told else None)
