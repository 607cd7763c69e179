"""The images of a source by a table, or by their paths."""

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
from mmtk.datasets.own._labels import Words, flag_of, split_of, subject_in
from mmtk.datasets.own._schema import Images, Table
from mmtk.datasets.own._templates import Match, matches
from mmtk.datasets.tables import read_table
from mmtk.errors import SourceError

BY_DICOM = "dicom"  # in the place of a subject: the patient's id in each file
ANYWHERE = "**/"  # in the place of a prefix: files in whatever folder
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".parquet", ".feather")  # tables in another form than text
_SHOWN = 3  # names in a message


@dataclass(frozen=True)
class TableScan:
    """The images that a table names."""

    table: Table
    words: Words
    folders: bool = False  # whether it may name folders, of DICOM series

    def __call__(self, listing: Listing) -> Scan:
        """Records in natural order of their paths; files that the table names and that are not there are missing.

        Raises
        ------
        SourceError
            If a file stands there twice, outside the source, or with a label, a subject or a split that is none.
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
                continue  # spreadsheets end in such rows
            row = dict(zip(columns, cells, strict=True))
            name = self._path(f"{where}, column {table.column}", row[table.column].strip(), places)
            labels = self._labels(where, row)
            before, line = seen.setdefault(name, (labels, where))
            if line != where:
                found = f"it again{'' if before == labels else ' with another label'}, first on {line}"
                raise SourceError(where, expected=f"{name} once", found=found, remedy="leave one of the rows out")
            part = split_of(f"{where}, column {table.split}", row[table.split]) if table.split else ""
            if name not in there:
                missing.append(Finding("missing", name))
                continue
            records[name] = Record(name, name, labels, self._subject(where, row, listing, name), part)
        if missing and not records:
            raise self._nothing(listing, missing[0].name, there)
        return _scan(listing, records, missing)

    def _nothing(self, listing: Listing, first: str, there: Collection[str]) -> SourceError:
        """What is wrong where none of the files that a table names is there."""
        found = f"none of them, such as {first}"
        remedy = "mend table.prefix, suffix or strip, or give another --sources"
        if other := next((name for name in sorted(there) if name.lower() == first.lower()), ""):
            found = f"{other} in the place of {first}"
            remedy = "small and capital letters differ: rename one of them"
        where = f"{listing.path(self.table.file)}, column {self.table.column}"
        return SourceError(where, expected="paths of files that are there", found=found, remedy=remedy)

    def _file(self, listing: Listing) -> str:
        name = inside("table.file", self.table.file)
        sheet = name.lower().endswith(SHEETS)
        if name in listing.names and not sheet:
            return name
        others = [n for n in listing.names if n.lower().endswith((".csv", ".tsv", ".txt", *SHEETS))]
        found = "a spreadsheet" if sheet and name in listing.names else ", ".join(others[:_SHOWN]) or "no table"
        remedy = "save it as CSV" if found.lower().endswith(("a spreadsheet", *SHEETS)) else "mend table.file"
        raise SourceError(listing.root, expected=f"the table {name} as CSV", found=found, remedy=remedy)

    def _path(self, where: str, word: str, places: Mapping[str, list[str]]) -> str:
        if not word:
            remedy = "fill it in, or leave the row out"
            raise SourceError(where, expected="an image's path", found="none", remedy=remedy)
        word, strip = word.replace("\\", "/"), self.table.strip.replace("\\", "/")
        if not word.startswith(strip):
            raise SourceError(where, expected=f"a path that starts with {strip}, table.strip", found=repr(word))
        word = word[len(strip) :]
        if is_absolute(word):
            remedy = "give what all paths start with up to the source as table.strip, and it is left out"
            raise SourceError(where, expected="a path inside the source", found=repr(word), remedy=remedy)
        if self.table.prefix != ANYWHERE:
            return inside(where, f"{self.table.prefix}{word}{self.table.suffix}")
        end = inside(where, f"{word}{self.table.suffix}")
        fits = [name for name in places.get(PurePosixPath(end).name, ()) if f"/{name}".endswith(f"/{end}")]
        if len(fits) > 1:
            remedy = "write the folders into the column"
            raise SourceError(where, expected=f"one file {end}", found=" and ".join(fits[:3]), remedy=remedy)
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
            raise SourceError(where, expected="a subject", found="none", remedy=remedy)
        return subject


@dataclass(frozen=True)
class PathScan:
    """The images whose paths fit a pattern."""

    images: Images
    words: Words

    def __call__(self, listing: Listing) -> Scan:
        """Records in natural order of their paths.

        Raises
        ------
        SourceError
            If no file fits, or a folder names no class or split.
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
            expected = f"files that fit {' or '.join(as_tuple(self.images.files))}"
            raise SourceError(listing.root, expected=expected, found="none", remedy="mend images.files")
        return _scan(listing, records, [], excluded)

    def _excluded(self, listing: Listing) -> set[str]:
        """The names that are to be passed by."""
        templates = as_tuple(self.images.exclude)
        anywhere = (text if "/" in text else f"{ANYWHERE}{text}" for text in templates)
        return {match.name for template in anywhere for match in matches(template, listing.names)}


def _by_last(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by the last part of their paths."""
    places: dict[str, list[str]] = {}
    for name in sorted(names):
        if not is_junk(name):
            places.setdefault(PurePosixPath(name).name, []).append(name)
    return places


def as_tuple(files: str | tuple[str, ...]) -> tuple[str, ...]:
    """One pattern, or several."""
    return (files,) if isinstance(files, str) else files


def is_absolute(path: str) -> bool:
    """Whether a path, with forward slashes, starts at the root of a disk, or is an address."""
    return path.startswith("/") or re.match("[A-Za-z]+:", path) is not None


def inside(where: str, name: str) -> str:
    """A path as names in a listing are written.

    Raises
    ------
    SourceError
        If it is blank, or leads out of the source.
    """
    path = name.replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts or path.startswith("/") or ".." in parts or ":" in parts[0]:
        raise SourceError(where, expected="a path inside the source", found=repr(name))
    return "/".join(parts)


def patient_of(listing: Listing, name: str) -> str:
    """The patient's id in a DICOM file, or in the first one of a folder.

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
        raise SourceError(path, expected="a patient's id in it", found="none", remedy="give subjects in another way")
    return subject


def subject_and_part(listing: Listing, match: Match, subject: str) -> tuple[str, str]:
    """Whom a file, or a folder of a series, is of, and in which split, by its path; each is empty if that is not told.

    Parameters
    ----------
    listing : Listing
    match : Match
    subject : str
        The key of the dataset file: a pattern of paths, or `BY_DICOM`.

    Raises
    ------
    SourceError
        If the path does not tell what it should.
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
    """Image files beside the records that are none."""
    folders = {folder_of(name) for name in records}
    return (
        name for name in listing.names
        if name not in records and folder_of(name) in folders and name.lower().endswith(IMAGES) and not is_junk(name)
    )
