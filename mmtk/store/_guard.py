"""Turn the many errors that HDF5 and the system raise for a file into one line."""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmtk.errors import MmtkError, StoreError, reason_of, system_reason, system_remedy

REBUILD = "build or import it again"
DISTRUST = "do not trust this file"
TRUNCATED = "store is corrupt: the file is truncated"


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Raise a one-line StoreError for whatever HDF5, NumPy or the system raise while a store is read."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StoreError(path, f"cannot be read: {reason_of(error)}") from None
    if not stat.S_ISREG(mode):
        raise StoreError(path, "is not a store but a folder" if stat.S_ISDIR(mode) else "is not a regular file")
    try:
        yield
    except MmtkError:
        raise
    except _DAMAGE as error:
        if number := _errno(error):
            problem, remedy = f"cannot be read: {system_reason(number)}", system_remedy(number)
            raise StoreError(path, problem, remedy=remedy) from None
        reason = re.sub("^'(.*)'$", r"\1", str(error)) or type(error).__name__
        problem = TRUNCATED if "truncated file" in reason else f"store is corrupt: {reason}"
        raise StoreError(path, problem, remedy=REBUILD) from None


# raised by HDF5, h5py, JSON and NumPy on corrupt or hostile bytes
_DAMAGE = (
    OSError, EOFError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, MemoryError,
)


def _errno(error: BaseException) -> int | None:
    """The errno of an error, also where HDF5 gives it only in its message."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    match = re.search(r"\berrno = (\d+)", str(error))
    return getattr(error, "errno", None) or (int(match[1]) if match else None)
