"""Find the images of a source by a table, or by their paths."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import PurePosixPath

from mmtk.datasets.base import Finding, Record, Scan
from mmtk.datasets.collecting import IMAGES, folder_of, is_junk, natural_key
from mmtk.datasets.listing import Listing
from mmtk.datasets.own._labels import ClassWords, flag_of, split_of, subject_in
from mmtk.datasets.own._schema import Images, Table
from mmtk.datasets.own._templates import Match, matches
from mmtk.datasets.tables import read_table
from mmtk.errors import SourceError

BY_DICOM = "dicom"  # value of subject: the patient ID in each file
ANYWHERE = "**/"  # value of prefix: files in any folder
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".parquet", ".feather")  # tables that are not text
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class TableScan:
    """Scans for the images listed in a table."""

    table: Table
    words: ClassWords
    folders: bool = False  # whether it may list folders of DICOM series

    def __call__(self, listing: Listing) -> Scan:
        """Return records in natural order of their paths; files listed in the table but not present are missing.

        Raises
        ------
        SourceError
            If a file is listed twice or outside the source, or has an invalid label, subject or split.
        """
        table, records, missing = self.table, dict[str, Record](), list[Finding]()
        there = set(listing.names)
        if self.folders:
            there |= {folder_of(name) for name in listing.names}
        places = _by_last(there) if table.prefix == ANYWHERE else {}
        wanted = filter(None, (table.column, table.label, *table.labels, _column(table.subject), table.split))
        columns = tuple(dict.fromkeys(wanted))
        seen: dict[str, tuple[tuple[int, ...], str]] = {}
        for where, cells in read_table(listing, self._file(listing), columns):
            if not any(map(str.strip, cells)):
                continue  # spreadsheets often end in blank rows
            row = dict(zip(columns, cells, strict=True))
            name = self._path(f"{where}, column {table.column}", row[table.column].strip(), places)
            labels = self._labels(where, row)
            before, line = seen.setdefault(name, (labels, where))
            if line != where:
                problem = f"lists {name} again{'' if before == labels else ' with another label'}, first on {line}"
                raise SourceError(where, problem, remedy="leave one of the rows out")
            part = split_of(f"{where}, column {table.split}", row[table.split]) if table.split else ""
            if name not in there:
                missing.append(Finding("missing", name))
                continue
            records[name] = Record(name, name, labels, self._subject(where, row, listing, name), part)
        if missing and not records:
            raise self._no_files(listing, missing[0].name, there)
        return _scan(listing, records, missing)

    def _no_files(self, listing: Listing, first: str, there: Collection[str]) -> SourceError:
        """The error if none of the files listed in a table exists."""
        problem = f"lists only files that do not exist, first {first}"
        remedy = "correct table.prefix, suffix or strip, or give another --sources"
        if other := next((name for name in sorted(there) if name.lower() == first.lower()), ""):
            problem = f"lists {first}, but the file is named {other}"
            remedy = "rename one of them: upper and lower case differ"
        where = f"{listing.path(self.table.file)}, column {self.table.column}"
        return SourceError(where, problem, remedy=remedy)

    def _file(self, listing: Listing) -> str:
        name = inside("table.file", self.table.file)
        sheet = name.lower().endswith(SHEETS)
        if name in listing.names and not sheet:
            return name
        others = [n for n in listing.names if n.lower().endswith((".csv", ".tsv", ".txt", *SHEETS))]
        if sheet and name in listing.names:
            raise SourceError(listing.root, f"contains {name} as a spreadsheet", remedy="save it as CSV")
        shown = ", ".join(others[:_SHOWN])
        problem = f"does not contain the table {name}" + (f", only {shown}" if shown else "")
        remedy = "save it as CSV" if shown.lower().endswith(SHEETS) else "correct table.file"
        raise SourceError(listing.root, problem, remedy=remedy)

    def _path(self, where: str, word: str, places: Mapping[str, list[str]]) -> str:
        if not word:
            remedy = "fill it in, or leave the row out"
            raise SourceError(where, "has no path", remedy=remedy)
        word, strip = word.replace("\\", "/"), self.table.strip.replace("\\", "/")
        if not word.startswith(strip):
            raise SourceError(where, f"{word!r} does not start with table.strip, {strip}")
        word = word[len(strip) :]
        if is_absolute(word):
            remedy = "set table.strip to the part of all paths that leads to the source; it is removed"
            raise SourceError(where, f"{word!r} is not a path inside the source", remedy=remedy)
        if self.table.prefix != ANYWHERE:
            return inside(where, f"{self.table.prefix}{word}{self.table.suffix}")
        end = inside(where, f"{word}{self.table.suffix}")
        fits = [name for name in places.get(PurePosixPath(end).name, ()) if f"/{name}".endswith(f"/{end}")]
        if len(fits) > 1:
            remedy = "include the folders in the column"
            raise SourceError(where, f"{end} matches several files: {' and '.join(fits[:3])}", remedy=remedy)
        return fits[0] if fits else end

    def _labels(self, where: str, row: dict[str, str]) -> tuple[int, ...]:
        if self.table.labels:
            return tuple(flag_of(f"{where}, column {name}", row[name]) for name in self.table.labels)
        where, cell = f"{where}, column {self.table.label}", row[self.table.label]
        if self.table.separator:
            return self.words.labels(where, cell, self.table.separator)
        return (self.words.label(where, cell),)

    def _subject(self, where: str, row: dict[str, str], listing: Listing, name: str) -> str:
        if self.table.subject == BY_DICOM:
            return patient_of(listing, name)
        if not self.table.subject:
            return ""
        subject = row[self.table.subject].strip()
        if not subject:
            where, remedy = f"{where}, column {self.table.subject}", "fill it in, or leave the row out"
            raise SourceError(where, "has no subject", remedy=remedy)
        return subject


@dataclass(frozen=True)
class PathScan:
    """Scans for the images whose paths match a pattern."""

    images: Images
    words: ClassWords

    def __call__(self, listing: Listing) -> Scan:
        """Return records in natural order of their paths.

        Raises
        ------
        SourceError
            If no file matches, or a folder is not a class or split.
        """
        records: dict[str, Record] = {}
        excluded = self._excluded(listing)
        for template in as_tuple(self.images.files):
            for match in matches(template, listing.names):
                name = match.name
                if name in excluded:
                    continue
                word = match.values.get("class", PurePosixPath(name).parent.name)
                subject, part = subject_and_part(listing, match, self.images.subject)
                label = self.words.label(f"{listing.root}/{name}", word)
                records[name] = Record(name, name, (label,), subject, part)
        if not records:
            problem = f"contains no files that match {' or '.join(as_tuple(self.images.files))}"
            raise SourceError(listing.root, problem, remedy="correct images.files")
        return _scan(listing, records, [], excluded)

    def _excluded(self, listing: Listing) -> set[str]:
        """The names to skip."""
        templates = as_tuple(self.images.exclude)
        anywhere = (text if "/" in text else f"{ANYWHERE}{text}" for text in templates)
        return {match.name for template in anywhere for match in matches(template, listing.names)}


def _by_last(names: Iterable[str]) -> dict[str, list[str]]:
    """Group names by the last part of their paths."""
    places: dict[str, list[str]] = {}
    for name in sorted(names):
        if not is_junk(name):
            places.setdefault(PurePosixPath(name).name, []).append(name)
    return places


def as_tuple(files: str | tuple[str, ...]) -> tuple[str, ...]:
    """A single pattern or several, as a tuple."""
    return (files,) if isinstance(files, str) else files


def is_absolute(path: str) -> bool:
    """Whether a path, with forward slashes, starts at the root of a disk, or is a URL."""
    return path.startswith("/") or re.match("[A-Za-z]+:", path) is not None


def inside(where: str, name: str) -> str:
    """Normalise a path like the names in a listing.

    Raises
    ------
    SourceError
        If it is blank, or leads outside the source.
    """
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or ":" in parts[0]:
        raise SourceError(where, f"{name!r} is not a path inside the source")
    return "/".join(parts)


def patient_of(listing: Listing, name: str) -> str:
    """The patient ID in a DICOM file, or in the first file of a folder.

    Raises
    ------
    SourceError
        If it is blank.
    """
    from mmtk.imaging import dicom_subject

    start = f"{name}/"
    within = takewhile(lambda n: n.startswith(start), islice(listing.names, bisect_left(listing.names, start), None))
    file = next((n for n in within if folder_of(n) == name and not is_junk(n)), name)
    path = listing.path(file)
    if not (subject := dicom_subject(path)):
        raise SourceError(path, "has no patient ID", remedy="give subjects in another way")
    return subject


def subject_and_part(listing: Listing, match: Match, subject: str) -> tuple[str, str]:
    """Subject and split of a file, or of the folder of a series, from its path; each is empty if unknown.

    Parameters
    ----------
    listing : Listing
    match : Match
    subject : str
        The key of the dataset file: a pattern of paths, or `BY_DICOM`.

    Raises
    ------
    SourceError
        If the path has no valid subject or split.
    """
    where, values = f"{listing.root}/{match.name}", match.values
    part = split_of(where, values["split"]) if "split" in values else ""
    if subject == BY_DICOM:
        return patient_of(listing, match.name), part
    return values.get("subject") or subject_in(where, match.name, subject), part


def _column(subject: str) -> str:
    return "" if subject == BY_DICOM else subject


def _scan(
    listing: Listing, records: dict[str, Record], missing: list[Finding], excluded: Collection[str] = ()
) -> Scan:
    ordered = sorted(records.values(), key=lambda record: natural_key(record.source))
    findings = [*missing, *(Finding("surplus", n) for n in _surplus(listing, records) if n not in excluded)]
    findings += [Finding("junk", name) for name in listing.names if is_junk(name)]
    return Scan(tuple(ordered), tuple(findings))


def _surplus(listing: Listing, records: dict[str, Record]) -> Iterator[str]:
    """Image files in the folders of the records that are not records."""
    folders = {folder_of(name) for name in records}
    return (
        name for name in listing.names
        if name not in records and folder_of(name) in folders and name.lower().endswith(IMAGES) and not is_junk(name)
    )
