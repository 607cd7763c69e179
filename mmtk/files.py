"""Files that appear whole or not at all: temporaries that the next run knows, locks, folders on disk.

A temporary lies beside the file it becomes, under a name of its own, and is locked as long as somebody writes it.
Whoever writes the same file next removes those that nobody holds any more: what an error leaves is gone at once, what a
kill leaves is gone with the next run. What is locked is always a file opened for writing, for a folder one beside or in
it: machines that share a disk by NFS tell each other of no other locks.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import fcntl
import filecmp
import io
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from mmtk.errors import BusyError, StoreError, system_remedy

_TEMPORARY = re.compile(r"(?P<path>\.(?P<name>.+)\.[0-9a-f]{8}\.mmtk)(-lock)?", re.DOTALL)
_LOCK = ".lock"  # in a folder that is held
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF, errno.EINVAL}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)
_STALE_SECONDS = 24 * 3600  # where nothing can be locked, the age at which a temporary counts as abandoned


def lock(handle: int, *, wait: bool = False) -> bool | None:
    """Lock a file that is open for writing against other processes, also of other machines, until it is closed.

    Returns
    -------
    bool or None
        Whether it is held now; None on a file system that cannot lock, where work goes on without.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _say_unlocked(os.strerror(error.errno))
        return None
    return True


@cache
def _say_unlocked(reason: str) -> None:
    logging.getLogger("mmtk").warning(
        "mmtk: note: this file system cannot lock files (%s): do not run two commands on one folder at once", reason
    )


def is_named(handle: int, path: str | Path) -> bool:
    """Whether an open file is still the one under this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def writing(final: Path, *, folder: bool = False) -> Iterator[Path]:
    """Give a new file, or folder, beside `final` that is held under a lock, and leave nothing of it in the end.

    Raises
    ------
    StoreError
        Instead of what the system and HDF5 say of a folder that is full or cannot be written; it names `final`.
    """
    with telling(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(final)
        temporary, handle = _held(final, folder)
        try:
            if folder:
                temporary.mkdir()
            yield temporary
        finally:
            _remove(temporary)  # or the old folder that has its name now; nothing, where a file was published
            _remove(_lock_of(temporary, folder))
            os.close(handle)


@contextmanager
def telling(final: Path, area: Path | None = None) -> Iterator[None]:
    """Say of a file, or folder, that it cannot be written, where the system says so; what is read keeps its errors.

    Raises
    ------
    StoreError
        Instead of an OSError that names `final`, something in the folder `area`, by default that of `final`, or
        nothing.
    """
    area = final.parent if area is None else area
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if error.filename else final
        if not place.is_relative_to(area) and not final.is_relative_to(place):
            raise
        reason = os.strerror(error.errno) if error.errno else str(error)
        remedy = system_remedy(error.errno) or "check its space and permissions or choose another folder"
        raise StoreError(final, expected="room to write it", found=reason, remedy=remedy) from None


def _held(final: Path, folder: bool) -> tuple[Path, int]:
    while True:
        path = final.with_name(f".{final.name}.{secrets.token_hex(4)}.mmtk")
        handle = os.open(_lock_of(path, folder), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # between being made and being locked it may have been taken for a leftover
        if lock(handle) is not False and is_named(handle, _lock_of(path, folder)):
            return path, handle
        os.close(handle)


def _lock_of(path: Path, folder: bool) -> Path:
    """The file that is locked as long as a temporary is written."""
    return path.with_name(f"{path.name}-lock") if folder else path


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold a folder, made if need be, against other processes; one that cannot be written needs no holding.

    Raises
    ------
    BusyError
        If another process holds it.
    OSError
        If the system does not let it be made or written, though it can be.
    """
    handle = _hold(folder)
    try:
        yield
    finally:
        if handle is not None:
            if is_named(handle, folder / _LOCK):  # the folder may have another one's by now, or be gone
                _remove(folder / _LOCK)
            os.close(handle)


def _hold(folder: Path) -> int | None:
    remedy = "wait for it, or choose another folder"
    busy = BusyError(folder, expected="a folder for one process", found="another at work", remedy=remedy)
    try:
        return open_locked(folder / _LOCK, busy)
    except OSError as error:
        if error.errno in _UNWRITABLE and not os.access(folder, os.W_OK):
            return None
        raise


def open_locked(path: Path, busy: StoreError) -> int:
    """Open a file for appending, made with its folder if need be, and lock it until it is closed; `busy` if it is."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except FileNotFoundError:
            continue  # who held it has just removed its folder
        held = False
        try:
            if lock(handle) is False:
                raise busy
            if held := is_named(handle, path):  # who held it may have removed it meanwhile
                return handle
        finally:
            if not held:
                os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has the name of one that is being written, or was when its process was killed."""
    return bool(_TEMPORARY.fullmatch(path.name))


def clear_leftovers(final: Path) -> None:
    """Remove the temporaries of `final` that a killed process left; those that are being written stay."""
    with suppress(OSError):
        with os.scandir(final.parent) as entries:
            matches = [_TEMPORARY.fullmatch(entry.name) for entry in entries]
        for name in {match["path"] for match in matches if match and match["name"] == final.name}:
            clear(final.with_name(name))


def clear(temporary: Path) -> None:
    """Remove a temporary file or folder, if it is there and nobody holds it."""
    with suppress(OSError):
        locked = temporary if temporary.is_file() and not temporary.is_symlink() else _lock_of(temporary, True)
        changed = os.lstat(temporary if os.path.lexists(temporary) else locked).st_mtime
        handle = os.open(locked, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            mine = lock(handle)
            if mine or (mine is None and time.time() - changed > _STALE_SECONDS):
                _remove(temporary)
                _remove(locked)
        finally:
            os.close(handle)


def clear_held(folder: Path) -> None:
    """Remove a folder that a process that held it has left, if it is there and nobody holds it."""
    if folder.is_dir():
        with suppress(OSError, BusyError), holding(folder):
            remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder that others may make again meanwhile: it loses its name first."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.mmtk")
    os.replace(folder, aside)
    _remove(aside)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def publish(temporary: str | Path, final: str | Path) -> None:
    """Give a finished file or folder its name, so that it appears whole or not at all, and sync the folder it is in."""
    os.replace(temporary, final)
    sync_folder(Path(final).parent)


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a finished folder its name in the place of another, which is there until the new one is.

    Where the system cannot exchange two names at once, there is a moment without either.
    """
    if not final.exists():
        publish(temporary, final)
        return
    if _exchange(temporary, final):  # the old one is the temporary now
        sync_folder(final.parent)
        return
    with writing(final, folder=True) as aside:
        os.replace(final, aside / "old")
        try:
            publish(temporary, final)
        except OSError:
            os.replace(aside / "old", final)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names, as Linux can."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    failed: int = call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return failed == 0


def sync_folder(folder: str | Path) -> None:
    """Sync the names in a folder to disk, where the file system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise OSError(error.errno, error.strerror, str(folder)) from None


def write_text(path: Path, text: str, force: bool = True) -> None:
    """Write a text as UTF-8; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()), force)


def write_csv(path: Path, rows: Iterable[Iterable[object]], force: bool = True) -> None:
    """Write rows as CSV, a line each; see `write_atomically`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue(), force)


def write_atomically(final: Path, write: Callable[[IO[bytes]], object], force: bool) -> None:
    """Let `write` fill a temporary file beside `final`, which takes its name only when whole.

    Raises
    ------
    StoreError
        If another file is there, unless `force` allows it to be replaced, or if the disk is full or cannot be written.
    """
    with writing(final) as temporary:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if force or not final.exists():
            publish(temporary, final)
        elif not filecmp.cmp(temporary, final, shallow=False):
            raise StoreError(final, expected="an equal file or none", found="another", remedy="add --force")
