"""The journal of a build: whose it is and which units are done, one JSON line each."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from mmtk.errors import StoreError
from mmtk.files import clear_leftovers, open_locked, remove_folder

_FILE = "journal"
_CHAIN = "chain"  # the checksum of a line and of those before it


class Journal:
    """The work folder of a build and its journal, held by one process at a time.

    A line is written only after the pixels it speaks of are on disk, so whatever the journal says holds after a kill or
    a power cut; a torn last line says nothing. Each line holds a checksum of itself and of all lines before it: a
    journal that is not as it was written is not believed at all.

    Parameters
    ----------
    folder : Path
        Made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[int] = set()
        self._chain = hashlib.sha256()

    def __enter__(self) -> Journal:
        clear_leftovers(self.folder)
        remedy = "wait for it, or choose another --out"
        busy = StoreError(self.folder, expected="one build at a time", found="another running", remedy=remedy)
        self._file = open_locked(self.folder / _FILE, busy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def resume(self, identity: dict[str, Any]) -> bool:
        """Read what an earlier build of this identity has done; False if there is none, and the folder is emptied."""
        with os.fdopen(os.dup(self._file), "rb") as file:
            file.seek(0)
            written = file.read()
        whole = written[: written.rfind(b"\n") + 1]
        os.ftruncate(self._file, len(whole))
        lines = [self._checked(line) for line in whole.splitlines()]
        if not lines or None in lines or lines[0] != identity:
            self.restart()
            return False
        self.done = {number for line in lines[1:] if line for number in line["done"]}
        return True

    def _checked(self, text: bytes) -> dict[str, Any] | None:
        """A line without its checksum, None if that does not fit."""
        try:
            line = json.loads(text)
            checksum = line.pop(_CHAIN)
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):  # nothing that was written here
            return None
        self._chain.update(_text(line))
        return line if checksum == self._chain.hexdigest() else None

    def forget(self) -> None:
        """Forget all, on disk too: what is in the folder then belongs to no build."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self.done = set()
        self._chain = hashlib.sha256()

    def restart(self) -> None:
        """Forget all, and empty the folder."""
        self.forget()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _FILE:
                path.unlink()

    def begin(self, identity: dict[str, Any]) -> None:
        """Write whose build this is; the skeletons are on disk by then."""
        self._append(identity)

    def note(self, done: list[int]) -> None:
        """Write that units are done; their pixels are on disk by then."""
        self.done.update(done)
        self._append({"done": done})

    def _append(self, line: dict[str, Any]) -> None:
        before = os.fstat(self._file).st_size
        chain = self._chain.copy()
        chain.update(_text(line))
        text = _text({**line, _CHAIN: chain.hexdigest()}) + b"\n"
        try:
            while text:
                text = text[os.write(self._file, text) :]
            os.fsync(self._file)
            self._chain = chain
        except OSError:
            with suppress(OSError):  # half a line would take the next one with it
                os.ftruncate(self._file, before)
            raise

    def remove(self) -> None:
        """Remove the work folder; the build is over."""
        remove_folder(self.folder)


def _text(line: dict[str, Any]) -> bytes:
    return json.dumps(line, sort_keys=True).encode()


def clear_work(folder: Path) -> None:
    """Remove the work folder of a build that was killed when all its stores had their names already."""
    clear_leftovers(folder)
    if not folder.is_dir() or any(folder.glob("*.h5")):
        return
    try:
        with Journal(folder) as journal:
            journal.remove()
    except (StoreError, OSError):
        pass  # somebody builds there, or it cannot be written: the next build will see
