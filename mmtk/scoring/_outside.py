"""Predictions made with other tools: an array, MedMNIST's layout, or a table with column titles and row numbers."""

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
from mmtk.errors import ScoreError, reason_of
from mmtk.scoring._csv import check_delimiter, read_text, shorten
from mmtk.scoring.predictions import read_predictions, score_predictions
from mmtk.store import Store, read_npy_header

_INDEX = {"", "index", "id", "#", "row", "image", "unnamed: 0"}  # titles of a row number column
_NUMBERED = re.compile(r"\D*?_?(\d+)")


def read_outside(path: str | Path, store: Store, split: str) -> NDArray[Any]:
    """Read the scores of a split from a file made with another tool, rows and columns in the store's order.

    Parameters
    ----------
    path : str or path
        An array if the name ends in ``.npy``: (n, classes or labels), or for the binary task also (n,) or (n, 1).
        Otherwise text, in MedMNIST's current or 2020 layout, or a table: columns titled with class names or numbers, in
        any order, or without titles; rows numbered in the first column, or in the split's order.
    store : Store
    split : {"train", "val", "test"}

    Returns
    -------
    (n, classes or labels) float64 array, or float32 for a ``.npy`` array of at most that precision
        Both classes' scores for the binary task, even if the file has only those of the positive class.

    Raises
    ------
    ScoreError
        If the file is not an array or table, its rows, columns or titles do not match the split, a value is not a
        finite number, or a binary or multi-label score is not between 0 and 1.
    OSError
        If the file exists but the system cannot read it.

    Examples
    --------
    >>> import mmtk, numpy as np
    >>> from mmtk.scoring import read_outside
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> np.save("mine.npy", np.full(len(store.test), 0.25))
    >>> read_outside("mine.npy", store, "test")[0]
    array([0.75, 0.25])
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
        expected = f"{count}, one per {split} image of {store.path}"
        raise ScoreError(path, found=f"{len(scores)} rows", expected=expected)
    bad = np.flatnonzero(((scores < 0) | (scores > 1)).any(axis=1))
    if info.task in (Task.BINARY, Task.MULTILABEL) and len(bad):  # these are thresholded at one half
        problem, found = f"the scores of image {bad[0]} are not between 0 and 1", str(scores[bad[0]].tolist())
        raise ScoreError(path, problem, found=found, remedy="use probabilities")
    if info.task == Task.BINARY and scores.shape[1] == 1:
        return np.hstack([1 - scores, scores])
    return scores


def _array(path: Path, classes: Sequence[str], count: int, binary: bool) -> NDArray[Any]:
    """Read the scores in a ``.npy`` file, whose shape is checked before its data is read."""
    wrong = "is not an array written by numpy.save"
    try:
        with path.open("rb") as file:
            shape, fortran, dtype = read_npy_header(file)
            shapes = [(count, len(classes)), *([(count,), (count, 1)] if binary else [])]
            if shape not in shapes or dtype.kind not in "fiu":
                wanted = f"numbers of shape {' or '.join(map(str, shapes))}"
                raise ScoreError(path, found=f"{dtype} of shape {shape}", expected=wanted)
            whole = math.prod(shape) * dtype.itemsize
            data = file.read(whole + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ScoreError(path, f"cannot be read: {reason_of(error)}") from None
    except ValueError as error:
        raise ScoreError(path, f"{wrong}: {error}".partition("\n")[0]) from None
    if len(data) != whole:
        found = f"{len(data)} bytes of data" if len(data) < whole else "more data"
        raise ScoreError(path, "is damaged", found=found, expected=f"{whole} bytes for shape {shape}")
    values = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    short = dtype.kind == "f" and dtype.itemsize <= 4
    with np.errstate(over="ignore"):  # when converting from a longer type
        scores = np.array(values, np.float32 if short else np.float64, order="C").reshape(count, -1)
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        found = shorten(list(map(str, scores[bad[0]])))
        raise ScoreError(path, f"the scores of image {bad[0]} are not all finite", found=found)
    return scores


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not blank, with their numbers."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    lines: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if lines or len(cells) == 1:  # the name of a class may hold a semicolon
                    check_delimiter(f"{path} line {reader.line_num}", cells)
                lines.append((reader.line_num, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise ScoreError(path, f"is not a table of scores: {error}") from None
    if not lines:
        raise ScoreError(path, "contains no scores")
    return lines


def _with_labels(path: Path, store: Store, split: str) -> NDArray[np.float64]:
    """Read scores in the 2020 layout, whose labels must equal the store's, in the same order."""
    given = read_predictions(path, store.path.parent, (store.info.flag, store.info.size, split))
    scored = score_predictions(path, given, store.path.parent)
    if scored.own_order:
        raise ScoreError(path, f"its rows are not in the order of {store.path} {split}, judging by the true labels")
    return given.scores


def _table(
    path: Path, lines: list[tuple[int, list[str]]], classes: Sequence[str], count: int, binary: bool
) -> NDArray[np.float64]:
    outputs, width = len(classes), len(lines[0][1])
    titles = _titles(lines, outputs, count)
    if titles is not None:
        lines = lines[1:]
        if not lines:
            raise ScoreError(path, "contains only a line of titles, no scores")
    table = np.array([_numbers(f"{path} line {number}", cells, width) for number, cells in lines])
    indexed = _is_indexed(titles, table, classes, binary)
    columns = width - indexed
    if columns != outputs and not (binary and columns == 1):
        expected = f"{outputs} scores per row, for {', '.join(classes)}, optionally after a row number"
        raise ScoreError(path, found=f"{width} columns", expected=expected)
    if indexed:
        table = _in_order(path, table)
    if titles is not None:
        order = _order(path, titles[indexed:], classes)
        return table[:, order]
    return table


def _titles(lines: list[tuple[int, list[str]]], outputs: int, count: int) -> list[str] | None:
    """Column titles, if the first line has them: words, or class numbers in one line more than there are images."""
    first = lines[0][1]
    of_classes = first == ["1"] if len(first) == 1 else sorted(first) == sorted(map(str, range(outputs)))
    numbered = of_classes and len(lines) == count + 1
    return first if numbered or any(_number(cell) is None for cell in first) else None


def _is_indexed(
    titles: list[str] | None, table: NDArray[np.float64], classes: Sequence[str], binary: bool
) -> bool:
    """Whether the first column holds row numbers."""
    width: int = table.shape[1]
    if titles is not None:
        return titles[0].lower() in _INDEX and titles[0] not in classes
    if width == 2 and binary:  # a row number and one score, or two scores
        return bool(np.array_equal(np.sort(table[:, 0]), np.arange(len(table))))
    return width == len(classes) + 1


def _in_order(path: Path, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows sorted by their numbers, without the numbers."""
    given = table[:, 0]
    wanted = np.arange(len(table))
    if not np.array_equal(np.sort(given), wanted):
        bad = next((value for value in given if value not in wanted), None)
        problem = f"{bad:g} is not a row number" if bad is not None else "a row number occurs twice"
        raise ScoreError(path, problem, expected=f"0 to {len(table) - 1}, each once")
    return table[np.argsort(given), 1:]


def _order(path: Path, titles: list[str], classes: Sequence[str]) -> list[int]:
    """The index of each class's column, by title."""
    expected = f"columns titled {', '.join(classes)}, or 0 to {len(classes) - 1}"
    if len(titles) == 1 < len(classes):  # only the positive class
        if titles[0] in (classes[1], "1"):
            return [0]
        raise ScoreError(path, found=f"title {shorten(titles)}", expected=f"{expected}, or only {classes[1]}")
    if sorted(titles) == sorted(classes):
        return [titles.index(name) for name in classes]
    matches = [_NUMBERED.fullmatch(title) for title in titles]
    numbers = [int(match[1]) for match in matches if match]
    if sorted(numbers) == list(range(len(titles))) and not set(titles) & set(classes) - set(map(str, numbers)):
        return [numbers.index(place) for place in range(len(titles))]
    raise ScoreError(path, found=f"titles {shorten(titles)}", expected=expected)


def _number(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _numbers(where: str, cells: list[str], width: int) -> list[float]:
    if len(cells) != width:
        raise ScoreError(where, found=f"{len(cells)} columns", expected=str(width))
    values: list[Any] = [_number(cell) for cell in cells]
    if None in values or not np.isfinite(values).all():
        raise ScoreError(where, found=shorten(cells), expected="finite numbers")
    return values
