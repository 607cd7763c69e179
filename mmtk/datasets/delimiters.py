"""What stands between the columns of a table: spreadsheets write a semicolon where the comma is in numbers."""

from __future__ import annotations

import csv

_DELIMITERS = ",;\t"


def delimiter_of(text: str, columns: tuple[str, ...]) -> str:
    """The delimiter that gives most of the wanted columns in a text's first line, a comma where none gives any."""
    first = text.partition("\n")[0]
    names = {mark: map(str.strip, next(csv.reader([first], delimiter=mark), ())) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: len(set(columns).intersection(names[mark])))
