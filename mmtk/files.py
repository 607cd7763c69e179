"""Files that appear complete or not at all: temporary files, locks, and syncing to disk.

A temporary file lies beside the file it becomes, under a name of its own, and is locked while it is being written. An
error removes it at once; what a killed process leaves is removed by the next one to write the same file, which sees
that it is no longer locked. Locks are always on a file opened for writing (for a folder, one beside or in it), because
machines that share a disk by NFS see no other locks.
"""

from __future__ import annotations

import csv
import ctypes
import errno
import filecmp
import io
import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from mmtk.errors import BusyError, MmtkError, StoreError, system_reason, system_remedy

try:
    import fcntl
except ImportError:  # Windows
    _LOCKS = False
else:
    _LOCKS = True

BINARY = getattr(os, "O_BINARY", 0)  # of os.open: Windows changes the ends of lines without it
_TEMPORARY = re.compile(r"(?P<path>\.(?P<name>.+)\.[0-9a-f]{8}\.mmtk)(-lock)?", re.DOTALL)
_LOCK = ".lock"  # in a folder that is held
_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF, errno.EINVAL}
_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EPERM}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)
_STALE_SECONDS = 24 * 3600  # age at which a temporary counts as abandoned if the file system has no locks
_moving = threading.Lock()  # held while a file is read elsewhere than where its owner left it


def lock(handle: int, *, wait: bool = False) -> bool | None:
    """Lock a file that is open for writing against other processes, on other machines too, until it is closed.

    Returns
    -------
    bool or None
        Whether the lock is held now; None if the file system has no locks, in which case work continues without.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn_no_locks(os.strerror(error.errno))
        return None
    return True


def expect_locks() -> None:
    """Refuse to write where the system has no file locks.

    Raises
    ------
    MmtkError
        On Windows.
    """
    if not _LOCKS:
        problem = "has no POSIX file locks, without which mmtk reads but does not write"
        raise MmtkError("this system", problem, remedy="run mmtk in WSL (wsl --install)")


def read_at(handle: int, length: int, offset: int) -> bytes:
    """Read at most `length` bytes of an open file from `offset` on, as `os.pread` does; Windows lacks that."""
    if hasattr(os, "pread"):
        return os.pread(handle, length, offset)
    with _moving:
        before = os.lseek(handle, 0, os.SEEK_CUR)
        try:
            os.lseek(handle, offset, os.SEEK_SET)
            return os.read(handle, length)
        finally:
            os.lseek(handle, before, os.SEEK_SET)


@cache
def _warn_no_locks(reason: str) -> None:
    logging.getLogger("mmtk").warning(
        "mmtk: note: this file system cannot lock files (%s); run only one command at a time on a folder", reason
    )


def is_named(handle: int, path: str | Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def writing(final: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield the path of a new, locked temporary file or folder beside `final`, and remove it at the end.

    Raises
    ------
    StoreError
        If the folder is full or cannot be written, in place of the error of the system or HDF5; it names `final`.
    MmtkError
        On Windows.
    """
    expect_locks()
    with as_store_error(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(final)
        temporary, handle = _held(final, folder)
        try:
            if folder:
                temporary.mkdir()
            yield temporary
        finally:
            _remove(temporary)  # or the old folder that has its name now; a published file has left nothing
            _remove(_lock_of(temporary, folder))
            os.close(handle)


@contextmanager
def as_store_error(final: Path, area: Path | None = None) -> Iterator[None]:
    """Turn system errors about writing a file or folder into a `StoreError`; errors about reading others pass through.

    Raises
    ------
    StoreError
        In place of an OSError that names `final`, something in the folder `area` (by default that of `final`), or no
        file at all.
    """
    area = final.parent if area is None else area
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if error.filename else final
        if not place.is_relative_to(area) and not final.is_relative_to(place):
            raise
        reason = system_reason(error.errno) if error.errno else str(error)
        remedy = system_remedy(error.errno) or "check its space and permissions or choose another folder"
        raise StoreError(final, f"cannot be written: {reason}", remedy=remedy) from None


def _held(final: Path, folder: bool) -> tuple[Path, int]:
    while True:
        path = final.with_name(f".{final.name}.{secrets.token_hex(4)}.mmtk")
        handle = os.open(_lock_of(path, folder), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        # before it was locked, another process may have taken it for abandoned
        if lock(handle) is not False and is_named(handle, _lock_of(path, folder)):
            return path, handle
        os.close(handle)


def _lock_of(path: Path, folder: bool) -> Path:
    """The file that is locked while a temporary is being written."""
    return path.with_name(f"{path.name}-lock") if folder else path


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Lock a folder, created if it does not exist, against other processes; a read-only folder needs no lock.

    Raises
    ------
    BusyError
        If another process holds it.
    OSError
        If the system cannot create or write it for another reason.
    """
    handle = _hold(folder)
    try:
        yield
    finally:
        if handle is not None:
            if is_named(handle, folder / _LOCK):  # the folder may be gone by now, or locked by another process
                _remove(folder / _LOCK)
            os.close(handle)


def _hold(folder: Path) -> int | None:
    remedy = "wait for it to end, or choose another folder"
    busy = BusyError(folder, "is in use by another process", remedy=remedy)
    try:
        return open_locked(folder / _LOCK, busy)
    except OSError as error:
        if error.errno in _UNWRITABLE and not os.access(folder, os.W_OK):
            return None
        raise


def open_locked(path: Path, busy: StoreError) -> int:
    """Open a file for appending, created with its folder if needed, and lock it until it is closed, or raise `busy`."""
    expect_locks()
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except FileNotFoundError:
            continue  # its holder has just removed the folder
        held = False
        try:
            if lock(handle) is False:
                raise busy
            if held := is_named(handle, path):  # its holder may have removed it meanwhile
                return handle
        finally:
            if not held:
                os.close(handle)


def is_temporary(path: Path) -> bool:
    """Whether a path has the name of a temporary that is being written, or that a killed process left."""
    return bool(_TEMPORARY.fullmatch(path.name))


def clear_leftovers(final: Path) -> None:
    """Remove the temporaries of `final` that killed processes left, but not those still being written."""
    with suppress(OSError):
        with os.scandir(final.parent) as entries:
            matches = [_TEMPORARY.fullmatch(entry.name) for entry in entries]
        for name in {match["path"] for match in matches if match and match["name"] == final.name}:
            clear(final.with_name(name))


def clear(temporary: Path) -> None:
    """Remove a temporary file or folder if it exists and no process holds it."""
    expect_locks()
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
    """Remove a folder left by a process that held it, if it exists and no process holds it."""
    if folder.is_dir():
        with suppress(OSError, BusyError), holding(folder):
            remove_folder(folder)


def remove_folder(folder: Path) -> None:
    """Remove a folder that others may create again meanwhile: it is renamed first."""
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
    """Give a finished file or folder its name, so that it appears complete or not at all, and sync its folder."""
    os.replace(temporary, final)
    sync_folder(Path(final).parent)


def publish_folder(temporary: Path, final: Path) -> None:
    """Give a finished folder its name, replacing another that stays until the new one is in place.

    If the system cannot exchange two names, there is a moment with neither.
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


def _exchange(path: Path, other: Path) -> bool:
    """Exchange two names at once, which Linux can do."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    failed: int = call(_AT_FDCWD, os.fsencode(path), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return failed == 0


def sync_folder(folder: str | Path) -> None:
    """Sync the names in a folder to disk, if the file system can do that."""
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
    """Write text as UTF-8; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()), force)


def write_csv(path: Path, rows: Iterable[Iterable[object]], force: bool = True) -> None:
    """Write rows as CSV, one per line; see `write_atomically`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue(), force)


def write_atomically(final: Path, write: Callable[[IO[bytes]], object], force: bool) -> None:
    """Let `write` fill a temporary file beside `final`, and rename it only when it is complete.

    Raises
    ------
    StoreError
        If a file with other content exists and `force` is not set, or if the disk is full or cannot be written.
    """
    with writing(final) as temporary:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if force or not final.exists():
            publish(temporary, final)
        elif not filecmp.cmp(temporary, final, shallow=False):
            raise StoreError(final, "already exists with different content", remedy="use --force to overwrite it")
