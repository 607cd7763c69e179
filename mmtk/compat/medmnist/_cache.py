"""The user's cache of an official file: its store, and how the file is recognised."""

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
    """Whether the labels of a store have the type and shape of those in the file it was imported from."""
    with np.load(npz) as arrays:
        given = [arrays[f"{split.name}_labels"] for split in opened.splits]
    pairs = zip(given, opened.splits, strict=True)
    return all((labels.dtype, labels.shape) == (split.labels.dtype, split.labels.shape) for labels, split in pairs)


def _cache() -> Path | None:
    """The user's cache folder, None if there is no home."""
    try:
        given = os.environ.get("XDG_CACHE_HOME", "")
        home = Path(given) if os.path.isabs(given) else Path("~/.cache").expanduser()
    except RuntimeError:  # neither HOME nor an entry for this user
        return None
    return home / "mmtk" / "medmnist"


class Cached:
    """An ``.npz`` and its entry in the cache.

    A file is considered unchanged while its path, size and modification times are: then it is not read again to find
    out whether it is official. Each path has one folder, so the store of a former file is replaced with it.

    Parameters
    ----------
    npz : Path
        Absolute path.
    flag : str
    md5 : str
        The published MD5.
    """

    def __init__(self, npz: Path, flag: str, md5: str) -> None:
        self._npz, self._flag, self._md5 = npz, flag, md5
        top, name = _cache(), hashlib.sha256(os.fsencode(npz)).hexdigest()[:16]
        self._folder = top / name if top is not None else None

    def official(self) -> bool:
        """Whether it is the official file."""
        return bool((self._read_entry() or self._new_entry())["official"])

    def opened(self, beside: Path) -> store.Store | None:
        """The store of the official file, imported if needed; None if it is another file, or cannot be cached.

        Parameters
        ----------
        beside : Path
            Another store, which is used if it was imported from this file.
        """
        entry = self._read_entry()
        if entry is None and not self._writable():
            return None
        entry = entry or self._new_entry()
        if not entry["official"] or entry.get("store", "") is None:
            return None
        with suppress(MmtkError, OSError, LookupError):
            return store.open(entry["store"], entry["digest"])
        opened = self._beside(beside) or self._imported()
        if opened is None:
            return None
        if not _equal_labels(self._npz, opened):
            self._write_entry({"official": True, "store": None})
            return None
        self.keep(opened)
        return opened

    def keep(self, opened: store.Store) -> None:
        """Remember a store with the arrays of the file, which is official."""
        self._write_entry({"official": True, "store": str(opened.path.absolute()), "digest": opened.digest})

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

    def _read_entry(self) -> dict[str, Any] | None:
        """The cache entry of this file, None if there is none or the file has changed."""
        if self._folder is None:
            return None
        try:
            record = json.loads((self._folder / _RECORD).read_bytes())
            entry: dict[str, Any] = {"official": bool(record["official"]), **record}
            return entry if record["stamp"] == self._stamp() else None
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def _new_entry(self) -> dict[str, Any]:
        """Create the cache entry of a file."""
        entry = {"official": md5_of(self._npz) == self._md5}
        self._write_entry(entry)
        return entry

    def _write_entry(self, entry: dict[str, Any]) -> None:
        if self._folder is not None:
            with suppress(MmtkError, OSError):
                write_text(self._folder / _RECORD, json.dumps({"stamp": self._stamp(), **entry}))
