"""What every room shares: how progress is told, digests of files, versions of packages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import metadata
from io import BufferedIOBase
from pathlib import Path

Progress = Callable[[int, int], None]  # told what is done and how much it is in all


def md5_of(path: Path) -> str:
    """MD5 of a file, as hex."""
    with path.open("rb") as file:
        return md5_in(file)


def md5_in(file: BufferedIOBase) -> str:
    """MD5 of an opened file from where it stands, as hex."""
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed, by name."""
    installed = {}
    for package in packages:
        with suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed
