"""Errors, one line each: which file, what is wrong with it, what was expected, what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike, fspath
from typing import Self

_OF_CONTENT = {None, errno.EINVAL, errno.EOVERFLOW}  # caused by numbers inside a file, such as offsets
_OF_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EIO, errno.ESTALE}


class MmtkError(Exception):
    """Base class of all errors that mmtk raises deliberately.

    Its text is one line: what is at fault, the problem, the two values if they matter, and a remedy. Every parameter is
    kept as an attribute, and an error pickles, so it crosses process boundaries intact.

    Parameters
    ----------
    what : str or path
        The file, dataset or argument at fault.
    problem : str, optional
        What is wrong with it, as a sentence without its subject ("cannot be read: permission denied"). Empty if `found`
        and `expected` say it all.
    expected, found : str, optional
        The value that was expected and the one found instead.
    remedy : str, optional
        What the user can do about it.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.open("stores/missing_28.h5")
    ... except mmtk.MmtkError as error:
    ...     print(type(error).__name__, error.what)
    StoreError stores/missing_28.h5
    >>> print(mmtk.MmtkError("scan.png", "is not grey", found="3 channels", expected="1", remedy="convert it"))
    scan.png: is not grey; found 3 channels, expected 1; convert it
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
        """Return the error for a missing package that one of mmtk's extras installs."""
        return cls(what, f"needs the package {package}, which is not installed", remedy=f"pip install 'mmtk[{extra}]'")

    def within(self, what: str | PathLike[str]) -> Self:
        """Return the same error about a part of something larger, such as the labels of a file."""
        what = f"{fspath(what)}: {self.what}"
        return type(self)(what, self.problem, expected=self.expected, found=self.found, remedy=self.remedy)

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
    """Raw data is missing, incomplete or not in the provider's layout.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.build("pathmnist", sources="sources", out="stores")
    ... except mmtk.errors.SourceError as error:
    ...     print(error.what.endswith("sources"))
    True
    """


class ImageError(SourceError):
    """A raw image cannot be used: it is not an image, is damaged, or is of a kind the recipe does not cover.

    Examples
    --------
    >>> from pathlib import Path
    >>> import mmtk
    >>> _ = Path("scan.png").write_text("not an image")
    >>> try:
    ...     mmtk.imaging.read_image("scan.png", colour=False)
    ... except mmtk.errors.ImageError as error:
    ...     print(error.what)
    scan.png
    """


class StoreError(MmtkError):
    """A store cannot be written, opened or trusted.

    Examples
    --------
    >>> from pathlib import Path
    >>> import mmtk
    >>> store = Path("stores/breastmnist_28.h5")
    >>> _ = store.write_bytes(store.read_bytes()[:5000])
    >>> try:
    ...     mmtk.open(store)
    ... except mmtk.errors.StoreError as error:
    ...     print(error.what)
    stores/breastmnist_28.h5
    """


class BusyError(StoreError):
    """Another process is using the file or folder.

    Examples
    --------
    >>> import mmtk
    >>> issubclass(mmtk.errors.BusyError, mmtk.errors.StoreError)
    True
    """


class ScoreError(MmtkError):
    """Labels, scores or a result file do not match.

    Examples
    --------
    >>> import mmtk
    >>> try:
    ...     mmtk.evaluate([0, 1, 1], [0.1, float("nan"), 0.8], "binary-class")
    ... except mmtk.errors.ScoreError as error:
    ...     print(error.what)
    scores
    """


class ArgumentError(MmtkError, ValueError):
    """An argument is of the wrong kind or out of range; also a `ValueError`.

    Examples
    --------
    >>> from mmtk.phantom import write_phantom
    >>> write_phantom("breastmnist", "drawn", scale=2)
    Traceback (most recent call last):
    mmtk.errors.ArgumentError: scale: found 2, expected a number above 0 and at most 1
    """


class UnknownNameError(ArgumentError, KeyError):
    """No dataset, split, protocol, method or model has this name; also a `KeyError`.

    Examples
    --------
    >>> import mmtk
    >>> mmtk.get_dataset("brestmnist")
    Traceback (most recent call last):
    mmtk.errors.UnknownNameError: dataset brestmnist: unknown; did you mean breastmnist?
    """

    @classmethod
    def among(
        cls, noun: str, name: str, known: Iterable[str], others: str = "", aliases: Iterable[str] = ()
    ) -> Self:
        """Return the error for a name that is not known: it suggests a similar one, or else lists them all.

        Parameters
        ----------
        noun : str
            What the name should have been of: "dataset".
        name : str
        known : iterable of str
        others : str
            What else could have been given, to follow the list.
        aliases : iterable of str
            Further names, which are suggested but not listed.
        """
        known = list(known)
        remedy = did_you_mean(name, [*known, *aliases])
        expected = "" if remedy else f"one of {', '.join(known)}{others}"
        return cls(f"{noun} {name}", "unknown", expected=expected, remedy=remedy)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the known name that a mistyped one resembles, as a question; empty if none does.

    Examples
    --------
    >>> from mmtk.errors import did_you_mean
    >>> did_you_mean("resnet19", ["resnet18", "resnet50"])
    'did you mean resnet18?'
    >>> did_you_mean("vgg", ["resnet18", "resnet50"])
    ''
    """
    spelled = {option.lower(): option for option in known}
    close = get_close_matches(str(name).lower(), spelled, n=1)
    return f"did you mean {spelled[close[0]]}?" if close else ""


def is_of_system(error: BaseException) -> bool:
    """Whether an error is about the system (no permission, no such file, no memory), not about a file's content."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _OF_CONTENT)


def is_of_machine(error: BaseException) -> bool:
    """Whether a system error is no fault of a file: too many are open, memory is short, a disk fails."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _OF_MACHINE)


def reason_of(error: BaseException) -> str:
    """An error's message; for a system error, the system's own wording, as it stands within a sentence."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "strerror", None)
    return _in_sentence(text) if text else str(error) or type(error).__name__


def system_reason(number: int) -> str:
    """The system's wording for the number of an error, as it stands within a sentence."""
    return _in_sentence(os.strerror(number))


def _in_sentence(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


_REMEDIES = {
    errno.EMFILE: "close some files, or raise the limit (ulimit -n)",
    errno.ENFILE: "close some files on this machine",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some of your quota or choose another folder",
    errno.EFBIG: "raise the file size limit (ulimit -f) or choose another file system",
    errno.EROFS: "choose a writable folder",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EIO: "check the disk",
}


def system_remedy(number: int | None) -> str:
    """What to do about a system error, by its number; empty if there is no particular advice."""
    return _REMEDIES.get(number or 0, "")
