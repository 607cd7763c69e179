"""What can go wrong, said in one line: which file, what was expected, what was found, what to do."""

from __future__ import annotations

import errno
from os import PathLike, fspath


class MmtkError(Exception):
    """Base of all errors mmtk raises on purpose.

    Parameters
    ----------
    what : str
        The file, dataset or argument that is at fault.
    expected, found : str
        What was expected there and what was found instead; either may be empty.
    remedy : str
        What the user can do about it; may be empty.
    """

    def __init__(
        self, what: str | PathLike[str], *, expected: str = "", found: str = "", remedy: str = ""
    ) -> None:
        super().__init__(what, expected, found, remedy)
        self.what = fspath(what)
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        facts = [f"expected {self.expected}" if self.expected else "", f"found {self.found}" if self.found else ""]
        parts = [", ".join(filter(None, facts)), self.remedy]
        line = "; ".join(filter(None, parts))
        text = f"{self.what}: {line}" if line else self.what
        return " ".join(text.split())

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.expected, self.found, self.remedy)


def _rebuild(kind: type[MmtkError], what: str, expected: str, found: str, remedy: str) -> MmtkError:
    return kind(what, expected=expected, found=found, remedy=remedy)


class SourceError(MmtkError):
    """Raw data is missing, incomplete or not in the provider's layout."""


class ImageError(SourceError):
    """One raw image cannot be used: not an image, damaged, or of a kind the recipe does not cover."""


class StoreError(MmtkError):
    """A store cannot be written, opened or trusted."""


class ScoreError(MmtkError):
    """Labels, scores or a result file do not fit together."""


class ArgumentError(MmtkError, ValueError):
    """An argument or a name is not one that mmtk knows."""


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
