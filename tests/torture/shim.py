"""Compile the shim, and arm it in a process that has it preloaded."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import shutil
import subprocess
from pathlib import Path

WRITES, READS = 1, 2
MODES = ("count", "once", "onward", "short", "short-onward", "kill-before", "kill-after", "kill-torn")
KILLS = ("kill-before", "kill-after", "kill-torn")
ERRORS = {name: getattr(errno, name) for name in ("ENOSPC", "EIO", "EDQUOT", "EMFILE")}


def why_not() -> str:
    """Why there can be no shim here; nothing if there can."""
    if os.uname().sysname != "Linux":
        return f"no shim for {os.uname().sysname}: it preloads into glibc"
    return "" if _compiler() else "no C compiler for the shim"


def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def compiled(folder: Path) -> Path:
    """Compile the shim into a folder."""
    library = folder / "shim.so"
    source = Path(__file__).with_name("shim.c")
    command = [str(_compiler()), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source), "-ldl"]
    subprocess.run([*command, "-o", str(library)], check=True)
    return library


class _Shared(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_long), ("fired", ctypes.c_long), ("call", ctypes.c_char * 32), ("path", ctypes.c_char * 480),
    )


class Shim:
    """The preloaded shim; its counts outlive a child that is killed."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "torture_arm"):
            raise RuntimeError("the shim is not preloaded")
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._shared = _Shared.from_buffer(self._memory)

    def clear(self) -> None:
        """Forget the last child."""
        ctypes.memset(ctypes.addressof(self._shared), 0, ctypes.sizeof(self._shared))

    def arm(self, folder: Path, which: int, mode: str, place: int = 0, error: str = "EIO") -> None:
        """From now on count calls on paths in `folder`, and do to the `place`-th what `mode` says."""
        self._library.torture_arm(
            ctypes.byref(self._shared), os.fsencode(folder), which, ctypes.c_long(place), MODES.index(mode),
            ERRORS[error],
        )

    @property
    def count(self) -> int:
        return int(self._shared.count)

    @property
    def fired(self) -> bool:
        return bool(self._shared.fired)

    @property
    def told(self) -> str:
        """The call that was meant, and its file's name."""
        return f"{self._shared.call.decode()} {Path(os.fsdecode(self._shared.path)).name}"
