"""MedMNIST's result files: ``{flag}{_size}_{split}_[AUC]0.913_[ACC]0.846@{run}.csv``, and their 2020 layout.

The current layout has no header and one row ``index,score,...`` per image; that of 2020 has a header
``id,true_0,...,score_0,...``.
"""

from __future__ import annotations

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
from mmtk.scoring._csv import read_table
from mmtk.scoring._estimates import as_facts
from mmtk.scoring._metrics import TOLERANCE, Metrics, evaluate

_NAME = "a name like breastmnist_test_[AUC]0.913_[ACC]0.846@run.csv"
_FIGURES = re.compile(r"\[AUC\]([01]\.\d{3}|nan)_\[ACC\]([01]\.\d{3})(?![\d.])")
_ROUNDED = 0.0005  # rounding error of a figure with three decimals
_SPLIT = rf"({'|'.join(SPLITS)})(?![a-z])"


@dataclass(frozen=True)
class Predictions:
    """The content of a result file.

    Attributes
    ----------
    flag : str
        Dataset, from the file's name.
    size : int
        Edge length in pixels, from the file's name.
    split : {"train", "val", "test"}
        From the file's name.
    metrics : Metrics or None
        The figures in the name, to three decimals; an AUC of "nan" is undefined.
    run : str
        What follows the ``@`` in the name.
    scores : (n, k) float64 array
        Row i belongs to image i of the split.
    labels : (n, l) float64 array or None
        True labels, which only the 2020 layout has.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import read_predictions
    >>> (path,) = Path("runs/resnet18_28_seed0").glob("*_test_*.csv")
    >>> predictions = read_predictions(path)
    >>> predictions.flag, predictions.size, predictions.split, predictions.run
    ('breastmnist', 28, 'test', 'resnet18_28_seed0')
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
    path : Path
    predictions : Predictions
    metrics : Metrics
    own_order : bool
        Whether the file's true labels are the store's in another row order; it was then scored against its own labels.
    info : StoreInfo
        Facts of the store.
    labels : (n, l) array
        In the order of the scores.
    subjects : (n,) bytes array
        Subjects of the images, empty where unknown.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import evaluate_file
    >>> (path,) = Path("runs/resnet18_28_seed0").glob("*_test_*.csv")
    >>> scored = evaluate_file(path, "stores")
    >>> scored.agrees, scored.own_order, len(scored.labels) == len(scored.predictions.scores)
    (True, False, True)
    >>> sorted(scored.assess().facts())
    ['delong', 'details', 'intervals']
    """

    path: Path
    predictions: Predictions
    metrics: Metrics
    own_order: bool
    info: store.StoreInfo
    labels: NDArray[Any]
    subjects: NDArray[Any]

    def assess(self) -> Assessment:
        """Return figures with intervals and per-class details."""
        return assess(self.labels, self.predictions.scores, self.info.task, self.info.classes, self.subjects)

    def facts(self) -> dict[str, Any]:
        """Return its figures, dataset, split and run as JSON values."""
        file = self.predictions
        facts: dict[str, Any] = as_facts({
            "file": str(self.path), "flag": file.flag, "size": file.size, "split": file.split, "run": file.run,
            "images": len(file.scores), "auc": self.metrics.auc, "acc": self.metrics.acc,
            "named": file.metrics._asdict() if file.metrics else None, "agrees": self.agrees,
            "own_order": self.own_order, "synthetic": self.info.synthetic, "partial": self.info.partial,
        })
        return facts

    @property
    def agrees(self) -> bool:
        """Whether the figures in the name, if any, equal the computed ones to three decimals."""
        named = self.predictions.metrics
        return named is None or named.agrees(self.metrics, _ROUNDED + TOLERANCE)


def evaluate_file(path: str | Path, stores: str | Path) -> ScoredFile:
    """Score a result file against ``{flag}_{size}.h5`` in the folder `stores`.

    Parameters
    ----------
    path : str or path
        The result file; see `read_predictions`.
    stores : str or path
        Folder of stores.

    Returns
    -------
    ScoredFile
        The AUC is NaN if a class has no image in the split of a partial store.

    Raises
    ------
    ScoreError
        If the file is not a result file, its rows, columns or labels do not match the store's split, or a class is
        absent from the split of a store that is not partial.
    StoreError
        If the store does not exist or cannot be opened.
    OSError
        If the file exists but the system cannot read it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import evaluate_file
    >>> (path,) = Path("runs/resnet18_28_seed0").glob("*_test_*.csv")
    >>> scored = evaluate_file(path, "stores")
    >>> scored.metrics.agrees(scored.predictions.metrics, 0.0005)
    True
    """
    return score_predictions(path, read_predictions(path, stores), stores)


def score_predictions(path: str | Path, predictions: Predictions, stores: str | Path) -> ScoredFile:
    """Score predictions that were read from a result file.

    Parameters
    ----------
    path : str or path
        The result file, for errors.
    predictions : Predictions
    stores : str or path
        Folder of stores.

    Returns
    -------
    ScoredFile

    Raises
    ------
    ScoreError
        If rows, columns or labels do not match the store's split, or a class is absent from the split of a store that
        is not partial.
    StoreError
        If the store does not exist or cannot be opened.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import read_predictions, score_predictions
    >>> (path,) = Path("runs/resnet18_28_seed0").glob("*_test_*.csv")
    >>> score_predictions(path, read_predictions(path), "stores").agrees
    True
    """
    path = Path(path)
    opened = store.open(store.store_path(stores, predictions.flag, predictions.size))
    split: store.Split = getattr(opened, predictions.split)
    labels, subjects = split.labels, split.records["subject"]
    if len(predictions.scores) != len(labels):
        expected = f"{len(labels)}, one per {predictions.split} image of {opened.path}"
        raise ScoreError(path, found=f"{len(predictions.scores)} rows", expected=expected)
    columns, classes = predictions.scores.shape[1], len(opened.info.classes)
    if columns != classes and (columns, opened.info.task) != (1, Task.BINARY):
        expected = f"{classes}, one per class or label of {opened.path}"
        raise ScoreError(path, found=f"{columns} scores per row", expected=expected)
    own_order = predictions.labels is not None and not np.array_equal(predictions.labels, labels)
    if predictions.labels is not None and own_order:
        if not np.array_equal(_sorted(predictions.labels), _sorted(labels)):
            raise ScoreError(path, f"its true labels are not those of {opened.path} {predictions.split}, in any order")
        labels, subjects = predictions.labels, np.zeros_like(subjects)
    try:
        metrics = evaluate(labels, predictions.scores, opened.info.task, allow_undefined=opened.info.partial)
    except ScoreError as error:
        raise error.within(path) from None
    return ScoredFile(path, predictions, metrics, own_order, opened.info, labels, subjects)


def _sorted(rows: NDArray[Any]) -> NDArray[Any]:
    return rows[np.lexsort(rows.T)]


def read_predictions(
    path: str | Path, stores: str | Path | None = None, place: tuple[str, int, str] | None = None
) -> Predictions:
    """Read a result file, in the current layout or that of 2020.

    Parameters
    ----------
    path : str or path
        The file name must contain the split and the flag of a dataset that mmtk knows or that has a store in `stores`,
        unless `place` is given. Figures in the name are optional, as for MedMNIST.
    stores : str or path, optional
        Folder of stores.
    place : (str, int, str), optional
        Flag, size in pixels and split, if the file name should not be consulted.

    Returns
    -------
    Predictions

    Raises
    ------
    ScoreError
        If the file is missing or empty, its name lacks a dataset or split or has malformed figures, it is not UTF-8 CSV
        with commas, a row is missing, repeated or of another length, or a value is not a finite number.
    OSError
        If the file exists but the system cannot read it.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mmtk.scoring import read_predictions
    >>> name = "breastmnist_test_[AUC]1.000_[ACC]0.500@mine.csv"
    >>> _ = Path(name).write_text("0,0.9,0.1\\n1,0.6,0.4\\n")
    >>> predictions = read_predictions(name)
    >>> predictions.metrics, predictions.run
    (Metrics(auc=1.0, acc=0.5), 'mine')
    >>> predictions.scores
    array([[0.9, 0.1],
           [0.6, 0.4]])
    """
    path = Path(path)
    flag, size, split = place or _place_of(path, stores)
    head, _, run = path.name.removesuffix(".csv").partition("@")
    figures = _FIGURES.search(head)
    if figures is None and ("[AUC]" in head or "[ACC]" in head):
        raise ScoreError(path, "the figures in its name are malformed", expected=_NAME)
    metrics = Metrics(float(figures[1]), float(figures[2])) if figures else None
    table, truths = read_table(path)
    labels = table[:, :truths] if truths else None
    return Predictions(flag, size, split, metrics, run, table[:, truths:], labels)


def _place_of(path: Path, stores: str | Path | None) -> tuple[str, int, str]:
    """Dataset, size and split in a file's name, by current flags or those of 2020."""
    flag, size, splits = parse_file_name(path.name, stores)
    if not flag:
        raise ScoreError(path, "its name contains no known dataset", expected=_NAME, remedy="mmtk list shows them all")
    if len(splits) != 1:
        problem = f"its name contains {' and '.join(sorted(splits)) or 'no split'}"
        raise ScoreError(path, problem, expected=_NAME)
    return flag, size or SIZES[0], splits.pop()


def parse_file_name(name: str, stores: str | Path | None) -> tuple[str, int | None, set[str]]:
    """Return the dataset ("" if none), size and splits that a file's name contains."""
    flags = {flag: flag for flag, *_ in store.stores_in(stores)} if stores is not None else {}
    flags |= {name: dataset.flag for dataset in list_datasets() for name in (dataset.flag, *dataset.aliases)}
    head = re.split(r"\[AUC\]|@", name)[0]
    longest_first = "|".join(sorted(map(re.escape, flags), key=len, reverse=True))
    # try the exact form first, because a flag may contain the name of a split or another flag
    whole = re.fullmatch(rf"({longest_first})(?:_(\d+))?_{_SPLIT}_?(?:\.csv)?", head)
    loose = re.search(rf"(?<![a-z0-9])({longest_first})(?:_(\d+))?(?:_{_SPLIT}|(?![a-z0-9]))", head)
    dataset = whole or loose
    if dataset is None:
        return "", None, set(re.findall(rf"(?<![a-z]){_SPLIT}", head))
    splits = {dataset[3]} if dataset[3] else set(re.findall(rf"(?<![a-z]){_SPLIT}", head))
    return flags[dataset[1]], int(dataset[2]) if dataset[2] else None, splits


def result_name(flag: str, size: int, split: str, metrics: Metrics, run: str) -> str:
    """Return the name MedMNIST gives a result file: the size only if it is not 28, an undefined AUC as "nan".

    Parameters
    ----------
    flag : str
    size : int
        Edge length in pixels.
    split : {"train", "val", "test"}
    metrics : Metrics
    run : str

    Returns
    -------
    str

    Examples
    --------
    >>> from mmtk import Metrics
    >>> from mmtk.scoring import result_name
    >>> result_name("breastmnist", 28, "test", Metrics(0.91342, 0.84615), "mine")
    'breastmnist_test_[AUC]0.913_[ACC]0.846@mine.csv'
    >>> result_name("breastmnist", 224, "test", Metrics(0.91342, 0.84615), "mine")
    'breastmnist_224_test_[AUC]0.913_[ACC]0.846@mine.csv'
    """
    return f"{sized_name(flag, size)}_{split}_[AUC]{metrics.auc:.3f}_[ACC]{metrics.acc:.3f}@{run}.csv"


def write_predictions(
    folder: str | Path, flag: str, size: int, split: str, scores: ArrayLike, metrics: Metrics, run: str
) -> Path:
    """Write a result file that MedMNIST's own evaluator reads, atomically.

    Parameters
    ----------
    folder : str or path
        Created if needed.
    flag : str
    size : int
        Edge length in pixels.
    split : {"train", "val", "test"}
    scores : array_like, shape (n,) or (n, k), float32 or float64
        Written with the fewest digits that read back as the same number.
    metrics : Metrics
        For the name.
    run : str
        For the name.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ScoreError
        If the scores are not a table of finite numbers.
    ArgumentError
        If `run` cannot be part of a file name.

    Examples
    --------
    >>> import mmtk
    >>> from mmtk.scoring import write_predictions
    >>> scores = [[0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]
    >>> metrics = mmtk.evaluate([0, 0, 1], scores, "binary-class")
    >>> path = write_predictions("results", "breastmnist", 28, "test", scores, metrics, "mine")
    >>> path.name
    'breastmnist_test_[AUC]1.000_[ACC]0.667@mine.csv'
    >>> print(path.read_text())
    0,0.9,0.1
    1,0.4,0.6
    2,0.3,0.7
    """
    if not re.fullmatch(r"[^/@\x00-\x1f]+", run):
        raise ArgumentError("run", found=repr(run), expected="a name without / and @")
    table = np.asarray(scores)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or table.dtype.kind not in "fiu":
        raise ScoreError("scores", found=f"{table.dtype} of shape {table.shape}", expected="a table of numbers")
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise ScoreError("scores", found=f"{table[bad[0]].tolist()} in row {bad[0]}", expected="finite numbers")
    final = Path(folder) / result_name(flag, size, split, metrics, run)
    write_csv(final, ([row, *map(str, line)] for row, line in enumerate(table)))
    return final
