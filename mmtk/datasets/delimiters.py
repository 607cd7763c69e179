"""Detect the delimiter of a table: spreadsheets use semicolons where the comma is the decimal separator."""

from __future__ import annotations

import csv
import re

_DELIMITERS = ",;\t"
_NAMED = re.compile(r'("?)sep=([^"\n])\1[ ,;\t]*(\n|$)', re.IGNORECASE)


def named_delimiter(text: str) -> tuple[str, str, int]:
    """The delimiter given by a first line such as ``sep=;`` for Excel, the text after it, and the lines skipped.

    Without such a line, an empty delimiter and the unchanged text.
    """
    line = _NAMED.match(text)
    return (line[2], text[line.end() :], 1) if line else ("", text, 0)


def delimiter_of(text: str, columns: tuple[str, ...]) -> str:
    """The delimiter that yields most of the wanted columns in a text's first line; a comma if none does."""
    first = text.partition("\n")[0]
    names = {mark: map(str.strip, next(csv.reader([first], delimiter=mark), ())) for mark in _DELIMITERS}
    return max(_DELIMITERS, key=lambda mark: len(set(columns).intersection(names[mark])))
