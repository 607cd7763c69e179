"""Providers' metadata tables: find the file, and read its rows with their line numbers."""

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
    """Find the outermost file whose name in lower case matches a pattern.

    Raises
    ------
    SourceError
        If there is none; the message says where to get it.
    """
    fits = re.compile(pattern)
    named = [n for n in listing.names if fits.fullmatch(PurePosixPath(n).name.lower()) and not is_junk(n)]
    if not named:
        remedy = f"get it from {dataset.source.page} (licence: {dataset.source.licence})"
        raise SourceError(listing.root, f"does not contain {shown}", remedy=remedy)
    return min(named, key=lambda n: (n.count("/"), n))


def read_table(listing: Listing, name: str, columns: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Read the rows of a table whose columns are separated by commas, semicolons or tabs.

    The delimiter is the one that yields the wanted columns, or that a first line such as ``sep=;`` gives.

    Yields
    ------
    where : str
        File and line, for errors.
    values : tuple of str
        Values of `columns`, in the same order.

    Raises
    ------
    SourceError
        If a column is missing or the text is not a table.
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
            present = ", ".join(reader.fieldnames or ()) or "none"
            raise SourceError(
                path, f"has no column {' or '.join(lacking)}; its columns are {present}",
                remedy="save it as CSV, with commas between the columns and their names in the first line",
            )
        if twice := [column for column in columns if reader.fieldnames.count(column) > 1]:
            raise SourceError(path, f"has several columns {twice[0]}", remedy="rename the others")
        file = str(path)
        for row in reader:
            if any(cell.strip() for cell in row.get(None, ())):
                where, remedy = f"{file} line {above + reader.line_num}", "put cells that contain a comma in quotes"
                cells = f"{len(row) - 1 + len(row[None])} cells"
                raise SourceError(where, found=cells, expected=str(len(reader.fieldnames)), remedy=remedy)
            yield f"{file} line {above + reader.line_num}", tuple(row[column] or "" for column in columns)
    except csv.Error as error:
        raise SourceError(path, f"is not valid CSV: {error}") from None
