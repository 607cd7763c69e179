"""The store of an official file: beside it, or where nothing can be written there, in a cache or temporary folder."""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from mmtk import store
from mmtk.errors import StoreError
from mmtk.files import kept_folder

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


def imported(npz: Path) -> store.Store:
    """Import an official file, or open the store it was imported to.

    Raises
    ------
    StoreError
        If it is damaged, or a store can be written nowhere: then what is said of its own folder.
    """
    first: StoreError | None = None
    for folder, force in _folders(npz):
        try:
            return store.open(store.import_npz(npz, folder, force=force))
        except (StoreError, OSError) as error:
            first = first or _unwritable(npz, error)
            if _errno(error) not in _UNWRITABLE:
                if folder == npz.parent:
                    raise
                continue  # a cache that is damaged in other ways is done without
    assert first is not None
    raise first


def _unwritable(npz: Path, error: StoreError | OSError) -> StoreError:
    if isinstance(error, StoreError):
        return error
    return StoreError(npz.parent, expected="a folder that can be written", found=error.strerror or str(error))


def _errno(error: StoreError | OSError) -> int | None:
    cause = error if isinstance(error, OSError) else error.__context__
    return cause.errno if isinstance(cause, OSError) else None


def _folders(npz: Path) -> Iterator[tuple[Path, bool]]:
    """Where its store may go, and whether what is there may be replaced; each is made when it is asked for."""
    yield npz.parent, False
    name = hashlib.sha256(os.fsencode(npz.absolute())).hexdigest()[:16]  # files of one name may differ
    for top in (_cache(), _temporary()):
        if top is not None:
            yield top / name, True


def _cache() -> Path | None:
    """This user's folder for what can be made again, if there is a home."""
    try:
        given = os.environ.get("XDG_CACHE_HOME", "")
        home = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()
    except RuntimeError:  # neither HOME nor an entry for this user
        return None
    return home / "mmtk"


@cache
def _temporary() -> Path | None:
    """A folder of this process, and of those that it starts while it runs; the next one clears what a kill leaves."""
    try:
        final, owner = Path(tempfile.gettempdir()) / "mmtk-imported", os.getpid()
        folder = kept_folder(final)
        folder.chmod(0o700)
    except OSError:
        return None

    def remove() -> None:
        if os.getpid() == owner:  # and not a forked one
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
