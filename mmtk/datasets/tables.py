"""Providers' metadata: which file holds it, and its rows, each with the place it stands at."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mmtk.datasets.base import Dataset
from mmtk.datasets.collecting import is_junk
from mmtk.datasets.delimiters import delimiter_of, named_delimiter
from mmtk.errors import SourceError

if TYPE_CHECKING:
    from mmtk.datasets.listing import Listing


def find_file(listing: Listing, dataset: Dataset, pattern: str, shown: str) -> str:
    """The outermost file whose name, in lower case, matches a pattern.

    Raises
    ------
    SourceError
        If there is none; it says where to get it.
    """
    fits = re.compile(pattern)
    named = [n for n in listing.names if fits.fullmatch(PurePosixPath(n).name.lower()) and not is_junk(n)]
    if not named:
        remedy = f"get it from {dataset.source.page} (licence: {dataset.source.licence})"
        raise SourceError(listing.root, expected=shown, found="none", remedy=remedy)
    return min(named, key=lambda n: (n.count("/"), n))


def read_table(listing: Listing, name: str, columns: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The rows of a table; between its columns stands a comma, a semicolon (as spreadsheets write it where the comma is
    in numbers) or a tab, whichever gives the columns that are wanted, or what a first line such as
    ``sep=;`` names.

    Yields
    ------
    where : str
        File and line, for errors.
    values : tuple of str
        Of `columns`, in their order.

    Raises
    ------
    SourceError
        If a column is absent or the text is no table.
    """
    path = listing.path(name)
    mark, text, above = named_delimiter(listing.read_text(name))
    try:
        columns = tuple(column.strip() for column in columns)
        mark = mark or delimiter_of(text, columns)
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=mark)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        lacking = [column for column in columns if column not in (reader.fieldnames or ())]
        if lacking:
            found = ", ".join(reader.fieldnames or ()) or "none"
            raise SourceError(
                path, expected=f"a column {' and '.join(lacking)}", found=found,
                remedy="save it as CSV, with commas between the columns and their names in the first line",
            )
        if twice := [column for column in columns if reader.fieldnames.count(column) > 1]:
            raise SourceError(path, expected=f"one column {twice[0]}", found="several", remedy="rename the others")
        file = str(path)
        for row in reader:
            if any(cell.strip() for cell in row.get(None, ())):
                where, remedy = f"{file} line {above + reader.line_num}", "put cells with a comma in them into quotes"
                found = f"{len(row) - 1 + len(row[None])}"
                raise SourceError(where, expected=f"{len(reader.fieldnames)} cells", found=found, remedy=remedy)
            yield f"{file} line {above + reader.line_num}", tuple(row[column] or "" for column in columns)
    except csv.Error as error:
        raise SourceError(path, expected="a CSV file", found=str(error)) from None
