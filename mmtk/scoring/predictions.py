"""MedMNIST's result files: ``{flag}{_size}_{split}_[AUC]0.913_[ACC]0.846@{run}.csv``, and the layout of 2020."""

from __future__ import annotations

import csv
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets import list_datasets
from mmtk.datasets.base import SPLITS
from mmtk.errors import ScoreError
from mmtk.scoring._metrics import Metrics

_FIGURES = re.compile(r"\[AUC\](?P<auc>[\d.]+)_\[ACC\](?P<acc>[\d.]+)(?:@(?P<run>.*))?$")


@dataclass(frozen=True)
class Predictions:
    """What a result file holds.

    Attributes
    ----------
    flag, size, split : dataset, edge length in pixels, and split, from the file's name
    metrics : Metrics or None
        The figures in the name, to three decimals.
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


def read_predictions(path: str | Path) -> Predictions:
    """Read a result file, of today's layout or that of 2020 (``id,true_0,...,score_0,...``).

    Raises
    ------
    ScoreError
        If the file is missing or empty, its name tells no dataset and split, a row is missing, repeated or of another
        length, or a value is no finite number.
    """
    path = Path(path)
    flag, size, split = _told_by(path)
    rows, header = _rows(path)
    width = len(header or rows[0])
    table = np.empty((len(rows), width - 1))
    seen: dict[int, int] = {}
    for line, row in enumerate(rows, start=2 if header else 1):
        try:
            index, values = float(row[0]), [float(cell) for cell in row[1:]]
        except ValueError:
            raise ScoreError(f"{path} line {line}", expected="numbers", found=",".join(row)) from None
        if len(values) != width - 1 or width < 2:
            raise ScoreError(f"{path} line {line}", expected=f"{max(width, 2)} columns", found=str(len(row)))
        if not np.isfinite(values).all():
            raise ScoreError(f"{path} line {line}", expected="finite scores", found=",".join(row[1:]))
        if index != int(index) or not 0 <= index < len(rows):
            found = f"row {row[0]} among {len(rows)} rows"
            raise ScoreError(f"{path} line {line}", expected=f"each row from 0 to {len(rows) - 1} once", found=found)
        if int(index) in seen:
            found = f"row {row[0]} again (first on line {seen[int(index)]})"
            raise ScoreError(f"{path} line {line}", expected="each row once", found=found)
        seen[int(index)] = line
        table[int(index)] = values
    truths = sum(name.startswith("true_") for name in header or ())
    named = _FIGURES.search(path.stem if path.suffix == ".csv" else path.name)
    try:
        metrics = Metrics(float(named["auc"]), float(named["acc"])) if named else None
    except ValueError:
        raise ScoreError(path, expected="figures like [AUC]0.913_[ACC]0.846", found=path.name) from None
    run = (named["run"] or "") if named else ""
    labels = table[:, :truths] if truths else None
    return Predictions(flag, size, split, metrics, run, table[:, truths:], labels)


def _told_by(path: Path) -> tuple[str, int, str]:
    """Dataset, size and split in a file's name; the flags of 2020 and today's are both known."""
    flags = {name: dataset.flag for dataset in list_datasets() for name in (dataset.flag, *dataset.aliases)}
    longest_first = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    named = re.search(rf"({longest_first})(?:_(\d+))?_({'|'.join(SPLITS)})(?![a-z])", path.name)
    if named is None:
        expected = "a name like breastmnist_test_[AUC]0.913_[ACC]0.846@run.csv"
        raise ScoreError(path, expected=expected, found=path.name, remedy="rename it")
    return flags[named[1]], int(named[2] or 28), named[3]


def _rows(path: Path) -> tuple[list[list[str]], list[str] | None]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise ScoreError(path, expected="a result file", found=found) from None
    header = rows.pop(0) if rows and rows[0][0] == "id" else None
    if not rows:
        raise ScoreError(path, expected="rows of scores", found="none")
    return rows, header


def result_name(flag: str, size: int, split: str, metrics: Metrics, run: str) -> str:
    """The name MedMNIST gives a result file."""
    suffix = "" if size == 28 else f"_{size}"
    return f"{flag}{suffix}_{split}_[AUC]{metrics.auc:.3f}_[ACC]{metrics.acc:.3f}@{run}.csv"


def write_predictions(
    folder: str | Path, flag: str, size: int, split: str, scores: NDArray[Any], metrics: Metrics, run: str
) -> Path:
    """Write a result file that MedMNIST's own evaluator reads.

    Parameters
    ----------
    folder : path, made if need be
    flag, size, split : dataset, edge length in pixels, and split
    scores : (n, k) float32 or float64
        Written so that they read back exactly.
    metrics : Metrics, for the name
    run : str, for the name

    Returns
    -------
    Path

    Raises
    ------
    ScoreError
        If a score is not finite.
    """
    if not np.isfinite(scores).all():
        raise ScoreError("scores", expected="finite numbers", found="NaN or infinity")
    final = Path(folder) / result_name(flag, size, split, metrics, run)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f".{split}.{os.getpid()}")
    try:
        with temporary.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([row, *map(str, line)] for row, line in enumerate(scores))
        os.replace(temporary, final)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    return final
