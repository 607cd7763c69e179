"""The text of result files: MedMNIST's current layout and that of 2020."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ScoreError, reason_of

_LONGEST = 60  # characters of a bad line shown in an error
_AS_CSV = "save it as UTF-8 CSV with commas and decimal points"


def read_table(path: Path) -> tuple[NDArray[np.float64], int]:
    """Rows in the order of their index, without it, and the number of true label columns."""
    seen: dict[int, int] = {}
    rows: list[list[float]] = []
    width = truths = 0
    try:
        reader = csv.reader(io.StringIO(read_text(path), newline=""))
        for cells in reader:
            if not cells or (len(cells) == 1 and not cells[0].strip()):
                continue
            if cells[0] == "id" and not width:
                width, truths = len(cells), _check_header(path, cells)
                continue
            where = f"{path} line {reader.line_num}"
            check_delimiter(where, cells)
            width = width or len(cells)
            index, values = _read_row(where, cells, width)
            if index in seen:
                raise ScoreError(where, f"row {index} is repeated, first on line {seen[index]}")
            seen[index] = reader.line_num
            rows.append(values)
    except csv.Error as error:
        raise ScoreError(path, f"is not a result file: {error}") from None
    if not rows:
        raise ScoreError(path, "contains no scores")
    for index in range(len(rows)):
        if index not in seen:
            found = f"row {_number(max(seen))} on line {seen[max(seen)]}"
            raise ScoreError(path, f"row {index} is missing", found=found, expected=f"rows 0 to {len(rows) - 1}")
    return np.array(rows)[np.argsort(list(seen))], truths


def read_text(path: Path) -> str:
    """Read the text of a result file in UTF-8."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ScoreError(path, f"cannot be read: {reason_of(error)}") from None
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:4]:
            raise ScoreError(path, "is encoded as UTF-16 or UTF-32, not UTF-8", remedy=_AS_CSV)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise ScoreError(path, "is not encoded as UTF-8", found=found, remedy=_AS_CSV) from None


def check_delimiter(where: str, cells: list[str]) -> None:
    """Raise if columns are separated by semicolons or tabs, as spreadsheets do where commas are decimal points."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(sign in cell for cell in cells):
            raise ScoreError(where, f"columns are separated by {name}, not commas", remedy=_AS_CSV)


def _number(row: int) -> str:
    return str(row) if row < 10**15 else f"{row:g}"


def shorten(cells: list[str]) -> str:
    """A line, shortened for an error."""
    line = ",".join(cells)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _check_header(path: Path, cells: list[str]) -> int:
    truths = sum(cell.startswith("true_") for cell in cells)
    scores = len(cells) - 1 - truths
    check_delimiter(f"{path} line 1", cells)
    if cells != ["id", *(f"true_{i}" for i in range(truths)), *(f"score_{i}" for i in range(scores))] or scores < 1:
        raise ScoreError(f"{path} line 1", found=f"header {shorten(cells)}", expected="id,true_0,...,score_0,...")
    return truths


def _read_row(where: str, cells: list[str], width: int) -> tuple[int, list[float]]:
    if len(cells) != width or width < 2:
        raise ScoreError(where, found=f"{len(cells)} columns", expected=str(max(width, 2)))
    try:
        if any("_" in cell for cell in cells):  # which Python allows in numbers
            raise ValueError
        index, *values = map(float, cells)
    except ValueError:
        raise ScoreError(where, found=shorten(cells), expected="numbers") from None
    if not index.is_integer() or index < 0:
        raise ScoreError(where, "does not start with a row number", found=shorten(cells[:1]))
    if not np.isfinite(values).all():
        raise ScoreError(where, found=shorten(cells), expected="finite numbers")
    return int(index), values
