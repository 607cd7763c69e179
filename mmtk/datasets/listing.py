"""What files a source has: a folder walked once, a zip, or a text file of names."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmtk.datasets.archives import TAR_ENDINGS, ZipArchive, ZipMember, open_zip, unpack_tar, unpacked_folder
from mmtk.datasets.checks import expect_raw_pipeline
from mmtk.errors import SourceError, reason_of, system_remedy
from mmtk.imaging.filetypes import MOST_BYTES, identify_placeholder

if TYPE_CHECKING:
    from mmtk.datasets.base import Dataset

_LARGEST_TEXT = 1 << 26  # bytes of a list or table: eight times the largest one
_LARGEST_MARK = 1 << 16  # bytes of a phantom's facts
PHANTOM_FILE = "PHANTOM.json"  # written last into a synthetic source: what it is, and how many images it has


@dataclass(frozen=True)
class Listing:
    """File names of a source.

    Attributes
    ----------
    root : Path
        The folder, or the zip, that the names are relative to.
    names : tuple of str
        Sorted, with forward slashes; files inside a zip of the folder are named ``archive.zip/name``.
    archives : dict
        The zips among them, by their own names; ``""`` where the root is one.
    packed : tuple of str
        Tars of the provider that were not unpacked, since only a look was asked for.
    readable : bool
        Whether the images are there too; False for a text file of names.
    phantom : dict or None
        What the source's ``PHANTOM.json`` says, if it is a synthetic one.
    """

    root: Path
    names: tuple[str, ...]
    readable: bool = True
    phantom: dict[str, Any] | None = None
    archives: dict[str, ZipArchive] = field(default_factory=dict)
    packed: tuple[str, ...] = ()

    def path(self, name: str) -> Path | ZipMember:
        """The file of a name, on disk or in a zip; both have ``open``."""
        if not self.archives:
            return self.root / name
        if "" in self.archives:
            return self.archives[""].member(name)
        at = name.find("/")
        while at > 0:
            if name[:at] in self.archives:
                return self.archives[name[:at]].member(name[at + 1 :])
            at = name.find("/", at + 1)
        return self.root / name

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked; 0 where only names are listed."""
        path = self.path(name)
        if isinstance(path, ZipMember):
            return path.archive.file.getinfo(path.name).file_size
        return path.stat().st_size if self.readable else 0

    def read_text(self, name: str) -> str:
        """The text of a file: UTF-8 or UTF-16 as its first bytes tell, any line ends, without a byte order mark.

        Raises
        ------
        SourceError
            If it cannot be read, or is in another encoding.
        """
        path = self.path(name)
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST_TEXT + 1)
        except (OSError, zipfile.BadZipFile) as error:
            remedy = system_remedy(getattr(error, "errno", None))
            raise SourceError(path, expected="a readable text file", found=reason_of(error), remedy=remedy) from None
        if (stands := identify_placeholder(data[:MOST_BYTES])) is not None:
            raise SourceError(path, expected="a text file", found=stands.name, remedy=stands.remedy)
        if data.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
            raise SourceError(path, expected="a text file", found="a spreadsheet or a zip", remedy="save it as CSV")
        if len(data) > _LARGEST_TEXT:
            raise SourceError(path, expected=f"a text file of at most {_LARGEST_TEXT} bytes", found="a larger one")
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            remedy = "save it as UTF-8"
            raise SourceError(path, expected="a text file", found="bytes that are no UTF-8", remedy=remedy) from None

    def read_lines(self, name: str) -> list[str]:
        """The lines of `read_text`, which ``splitlines`` would also cut at what is no line end in a file."""
        lines = self.read_text(name).split("\n")
        return lines if lines[-1] else lines[:-1]


def open_listing(path: str | os.PathLike[str], tars: Iterable[str] = (), unpack: bool = True) -> Listing:
    """List a source.

    Parameters
    ----------
    path : path-like
        A folder, a zip, or a text file with one name a line, relative to the folder it lies in.
    tars : iterable of str
        Patterns of the tars that belong to it.
    unpack : bool
        Whether to unpack those; else they are named in ``packed``.

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
        packed = [] if unpack else list(_tars(path, tars))
        if unpack:
            for tar in _tars(path, tars):
                unpack_tar(path / tar)
        names, archives = _expand(path, _walk(path))
        return Listing(path, names, phantom=_read_phantom(path), archives=archives, packed=tuple(packed))
    if not path.is_file():
        found = "nothing" if not path.exists() else "neither"
        raise SourceError(path, expected="a folder or a text file of names", found=found)
    if path.suffix.lower() == ".zip":
        archive = ZipArchive(path)
        return Listing(path, archive.names, archives={"": archive})
    lines = (line.strip().replace("\\", "/") for line in Listing(path.parent, ()).read_lines(path.name))
    listed = {line.removeprefix("./") for line in lines if line and not line.startswith("#")}
    names, archives = _expand(path.parent, listed)
    return Listing(path.parent, names, readable=False, archives=archives)


def _expand(root: Path, names: Iterable[str]) -> tuple[tuple[str, ...], dict[str, ZipArchive]]:
    """Names in order, each zip that is there replaced by the names in it."""
    plain = set(names)
    zips = {name for name in plain if name.lower().endswith(".zip") and (root / name).is_file()}
    archives = {name: ZipArchive(root / name) for name in sorted(zips)}
    inside = {f"{name}/{member}" for name, archive in archives.items() for member in archive.names}
    return tuple(sorted(plain - zips | inside)), archives


def _tars(folder: Path, patterns: Iterable[str]) -> Iterator[str]:
    """The tars of a folder that belong to a source and are not unpacked."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _closed(folder, error) from None
    for name in names:
        fits = any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)
        if fits and name.lower().endswith(TAR_ENDINGS) and not unpacked_folder(folder / name).is_dir():
            yield name


def find_source(sources: str | os.PathLike[str], dataset: Dataset, unpack: bool = True) -> Listing:
    """Find a dataset's raw files.

    Parameters
    ----------
    sources : path-like
        The provider's folder or zip, or a folder that holds it among others, at most two levels down; of a dataset
        whose source has no marks, this very folder or zip.
    dataset : Dataset
    unpack : bool
        Whether to unpack the provider's tars, which cannot be read in place.

    Returns
    -------
    Listing
        Of the folder or zip that has the provider's layout.

    Raises
    ------
    SourceError
        If no such folder is there, or several are; it says what was looked for, where to get it and its licence. Or if
        the dataset is not built from raw images.
    """
    expect_raw_pipeline(dataset)
    sources = Path(sources).absolute()
    if not dataset.source.marks and not dataset.source.archives:
        return open_listing(sources)
    if not sources.is_dir() and not sources.name.lower().endswith(".zip"):
        raise SourceError(sources, expected="a folder with raw data", found="no folder", remedy="see --sources")
    level, closed = [sources], _Closed()
    for _ in range(3):
        found = [place for place in level if _has_layout(place, dataset, closed)]
        found = [place for place in found if place.is_dir()] or found
        if len(found) > 1:
            names = " and ".join(str(place) for place in found)
            raise SourceError(sources, expected=f"one source of {dataset.flag}", found=names, remedy="name one of them")
        if found:
            return open_listing(found[0], dataset.source.archives, unpack)
        level = [child for place in level for child in _places(place, closed)]
    provider = dataset.source
    raise SourceError(
        sources, expected=f"{provider.name} as {provider.layout}",
        found=f"no {' or '.join(provider.marks)} there or in its folders{closed}",
        remedy=f"get it from {provider.page} (licence: {provider.licence})",
    )


class _Closed(dict[Path, str]):
    """Places that could not be looked into, and why; as text what is to be added to "not found"."""

    def __str__(self) -> str:
        return "".join(f", and no look into {place} ({reason})" for place, reason in self.items())


def _has_layout(place: Path, dataset: Dataset, closed: _Closed) -> bool:
    """Whether one of the provider's marks or archives is there; phantoms say themselves whose they are."""
    marks = dataset.source.marks
    if not place.is_dir():
        return _zip_has(place, marks, closed)
    try:
        phantom = _read_phantom(place)
    except SourceError:
        phantom = None  # its marks tell whose it may be; opening it says what is wrong
    if phantom is not None and phantom["flag"] != dataset.family:
        return False
    try:
        there = {entry.name.lower() for entry in os.scandir(place)}
    except OSError as error:
        closed[place] = reason_of(error)
        return False
    for mark in marks:
        first, *rest = mark.split("/")
        if first.lower() in there and (not rest or os.path.exists(place / mark)):
            return True
    return any(fnmatch(name, pattern.lower()) for name in there for pattern in dataset.source.archives)


def _zip_has(path: Path, marks: tuple[str, ...], closed: _Closed) -> bool:
    """Whether a mark is in a zip, at its top or in one folder that wraps all."""
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        if not os.path.isdir(path):
            closed[path] = reason_of(error)
        return False
    wanted = tuple(f"{mark.lower()}/" for mark in marks)
    for name in names:
        lower = name.lower() + "/"
        if lower.startswith(wanted) or lower.partition("/")[2].startswith(wanted):
            return True
    return False


def _places(place: Path, closed: _Closed) -> list[Path]:
    """Folders and zips below; hidden ones, such as phantoms being written, are passed by."""
    if not place.is_dir():
        return []
    try:
        entries = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
    except OSError as error:
        closed[place] = reason_of(error)
        return []
    return sorted(Path(e.path) for e in entries if _is_dir(e) or e.name.lower().endswith(".zip"))


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
            raise _closed(folder, error) from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = {entry.name for entry in entries if _is_dir(entry)}
        waiting += (f"{prefix}{name}/" for name in sorted(folders, reverse=True))
        yield from (prefix + entry.name for entry in entries if entry.name not in folders)


def _closed(folder: Path, error: OSError) -> SourceError:
    """Of a folder in the source: its files may be part of the dataset, so it is not passed over."""
    remedy = "make it readable, or move it out of the source"
    return SourceError(folder, expected="a readable folder", found=reason_of(error), remedy=remedy)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _read_phantom(folder: Path) -> dict[str, Any] | None:
    """The mark of a synthetic source in its folder, or beside the provider's folder when that one is given itself."""
    for place in (folder, folder.parent):
        path = place / PHANTOM_FILE
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST_MARK)
            found = json.loads(text.decode())
            if isinstance(found["flag"], str) and isinstance(found["images"], int):
                return dict(found)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            remedy = system_remedy(error.errno)
            raise SourceError(path, expected="the facts of a phantom", found=reason_of(error), remedy=remedy) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise SourceError(path, expected="the facts of a phantom", found="a damaged file", remedy="write it again")
    return None
