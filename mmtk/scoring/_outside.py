"""Predictions that were made elsewhere: an array, MedMNIST's layout, or a table with titles and row numbers."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets.base import Task
from mmtk.errors import ScoreError
from mmtk.scoring.predictions import (
    check_delimiter,
    read_predictions,
    read_text,
    score_predictions,
    shorten,
)
from mmtk.store import Store, read_npy_header

_INDEX = {"", "index", "id", "#", "row", "image", "unnamed: 0"}  # titles of a column of row numbers
_NUMBERED = re.compile(r"\D*?_?(\d+)")


def read_outside(path: str | Path, store: Store, split: str) -> NDArray[Any]:
    """The scores of a split in a file that was made elsewhere, rows and columns in the store's order.

    Parameters
    ----------
    path : path
        An array, where its name ends in ``.npy``: (n, classes or labels), or of a binary task also (n,) or (n, 1).
        Else text, in MedMNIST's layout, of today or of 2020, or a table: columns titled by the classes or their
        numbers, in any order, or by nothing; with a first column of row numbers, or in the split's order without.
    store : Store
    split : str

    Returns
    -------
    (n, classes or labels) float64, or float32 where an array is no finer
        Of a binary task with scores of the positive class alone, both classes'.

    Raises
    ------
    ScoreError
        If it is no array or table, rows, columns or titles are not those of the split, a value is no finite number, or
        one of a binary task or of labels is not from 0 to 1.
    OSError
        If the system cannot read it, though it is there.
    """
    path, info = Path(path), store.info
    classes, count = list(info.classes), len(getattr(store, split))
    if path.suffix == ".npy":
        scores = _array(path, classes, count, info.task == Task.BINARY)
    else:
        lines = _lines(path)
        if any(cell.startswith("true_") for cell in lines[0][1]):
            scores = _with_labels(path, store, split)
        else:
            scores = _table(path, lines, classes, count, info.task == Task.BINARY)
    if len(scores) != count:
        expected = f"{count} rows, one for each {split} image of {store.path}"
        raise ScoreError(path, expected=expected, found=str(len(scores)))
    bad = np.flatnonzero(((scores < 0) | (scores > 1)).any(axis=1))
    if info.task in (Task.BINARY, Task.MULTILABEL) and len(bad):  # which are held against one half
        found = f"{scores[bad[0]].tolist()} for image {bad[0]}"
        raise ScoreError(path, expected="scores from 0 to 1", found=found, remedy="give probabilities")
    if info.task == Task.BINARY and scores.shape[1] == 1:
        return np.hstack([1 - scores, scores])
    return scores


def _array(path: Path, classes: Sequence[str], count: int, binary: bool) -> NDArray[Any]:
    """The scores in an array's file, of which nothing is read that is not of the right shape."""
    expected = "an array as numpy.save writes it"
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_npy_header(file)
            shapes = [(count, len(classes)), *([(count,), (count, 1)] if binary else [])]
            if shape not in shapes or dtype.kind not in "fiu":
                wanted = f"numbers of shape {' or '.join(map(str, shapes))}"
                raise ScoreError(path, expected=wanted, found=f"{dtype} of shape {shape}")
            whole = math.prod(shape) * dtype.itemsize
            data = file.read(whole + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ScoreError(path, expected=expected, found=str(error.strerror)) from None
    except ValueError as error:
        raise ScoreError(path, expected=expected, found=str(error).partition("\n")[0]) from None
    if len(data) != whole:
        found = f"{len(data)}" if len(data) < whole else "more"
        raise ScoreError(path, expected=f"{whole} bytes for the shape {shape}", found=found)
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    short = dtype.kind == "f" and dtype.itemsize <= 4
    with np.errstate(over="ignore"):  # of a longer type
        scores = np.array(values, np.float32 if short else np.float64, order="C").reshape(count, -1)
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        found = f"{shorten(list(map(str, scores[bad[0]])))} for image {bad[0]}"
        raise ScoreError(path, expected="finite numbers", found=found)
    return scores


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that hold something, each with its number."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    lines: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if lines or len(cells) == 1:  # the name of a class may hold a semicolon
                    check_delimiter(f"{path} line {reader.line_num}", cells)
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ScoreError(path, expected="a table of scores", found=str(error)) from None
    if not lines:
        raise ScoreError(path, expected="rows of scores", found="none")
    return lines


def _with_labels(path: Path, store: Store, split: str) -> NDArray[np.float64]:
    """Scores in the layout of 2020, whose labels have to be the store's, in their order."""
    given = read_predictions(path, store.path.parent, (store.info.flag, store.info.size, split))
    scored = score_predictions(path, given, store.path.parent)
    if scored.own_order:
        expected = f"rows in the order of {store.path} {split}"
        raise ScoreError(path, expected=expected, found="its true labels in another order")
    return given.scores


def _table(
    path: Path, lines: list[tuple[int, list[str]]], classes: Sequence[str], count: int, binary: bool
) -> NDArray[np.float64]:
    outputs, width = len(classes), len(lines[0][1])
    titles = _titles(lines, outputs, count)
    if titles is not None:
        lines = lines[1:]
        if not lines:
            raise ScoreError(path, expected="rows of scores", found="a line of titles alone")
    table = np.array([_numbers(f"{path} line {number}", cells, width) for number, cells in lines])
    indexed = _is_indexed(titles, table, classes, binary)
    columns = width - indexed
    if columns != outputs and not (binary and columns == 1):
        expected = f"{outputs} scores in a row, for {', '.join(classes)}, with or without a row number before them"
        raise ScoreError(path, expected=expected, found=f"{width} columns")
    if indexed:
        table = _in_order(path, table)
    if titles is not None:
        order = _order(path, titles[indexed:], classes)
        return table[:, order]
    return table


def _titles(lines: list[tuple[int, list[str]]], outputs: int, count: int) -> list[str] | None:
    """The titles of the columns, if the first line is one: of words, or of the numbers of classes above all rows."""
    first = lines[0][1]
    of_classes = first == ["1"] if len(first) == 1 else sorted(first) == sorted(map(str, range(outputs)))
    numbered = of_classes and len(lines) == count + 1
    return first if numbered or any(_number(cell) is None for cell in first) else None


def _is_indexed(
    titles: list[str] | None, table: NDArray[np.float64], classes: Sequence[str], binary: bool
) -> bool:
    """Whether row numbers come first."""
    width: int = table.shape[1]
    if titles is not None:
        return titles[0].lower() in _INDEX and titles[0] not in classes
    if width == 2 and binary:  # a row number and one score, or two scores
        return bool(np.array_equal(np.sort(table[:, 0]), np.arange(len(table))))
    return width == len(classes) + 1


def _in_order(path: Path, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows by their numbers, without them."""
    given = table[:, 0]
    wanted = np.arange(len(table))
    if not np.array_equal(np.sort(given), wanted):
        bad = next((value for value in given if value not in wanted), None)
        found = f"{bad:g}" if bad is not None else "one of them twice"
        raise ScoreError(path, expected=f"row numbers 0 to {len(table) - 1}, each once", found=found)
    return table[np.argsort(given), 1:]


def _order(path: Path, titles: list[str], classes: Sequence[str]) -> list[int]:
    """For each class the place of its column, by title."""
    expected = f"columns titled {', '.join(classes)}, or 0 to {len(classes) - 1}"
    if len(titles) == 1 < len(classes):  # the positive class alone
        if titles[0] in (classes[1], "1"):
            return [0]
        raise ScoreError(path, expected=f"{expected}, or {classes[1]} alone", found=shorten(titles))
    if sorted(titles) == sorted(classes):
        return [titles.index(name) for name in classes]
    matches = [_NUMBERED.fullmatch(title) for title in titles]
    numbers = [int(match[1]) for match in matches if match]
    if sorted(numbers) == list(range(len(titles))) and not set(titles) & set(classes) - set(map(str, numbers)):
        return [numbers.index(place) for place in range(len(titles))]
    raise ScoreError(path, expected=expected, found=shorten(titles), remedy="title the columns so")


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _numbers(where: str, cells: list[str], width: int) -> list[float]:
    if len(cells) != width:
        raise ScoreError(where, expected=f"{width} columns", found=str(len(cells)))
    values: list[Any] = [_number(cell) for cell in cells]
    if None in values or not np.isfinite(values).all():
        raise ScoreError(where, expected="finite numbers", found=shorten(cells))
    return values
