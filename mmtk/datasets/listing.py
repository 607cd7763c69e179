"""List the files of a source: a folder, a zip, or a text file of names."""

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

_LARGEST_TEXT = 1 << 26  # bytes of a list or table: eight times the largest known one
_LARGEST_MARK = 1 << 16  # bytes of PHANTOM.json
PHANTOM_FILE = "PHANTOM.json"  # written last into a synthetic source: its dataset and its number of images


@dataclass(frozen=True)
class Listing:
    """The file names of a source.

    Attributes
    ----------
    root : Path
        The folder or zip that the names are relative to.
    names : tuple of str
        Sorted, with forward slashes; files inside a zip in the folder are named ``archive.zip/name``.
    archives : dict of str to ZipArchive
        The zips by their names; ``""`` if the root is a zip.
    packed : tuple of str
        The provider's tars that were not unpacked.
    readable : bool
        Whether the files themselves are available; False for a text file of names.
    phantom : dict or None
        Content of ``PHANTOM.json`` if the source is synthetic.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.listing import find_source
    >>> listing = find_source("sources", mmtk.get_dataset("breastmnist"))
    >>> listing.phantom["flag"]
    'breastmnist'
    """

    root: Path
    names: tuple[str, ...]
    readable: bool = True
    phantom: dict[str, Any] | None = None
    archives: dict[str, ZipArchive] = field(default_factory=dict)
    packed: tuple[str, ...] = ()

    def path(self, name: str) -> Path | ZipMember:
        """The file of this name, on disk or in a zip; both have ``open``."""
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
        """Uncompressed size of a file in bytes; 0 if only names are listed."""
        path = self.path(name)
        if isinstance(path, ZipMember):
            return path.archive.file.getinfo(path.name).file_size
        return path.stat().st_size if self.readable else 0

    def read_text(self, name: str) -> str:
        """Read a text file in UTF-8, or in UTF-16 with a byte order mark; line ends become newlines.

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
            raise SourceError(path, f"cannot be read: {reason_of(error)}", remedy=remedy) from None
        if (placeholder := identify_placeholder(data[:MOST_BYTES])) is not None:
            raise SourceError(path, f"is {placeholder.name}, not a text file", remedy=placeholder.remedy)
        if data.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
            raise SourceError(path, "is a spreadsheet or a zip, not a text file", remedy="save it as CSV")
        if len(data) > _LARGEST_TEXT:
            raise SourceError(path, f"is too large for a text file: more than {_LARGEST_TEXT} bytes")
        encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            raise SourceError(path, "is not UTF-8 text", remedy="save it as UTF-8") from None

    def read_lines(self, name: str) -> list[str]:
        """The lines of `read_text`, cut only at line ends of text files, unlike ``splitlines``."""
        lines = self.read_text(name).split("\n")
        return lines if lines[-1] else lines[:-1]


def open_listing(path: str | os.PathLike[str], tars: Iterable[str] = (), unpack: bool = True) -> Listing:
    """List the files of a source.

    Parameters
    ----------
    path : path-like
        A folder, a zip, or a text file with one name per line, relative to its own folder.
    tars : iterable of str
        Patterns of the tars that belong to the source.
    unpack : bool
        Unpack those tars; otherwise they are listed in ``packed``.

    Returns
    -------
    Listing

    Raises
    ------
    SourceError
        If it is none of these, or cannot be read.

    Examples
    --------
    >>> from mmtk.datasets.listing import open_listing
    >>> listing = open_listing("stores")
    >>> listing.names[0]
    'breastmnist_28.h5'
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
        problem = "is neither a folder nor a file" if path.exists() else "does not exist"
        raise SourceError(path, problem, remedy="give a folder, a zip or a text file of names")
    if path.suffix.lower() == ".zip":
        archive = ZipArchive(path)
        return Listing(path, archive.names, archives={"": archive})
    lines = (line.strip().replace("\\", "/") for line in Listing(path.parent, ()).read_lines(path.name))
    listed = {line.removeprefix("./") for line in lines if line and not line.startswith("#")}
    names, archives = _expand(path.parent, listed)
    return Listing(path.parent, names, readable=False, archives=archives)


def _expand(root: Path, names: Iterable[str]) -> tuple[tuple[str, ...], dict[str, ZipArchive]]:
    """Names in order, with each existing zip replaced by the names in it."""
    plain = set(names)
    zips = {name for name in plain if name.lower().endswith(".zip") and (root / name).is_file()}
    archives = {name: ZipArchive(root / name) for name in sorted(zips)}
    inside = {f"{name}/{member}" for name, archive in archives.items() for member in archive.names}
    return tuple(sorted(plain - zips | inside)), archives


def _tars(folder: Path, patterns: Iterable[str]) -> Iterator[str]:
    """The tars in a folder that belong to a source and are not unpacked yet."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise _unreadable(folder, error) from None
    for name in names:
        fits = any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)
        if fits and name.lower().endswith(TAR_ENDINGS) and not unpacked_folder(folder / name).is_dir():
            yield name


def find_source(sources: str | os.PathLike[str], dataset: Dataset, unpack: bool = True) -> Listing:
    """Find the raw files of a dataset.

    Parameters
    ----------
    sources : path-like
        The provider's folder or zip, or a folder that contains it at most two levels down. For a dataset whose source
        has no marks, exactly the folder or zip to use.
    dataset : Dataset
    unpack : bool
        Unpack the provider's tars, which cannot be read in place.

    Returns
    -------
    Listing
        Of the folder or zip with the provider's layout.

    Raises
    ------
    SourceError
        If there is no such folder, or several; the message says what was searched for, where to get it and its licence.
        Also if the dataset is not built from raw images.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.datasets.listing import find_source
    >>> listing = find_source("sources", mmtk.get_dataset("breastmnist"))
    >>> listing.root.is_dir()
    True
    """
    expect_raw_pipeline(dataset)
    sources = Path(sources).absolute()
    if not dataset.source.marks and not dataset.source.archives:
        return open_listing(sources)
    if not sources.is_dir() and not sources.name.lower().endswith(".zip"):
        raise SourceError(sources, "is not a folder with raw data", remedy="see --sources")
    level, skipped = [sources], _Skipped()
    for _ in range(3):
        matches = [place for place in level if _has_layout(place, dataset, skipped)]
        matches = [place for place in matches if place.is_dir()] or matches
        if len(matches) > 1:
            names = " and ".join(str(place) for place in matches)
            problem = f"contains several sources of {dataset.flag}: {names}"
            raise SourceError(sources, problem, remedy="give one of them")
        if matches:
            return open_listing(matches[0], dataset.source.archives, unpack)
        level = [child for place in level for child in _places(place, skipped)]
    provider = dataset.source
    raise SourceError(
        sources, f"does not contain {provider.name} ({provider.layout}): "
        f"no {' or '.join(provider.marks)} in it or its folders{skipped}",
        remedy=f"get it from {provider.page} (licence: {provider.licence})",
    )


class _Skipped(dict[Path, str]):
    """Places that could not be searched, and why; as text, the addition to "not found"."""

    def __str__(self) -> str:
        return "".join(f", but {place} could not be searched ({reason})" for place, reason in self.items())


def _has_layout(place: Path, dataset: Dataset, skipped: _Skipped) -> bool:
    """Whether a place has one of the provider's marks or archives, or is a phantom of the dataset's family."""
    marks = dataset.source.marks
    if not place.is_dir():
        return _zip_has(place, marks, skipped)
    try:
        phantom = _read_phantom(place)
    except SourceError:
        phantom = None  # decide by its marks; opening it will report what is wrong
    if phantom is not None and phantom["flag"] != dataset.family:
        return False
    try:
        present = {entry.name.lower() for entry in os.scandir(place)}
    except OSError as error:
        skipped[place] = reason_of(error)
        return False
    for mark in marks:
        first, *rest = mark.split("/")
        if first.lower() in present and (not rest or os.path.exists(place / mark)):
            return True
    return any(fnmatch(name, pattern.lower()) for name in present for pattern in dataset.source.archives)


def _zip_has(path: Path, marks: tuple[str, ...], skipped: _Skipped) -> bool:
    """Whether a zip contains a mark, at its top level or in a top-level folder."""
    try:
        with open_zip(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        if not os.path.isdir(path):
            skipped[path] = reason_of(error)
        return False
    wanted = tuple(f"{mark.lower()}/" for mark in marks)
    for name in names:
        lower = name.lower() + "/"
        if lower.startswith(wanted) or lower.partition("/")[2].startswith(wanted):
            return True
    return False


def _places(place: Path, skipped: _Skipped) -> list[Path]:
    """Folders and zips directly below; hidden ones, such as phantoms being written, are skipped."""
    if not place.is_dir():
        return []
    try:
        entries = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
    except OSError as error:
        skipped[place] = reason_of(error)
        return []
    return sorted(Path(e.path) for e in entries if _is_dir(e) or e.name.lower().endswith(".zip"))


def _walk(root: Path) -> Iterator[str]:
    """Names of all files below a folder; links are followed, but each folder is entered once, which ends loops."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        folder = root / prefix
        try:
            status = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            raise _unreadable(folder, error) from None
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        folders = {entry.name for entry in entries if _is_dir(entry)}
        waiting += (f"{prefix}{name}/" for name in sorted(folders, reverse=True))
        yield from (prefix + entry.name for entry in entries if entry.name not in folders)


def _unreadable(folder: Path, error: OSError) -> SourceError:
    """The error for an unreadable folder in a source, which is not skipped, since it may hold part of the dataset."""
    remedy = "make it readable, or move it out of the source"
    return SourceError(folder, f"cannot be read: {reason_of(error)}", remedy=remedy)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _read_phantom(folder: Path) -> dict[str, Any] | None:
    """The content of PHANTOM.json in a folder, or next to it in case the provider's own folder is given."""
    for place in (folder, folder.parent):
        path = place / PHANTOM_FILE
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST_MARK)
            facts = json.loads(text.decode())
            if isinstance(facts["flag"], str) and isinstance(facts["images"], int):
                return dict(facts)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        except OSError as error:
            raise SourceError(
                path, f"cannot be read: {reason_of(error)}", remedy=system_remedy(error.errno)
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise SourceError(path, "is a damaged phantom description", remedy="write the phantom again")
    return None
