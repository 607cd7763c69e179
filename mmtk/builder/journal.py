"""The journal of a build: its identity and the units that are done, as JSON lines."""

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

    A line is written only after the pixels it mentions are on disk, so the journal can be relied on after a kill or a
    power cut; a torn last line is ignored. Each line holds a checksum over itself and all lines before it: a journal
    that was modified is discarded.

    Parameters
    ----------
    folder : Path
        Created if needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: set[int] = set()
        self._chain = hashlib.sha256()

    def __enter__(self) -> Journal:
        clear_leftovers(self.folder)
        remedy = "wait for it, or choose another --out"
        busy = StoreError(self.folder, "another build is running there", remedy=remedy)
        self._file = open_locked(self.folder / _FILE, busy)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def resume(self, identity: dict[str, Any]) -> bool:
        """Read which units an earlier build of this identity finished; if there is none, empty the folder: False."""
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
        """A line without its checksum, None if the checksum does not match."""
        try:
            line = json.loads(text)
            checksum = line.pop(_CHAIN)
        except (ValueError, AttributeError, TypeError, KeyError, RecursionError):  # not a line of a journal
            return None
        self._chain.update(_text(line))
        return line if checksum == self._chain.hexdigest() else None

    def forget(self) -> None:
        """Forget everything, on disk too: the content of the folder then belongs to no build."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self.done = set()
        self._chain = hashlib.sha256()

    def restart(self) -> None:
        """Forget everything, and empty the folder."""
        self.forget()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != _FILE:
                path.unlink()

    def begin(self, identity: dict[str, Any]) -> None:
        """Record the identity of the build; its skeletons must be on disk."""
        self._append(identity)

    def note(self, done: list[int]) -> None:
        """Record finished units; their pixels must be on disk."""
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
            with suppress(OSError):  # half a line would spoil the next one
                os.ftruncate(self._file, before)
            raise

    def remove(self) -> None:
        """Remove the work folder at the end of the build."""
        remove_folder(self.folder)


def _text(line: dict[str, Any]) -> bytes:
    return json.dumps(line, sort_keys=True).encode()


def clear_work(folder: Path) -> None:
    """Remove the work folder of a build that was killed after it had published all its stores."""
    clear_leftovers(folder)
    if not folder.is_dir() or any(folder.glob("*.h5")):
        return
    try:
        with Journal(folder) as journal:
            journal.remove()
    except (StoreError, OSError):
        pass  # another build is running there, or it cannot be written: left to the next build
