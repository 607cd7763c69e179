"""What stands between the columns of a table: spreadsheets write a semicolon where the comma is in numbers."""

from __future__ import annotations

import csv
import re

_DELIMITERS = ",;\t"
_NAMED = re.compile(r'("?)sep=([^"\n])\1[ ,;\t]*(\n|$)', re.IGNORECASE)


def named_delimiter(text: str) -> tuple[str, str, int]:
    """The delimiter that a first line such as ``sep=;`` names to Excel, the text below it, and the lines passed over.

    Where there is no such line, no delimiter and the text as it is.
    """
    line = _NAMED.match(text)
    return (line[2], text[line.end() :], 1) if line else ("", text, 0)


def delimiter_of(text: str, columns: tuple[str, ...]) -> str:
    """The delimiter that gives most of the wanted columns in a text's first line, a comma where none gives any."""
    first = text.partition("\n")[0]
    names = {mark: map(str.strip, next(csv.reader([first], delimiter=mark), ())) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: len(set(columns).intersection(names[mark])))
