"""MedMNIST's result files: ``{flag}{_size}_{split}_[AUC]0.913_[ACC]0.846@{run}.csv``, and the layout of 2020.

Today's layout has no header and a row ``index,score,...`` an image; that of 2020 has ``id,true_0,...,score_0,...``.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk import store
from mmtk.datasets import list_datasets
from mmtk.datasets.base import SPLITS, Task
from mmtk.datasets.official import SIZES, sized_name
from mmtk.errors import ArgumentError, ScoreError
from mmtk.files import write_csv
from mmtk.scoring._assessment import Assessment, assess
from mmtk.scoring._intervals import as_facts
from mmtk.scoring._metrics import TOLERANCE, Metrics, evaluate

_NAME = "a name like breastmnist_test_[AUC]0.913_[ACC]0.846@run.csv"
_FIGURES = re.compile(r"\[AUC\]([01]\.\d{3}|nan)_\[ACC\]([01]\.\d{3})(?![\d.])")
_ROUNDED = 0.0005  # by which a figure of three decimals may be off
_LONGEST = 60  # letters of a bad line that an error shows
_AS_CSV = "save it as CSV with commas, points in numbers, in UTF-8"
_SPLIT = rf"({'|'.join(SPLITS)})(?![a-z])"


@dataclass(frozen=True)
class Predictions:
    """What a result file holds.

    Attributes
    ----------
    flag, size, split : dataset, edge length in pixels, and split, from the file's name
    metrics : Metrics or None
        The figures in the name, to three decimals; "nan" is an AUC that is undefined.
    run : str
        What follows the ``@`` in the name.
    scores : (n, k) float64, row i for image i of the split
    labels : (n, l) float64 or None
        The true labels, which only the layout of 2020 carries.
    """

    flag: str
    size: int
    split: str
    metrics: Metrics | None
    run: str
    scores: NDArray[np.float64]
    labels: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class ScoredFile:
    """A result file scored against its store.

    Attributes
    ----------
    own_order : its true labels are the store's in another order, so that only they tell which row is which image;
        it has been scored against them
    info : facts of the store
    labels : (n, l), in the order of the scores
    subjects : (n,) bytes, whom the images are of, empty where that is not known
    """

    path: Path
    predictions: Predictions
    metrics: Metrics
    own_order: bool
    info: store.StoreInfo
    labels: NDArray[Any]
    subjects: NDArray[Any]

    def assess(self) -> Assessment:
        """All that they tell."""
        return assess(self.labels, self.predictions.scores, self.info.task, self.info.classes, self.subjects)

    def facts(self) -> dict[str, Any]:
        """Its figures and what it is of, as JSON values."""
        mine = self.predictions
        facts: dict[str, Any] = as_facts({
            "file": str(self.path), "flag": mine.flag, "size": mine.size, "split": mine.split, "run": mine.run,
            "images": len(mine.scores), "auc": self.metrics.auc, "acc": self.metrics.acc,
            "named": mine.metrics._asdict() if mine.metrics else None, "agrees": self.agrees,
            "own_order": self.own_order, "synthetic": self.info.synthetic, "partial": self.info.partial,
        })
        return facts

    @property
    def agrees(self) -> bool:
        """Whether the figures in the name, if there are any, are those found, at three decimals."""
        named = self.predictions.metrics
        return named is None or named.agrees(self.metrics, _ROUNDED + TOLERANCE)


def evaluate_file(path: str | Path, stores: str | Path) -> ScoredFile:
    """Score a result file against ``{flag}_{size}.h5`` in the folder `stores`.

    The AUC is NaN where a class has no image in the split of a store that is partial.

    Raises
    ------
    ScoreError
        If the file is no result file, its rows, columns or labels are not those of the store's split, or a class is
        missing in the split of a whole store.
    StoreError
        If the store is not there or cannot be opened.
    OSError
        If the system cannot read the file, though it is there.
    """
    return score_predictions(path, read_predictions(path, stores), stores)


def score_predictions(path: str | Path, found: Predictions, stores: str | Path) -> ScoredFile:
    """Score what a result file holds, as `evaluate_file` does."""
    path = Path(path)
    opened = store.open(store.store_path(stores, found.flag, found.size))
    split: store.Split = getattr(opened, found.split)
    labels, subjects = split.labels, split.records["subject"]
    if len(found.scores) != len(labels):
        expected = f"{len(labels)} rows, one for each {found.split} image of {opened.path}"
        raise ScoreError(path, expected=expected, found=f"{len(found.scores)}")
    columns, classes = found.scores.shape[1], len(opened.info.classes)
    if columns != classes and (columns, opened.info.task) != (1, Task.BINARY):
        expected = f"{classes} scores in a row, as {opened.path} has classes or labels"
        raise ScoreError(path, expected=expected, found=str(columns))
    own_order = found.labels is not None and not np.array_equal(found.labels, labels)
    if found.labels is not None and own_order:
        if not np.array_equal(_sorted(found.labels), _sorted(labels)):
            expected = f"the labels of {opened.path} {found.split}, in whatever order"
            raise ScoreError(path, expected=expected, found="other labels in its true columns")
        labels, subjects = found.labels, np.zeros_like(subjects)
    try:
        metrics = evaluate(labels, found.scores, opened.info.task, allow_undefined=opened.info.partial)
    except ScoreError as error:
        what, remedy = f"{path}: {error.what}", error.remedy
        raise ScoreError(what, expected=error.expected, found=error.found, remedy=remedy) from None
    return ScoredFile(path, found, metrics, own_order, opened.info, labels, subjects)


def _sorted(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.lexsort(rows.T)]


def read_predictions(
    path: str | Path, stores: str | Path | None = None, place: tuple[str, int, str] | None = None
) -> Predictions:
    """Read a result file, of today's layout or that of 2020.

    The name must tell the split and a dataset, one that mmtk knows or of which `stores` has a store, unless `place`
    gives flag, size and split; figures may lack, since MedMNIST too scores files without.

    Raises
    ------
    ScoreError
        If the file is missing or empty, its name tells no dataset or split or has garbled figures, it is no CSV with
        commas in UTF-8, a row is missing, repeated or of another length, or a value is no finite number.
    OSError
        If the system cannot read it, though it is there.
    """
    path = Path(path)
    flag, size, split = place or _told_by(path, stores)
    head, _, run = path.name.removesuffix(".csv").partition("@")
    figures = _FIGURES.search(head)
    if figures is None and ("[AUC]" in head or "[ACC]" in head):
        raise ScoreError(path, expected=_NAME, found="figures that are no numbers of three decimals")
    metrics = Metrics(float(figures[1]), float(figures[2])) if figures else None
    table, truths = _read_table(path)
    labels = table[:, :truths] if truths else None
    return Predictions(flag, size, split, metrics, run, table[:, truths:], labels)


def _told_by(path: Path, stores: str | Path | None) -> tuple[str, int, str]:
    """Dataset, size and split in a file's name; the flags of 2020 and today's are both known."""
    flag, size, splits = told_in(path.name, stores)
    if not flag:
        raise ScoreError(path, expected=_NAME, found="no known dataset in it", remedy="mmtk list tells the datasets")
    if len(splits) != 1:
        raise ScoreError(path, expected=_NAME, found=" and ".join(sorted(splits)) or "no split in it")
    return flag, size or SIZES[0], splits.pop()


def told_in(name: str, stores: str | Path | None) -> tuple[str, int | None, set[str]]:
    """Dataset, size and splits that the name of a file tells, as far as it does."""
    flags = {flag: flag for flag, *_ in store.stores_in(stores)} if stores is not None else {}
    flags |= {name: dataset.flag for dataset in list_datasets() for name in (dataset.flag, *dataset.aliases)}
    head = re.split(r"\[AUC\]|@", name)[0]
    longest_first = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    # a name that is nothing else comes first, since a flag may hold a split's name or another flag
    whole = re.fullmatch(rf"({longest_first})(?:_(\d+))?_{_SPLIT}_?(?:\.csv)?", head)
    loose = re.search(rf"(?<![a-z0-9])({longest_first})(?:_(\d+))?(?:_{_SPLIT}|(?![a-z0-9]))", head)
    dataset = whole or loose
    if dataset is None:
        return "", None, set(re.findall(rf"(?<![a-z]){_SPLIT}", head))
    splits = {dataset[3]} if dataset[3] else set(re.findall(rf"(?<![a-z]){_SPLIT}", head))
    return flags[dataset[1]], int(dataset[2]) if dataset[2] else None, splits


def _read_table(path: Path) -> tuple[NDArray[np.float64], int]:
    """Rows in the order of their index, without it, and how many columns are true labels."""
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
                found = f"row {index} again, first on line {seen[index]}"
                raise ScoreError(where, expected="each row once", found=found)
            seen[index] = reader.line_num
            rows.append(values)
    except csv.Error as error:
        raise ScoreError(path, expected="a result file", found=str(error)) from None
    if not rows:
        raise ScoreError(path, expected="rows of scores", found="none")
    for index in range(len(rows)):
        if index not in seen:
            found = f"no row {index}, but row {_number(max(seen))} on line {seen[max(seen)]}"
            raise ScoreError(path, expected=f"rows 0 to {len(rows) - 1}, as many as there are lines", found=found)
    return np.array(rows)[np.argsort(list(seen))], truths


def read_text(path: Path) -> str:
    """The text of a result file, in UTF-8."""
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ScoreError(path, expected="a result file", found=str(error.strerror)) from None
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in raw[:4]:
            raise ScoreError(path, expected="a result file in UTF-8", found="UTF-16 or UTF-32", remedy=_AS_CSV)
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise ScoreError(path, expected="a result file in UTF-8", found=found, remedy=_AS_CSV) from None


def check_delimiter(where: str, cells: list[str]) -> None:
    """Refuse what spreadsheets write where a comma stands in numbers: semicolons, or tabs."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if any(sign in cell for cell in cells):
            raise ScoreError(where, expected="commas between columns", found=name, remedy=_AS_CSV)


def _number(row: int) -> str:
    return str(row) if row < 10**15 else f"{row:g}"


def shorten(cells: list[str]) -> str:
    """A line as an error shows it."""
    line = ",".join(cells)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _check_header(path: Path, cells: list[str]) -> int:
    truths = sum(cell.startswith("true_") for cell in cells)
    scores = len(cells) - 1 - truths
    check_delimiter(f"{path} line 1", cells)
    if cells != ["id", *(f"true_{i}" for i in range(truths)), *(f"score_{i}" for i in range(scores))] or scores < 1:
        raise ScoreError(f"{path} line 1", expected="id,true_0,...,score_0,...", found=shorten(cells))
    return truths


def _read_row(where: str, cells: list[str], width: int) -> tuple[int, list[float]]:
    if len(cells) != width or width < 2:
        raise ScoreError(where, expected=f"{max(width, 2)} columns", found=str(len(cells)))
    try:
        if any("_" in cell for cell in cells):  # which Python's own numbers may hold
            raise ValueError
        index, *values = map(float, cells)
    except ValueError:
        raise ScoreError(where, expected="numbers", found=shorten(cells)) from None
    if not index.is_integer() or index < 0:
        raise ScoreError(where, expected="a row number from 0 first", found=shorten(cells[:1]))
    if not np.isfinite(values).all():
        raise ScoreError(where, expected="finite numbers", found=shorten(cells))
    return int(index), values


def result_name(flag: str, size: int, split: str, metrics: Metrics, run: str) -> str:
    """The name MedMNIST gives a result file: the size only where it is not 28, an undefined AUC as "nan"."""
    return f"{sized_name(flag, size)}_{split}_[AUC]{metrics.auc:.3f}_[ACC]{metrics.acc:.3f}@{run}.csv"


def write_predictions(
    folder: str | Path, flag: str, size: int, split: str, scores: ArrayLike, metrics: Metrics, run: str
) -> Path:
    """Write a result file that MedMNIST's own evaluator reads; it appears under its name only when whole.

    Parameters
    ----------
    folder : path, made if need be
    flag, size, split : dataset, edge length in pixels, and split
    scores : (n,), (n, k) float32 or float64
        Written with the fewest digits from which their dtype reads back the same number.
    metrics : Metrics, for the name
    run : str, for the name

    Returns
    -------
    Path

    Raises
    ------
    ScoreError
        If the scores are no table of finite numbers.
    ArgumentError
        If `run` cannot stand in a file's name.
    """
    if not re.fullmatch(r"[^/@\x00-\x1f]+", run):
        raise ArgumentError("run", expected="a name without / and @", found=repr(run))
    table = np.asarray(scores)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or table.dtype.kind not in "fiu":
        raise ScoreError("scores", expected="a table of numbers", found=f"{table.dtype} {table.shape}")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise ScoreError("scores", expected="finite numbers", found=f"{table[bad[0]].tolist()} in row {bad[0]}")
    final = Path(folder) / result_name(flag, size, split, metrics, run)
    write_csv(final, ([row, *map(str, line)] for row, line in enumerate(table)))
    return final
