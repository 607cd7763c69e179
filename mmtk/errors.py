"""Errors, each one line: which file, what is wrong with it, what was expected, what to do."""

from __future__ import annotations

import errno
from os import PathLike, fspath
from typing import Self

_OF_CONTENT = {None, errno.EINVAL, errno.EOVERFLOW}  # what a file's own numbers, such as offsets, lead to
_OF_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EIO, errno.ESTALE}


class MmtkError(Exception):
    """Base of all errors mmtk raises on purpose.

    Parameters
    ----------
    what : str
        The file, dataset or argument that is at fault.
    problem : str
        What is wrong with it, as a sentence without its subject ("cannot be read: permission denied"). May be empty
        where `found` and `expected` say it all.
    expected, found : str
        The value that was expected and the value that was found instead; either may be empty.
    remedy : str
        What the user can do about it; may be empty.
    """

    def __init__(
        self,
        what: str | PathLike[str],
        problem: str = "",
        *,
        expected: str = "",
        found: str = "",
        remedy: str = "",
    ) -> None:
        super().__init__(what, problem, expected, found, remedy)
        self.what = fspath(what)
        self.problem = problem
        self.expected = expected
        self.found = found
        self.remedy = remedy

    @classmethod
    def not_installed(cls, what: str | PathLike[str], package: str, extra: str) -> Self:
        """Return the error that something needs a package, which an extra of mmtk brings."""
        return cls(what, f"needs the package {package}, which is not installed", remedy=f"pip install 'mmtk[{extra}]'")

    def __str__(self) -> str:
        values = [f"found {self.found}" if self.found else "", f"expected {self.expected}" if self.expected else ""]
        line = "; ".join(filter(None, [self.problem, ", ".join(filter(None, values)), self.remedy]))
        text = f"{self.what}: {line}" if line else self.what
        return " ".join(text.encode("utf-8", "backslashreplace").decode().split())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.problem, self.expected, self.found, self.remedy)


def _rebuild(
    kind: type[MmtkError], what: str, problem: str, expected: str, found: str, remedy: str
) -> MmtkError:
    return kind(what, problem, expected=expected, found=found, remedy=remedy)


class SourceError(MmtkError):
    """Raw data is missing, incomplete or not in the provider's layout."""


class ImageError(SourceError):
    """One raw image cannot be used: not an image, damaged, or of a kind the recipe does not cover."""


class StoreError(MmtkError):
    """A store cannot be written, opened or trusted."""


class BusyError(StoreError):
    """Another process is at work there."""


class ScoreError(MmtkError):
    """Labels, scores or a result file do not fit together."""


class ArgumentError(MmtkError, ValueError):
    """An argument or a name is not one that mmtk knows."""


def is_of_system(error: BaseException) -> bool:
    """Whether an error tells of the system (no permission, no such file, no memory) and not of what a file holds."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _OF_CONTENT)


def is_of_machine(error: BaseException) -> bool:
    """Whether an error of the system is no fault of a file: too many are open, memory is short, a disk fails."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_MACHINE)


def reason_of(error: BaseException) -> str:
    """What an error says, in the system's words where it is the system's."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


_REMEDIES = {
    errno.EMFILE: "close some files, or raise the limit (ulimit -n)",
    errno.ENFILE: "close some files on this machine",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) or choose another file system",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "check the disk",
}


def system_remedy(number: int | None) -> str:
    """What to do about an error of the system, by its number; empty where nothing in particular."""
    return _REMEDIES.get(number or 0, "")
