"""What this user's cache folder has of an official file: its store, and by which bytes it is known."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mmtk import store
from mmtk.base import md5_of
from mmtk.errors import MmtkError
from mmtk.files import write_text

_RECORD = "npz.json"


def _equal_labels(npz: Path, opened: store.Store) -> bool:
    """Whether the labels of a store are of the type and shape that they have in the file it was made of."""
    with np.load(npz) as arrays:
        given = [arrays[f"{split.name}_labels"] for split in opened.splits]
    pairs = zip(given, opened.splits, strict=True)
    return all((labels.dtype, labels.shape) == (split.labels.dtype, split.labels.shape) for labels, split in pairs)


def _cache() -> Path | None:
    """This user's folder for what can be made again, if there is a home."""
    try:
        given = os.environ.get("XDG_CACHE_HOME", "")
        home = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()
    except RuntimeError:  # neither HOME nor an entry for this user
        return None
    return home / "mmtk" / "medmnist"


class Cached:
    """An ``.npz`` and what the cache says of it.

    A file counts as the same as long as its path, its size and the times of its last changes are: then it is not read
    again to know whether it is official. A path has one folder, so that the store of a former file goes with it.

    Parameters
    ----------
    npz : Path
        From the root of the file system.
    flag : str
    md5 : str
        What makes it official.
    """

    def __init__(self, npz: Path, flag: str, md5: str) -> None:
        self._npz, self._flag, self._md5 = npz, flag, md5
        top, name = _cache(), hashlib.sha256(os.fsencode(npz)).hexdigest()[:16]
        self._folder = top / name if top is not None else None

    def official(self) -> bool:
        """Whether it is the official file."""
        return bool((self._told() or self._compared())["official"])

    def opened(self, beside: Path) -> store.Store | None:
        """The store of the official file, made if need be; None where it is another file, or nothing can be kept.

        Parameters
        ----------
        beside : Path
            Another store, which is taken if it was imported from this very file.
        """
        told = self._told()
        if told is None and not self._writable():
            return None
        told = told or self._compared()
        if not told["official"] or told.get("store", "") is None:
            return None
        with suppress(MmtkError, OSError, LookupError):
            return store.open(told["store"], told["digest"])
        opened = self._beside(beside) or self._imported()
        if opened is None:
            return None
        if not _equal_labels(self._npz, opened):
            self._tell({"official": True, "store": None})
            return None
        self.keep(opened)
        return opened

    def keep(self, opened: store.Store) -> None:
        """Remember a store whose arrays are those of the file, which is official."""
        self._tell({"official": True, "store": str(opened.path.absolute()), "digest": opened.digest})

    def _beside(self, path: Path) -> store.Store | None:
        with suppress(MmtkError, OSError):
            opened = store.open(path)
            if opened.info.pixels == "official" and self._md5 in opened.info.membership:
                return opened
        return None

    def _imported(self) -> store.Store | None:
        if self._folder is None:
            return None
        with suppress(MmtkError, OSError):
            return store.open(store.import_npz(self._npz, self._folder, self._flag, force=True))
        return None

    def _writable(self) -> bool:
        if self._folder is None:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return False
        return os.access(self._folder, os.W_OK)

    def _stamp(self) -> list[Any]:
        status = self._npz.stat()
        return [str(self._npz), self._md5, status.st_size, status.st_mtime_ns, status.st_ctime_ns]

    def _told(self) -> dict[str, Any] | None:
        """What was told of this very file."""
        if self._folder is None:
            return None
        try:
            record = json.loads((self._folder / _RECORD).read_bytes())
            told: dict[str, Any] = {"official": bool(record["official"]), **record}
            return told if record["stamp"] == self._stamp() else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _compared(self) -> dict[str, Any]:
        """What is to be told of a file that is not known yet."""
        told = {"official": md5_of(self._npz) == self._md5}
        self._tell(told)
        return told

    def _tell(self, told: dict[str, Any]) -> None:
        if self._folder is not None:
            with suppress(MmtkError, OSError):
                write_text(self._folder / _RECORD, json.dumps({"stamp": self._stamp(), **told}))
