"""What files a source has: a folder walked once, or a text file of names."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtk.errors import SourceError

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset

PHANTOM_FILE = "PHANTOM.json"  # written last into a synthetic source: what it is, and how many images it has


@dataclass(frozen=True)
class Listing:
    """File names of a source.

    Attributes
    ----------
    root : Path
        The folder the names are relative to.
    names : tuple of str
        Sorted, with forward slashes.
    readable : bool
        Whether the images are there too; False for a text file of names.
    phantom : dict or None
        What the source's ``PHANTOM.json`` says, if it is a synthetic one.
    """

    root: Path
    names: tuple[str, ...]
    readable: bool = True
    phantom: dict[str, Any] | None = None

    def path(self, name: str) -> Path:
        """The file of a name."""
        return self.root / name

    def read_text(self, name: str) -> str:
        """The text of a file, without a byte order mark.

        Raises
        ------
        SourceError
            If it cannot be read, or is no UTF-8.
        """
        try:
            return self.path(name).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise SourceError(self.path(name), expected="a text file", found=error.strerror or str(error)) from None
        except UnicodeDecodeError:
            raise SourceError(self.path(name), expected="a text file", found="bytes that are no UTF-8") from None


def open_listing(path: str | os.PathLike[str]) -> Listing:
    """List a source.

    Parameters
    ----------
    path : path-like
        A folder, or a text file with one name a line, relative to the folder it lies in.

    Returns
    -------
    Listing

    Raises
    ------
    SourceError
        If it is neither, or cannot be read.
    """
    path = Path(path).absolute()
    if path.is_dir():
        return Listing(path, tuple(sorted(_walk(path))), phantom=_read_phantom(path))
    if not path.is_file():
        found = "nothing" if not path.exists() else "neither"
        raise SourceError(path, expected="a folder or a text file of names", found=found)
    lines = (line.strip().replace("\\", "/") for line in Listing(path.parent, ()).read_text(path.name).splitlines())
    names = (line.removeprefix("./") for line in lines if line and not line.startswith("#"))
    return Listing(path.parent, tuple(sorted(set(names))), readable=False)


def find_source(sources: str | os.PathLike[str], dataset: Dataset) -> Listing:
    """Find a dataset's raw files.

    Parameters
    ----------
    sources : path-like
        The provider's folder, or one that holds it among others, at most two levels down.
    dataset : Dataset

    Returns
    -------
    Listing
        Of the folder that has the provider's layout.

    Raises
    ------
    SourceError
        If no such folder is there, or several are; it says what was looked for, where to get it and its licence.
    """
    sources = Path(sources).absolute()
    if not sources.is_dir():
        raise SourceError(sources, expected="a folder with raw data", found="no folder", remedy="see --sources")
    level = [sources]
    for _ in range(3):
        found = [folder for folder in level if _has_layout(folder, dataset)]
        if len(found) > 1:
            names = " and ".join(str(folder) for folder in found)
            raise SourceError(sources, expected=f"one source of {dataset.flag}", found=names, remedy="name one of them")
        if found:
            return open_listing(found[0])
        level = [child for folder in level for child in _folders(folder)]
    provider = dataset.source
    raise SourceError(
        sources, expected=f"{provider.name} as {provider.layout}",
        found=f"no {' or '.join(provider.marks)} there or in its folders",
        remedy=f"get it from {provider.page} (licence: {provider.licence})",
    )


def _has_layout(folder: Path, dataset: Dataset) -> bool:
    """Whether one of the provider's marks, a file or folder, is there; phantoms say themselves whose they are."""
    try:
        phantom = _read_phantom(folder)
    except SourceError:
        phantom = None  # its marks tell whose it may be; opening it says what is wrong
    if phantom is not None and phantom["flag"] != dataset.flag:
        return False
    try:
        there = {entry.name.lower() for entry in os.scandir(folder)}
    except OSError:
        return False
    for mark in dataset.source.marks:
        first, *rest = mark.split("/")
        if first.lower() in there and (not rest or (folder / mark).exists()):
            return True
    return False


def _folders(folder: Path) -> list[Path]:
    """Folders below; hidden ones, such as phantoms being written, are passed by."""
    try:
        return sorted(Path(e.path) for e in os.scandir(folder) if _is_dir(e) and not e.name.startswith("."))
    except OSError:
        return []


def _walk(root: Path) -> Iterator[str]:
    """Names of all files below a folder; links are followed, each folder is entered once, so that loops end."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        folder = root / prefix
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise SourceError(folder, expected="a readable folder", found=error.strerror or str(error)) from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = {entry.name for entry in entries if _is_dir(entry)}
        waiting += (f"{prefix}{name}/" for name in sorted(folders, reverse=True))
        yield from (prefix + entry.name for entry in entries if entry.name not in folders)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _read_phantom(folder: Path) -> dict[str, Any] | None:
    """The mark of a synthetic source in its folder, or beside the provider's folder when that one is given itself."""
    for place in (folder, folder.parent):
        path = place / PHANTOM_FILE
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(found["flag"], str) and isinstance(found["images"], int):
                    return dict(found)
            except (OSError, ValueError, KeyError, TypeError):
                pass
            raise SourceError(path, expected="the facts of a phantom", found="a damaged file", remedy="write it again")
    return None
