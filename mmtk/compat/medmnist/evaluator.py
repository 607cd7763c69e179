"""``medmnist.evaluator``: AUC and ACC as in medmnist, as lenient as it is; `mmtk.evaluate` is strict."""

from __future__ import annotations

import csv
import os
import re
import time
import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmtk.compat.medmnist import _files
from mmtk.compat.medmnist.info import DEFAULT_ROOT, INFO
from mmtk.compat.medmnist.utils import from_elsewhere
from mmtk.datasets.base import SPLITS, Task
from mmtk.datasets.official import SIZES, size_suffix

# other names that scripts import from this module of medmnist
_ELSEWHERE = {
    "pd": ("pandas", ""), "roc_auc_score": ("sklearn.metrics", "roc_auc_score"),
    "accuracy_score": ("sklearn.metrics", "accuracy_score"),
}
__all__ = [
    "DEFAULT_ROOT", "INFO", "Evaluator", "Metrics", "getACC", "getAUC", "namedtuple", "np", "os", "save_results",
    "warnings", *_ELSEWHERE,
]
_WHOLE = re.compile(r"[+-]?\d+")

Metrics = namedtuple("Metrics", ["AUC", "ACC"])


def __getattr__(name: str) -> Any:
    return from_elsewhere(__name__, name, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted(__all__)


def getAUC(y_true: ArrayLike, y_score: ArrayLike, task: str) -> Any:
    """Area under the ROC curve; NaN, with scikit-learn's warning, if a class does not occur.

    Parameters
    ----------
    y_true : (n,), (n, 1) or (n, l)
    y_score : (n,), (n, 1), (n, l) or (n, classes)
    task : str
        As named in `INFO`; any other value means multi-class.
    """
    from sklearn.metrics import roc_auc_score

    truth, scores = _squeezed(y_true), _squeezed(y_score)
    if task == Task.BINARY:
        return roc_auc_score(truth, _positive(scores))
    total: Any = 0
    for number in range(scores.shape[1]):
        column = truth[:, number] if task == Task.MULTILABEL else (truth == number).astype(float)
        total += roc_auc_score(column, scores[:, number])
    return total / scores.shape[1]


def getACC(y_true: ArrayLike, y_score: ArrayLike, task: str, threshold: float = 0.5) -> Any:
    """Accuracy; parameters are those of `getAUC`.

    Parameters
    ----------
    threshold : float
        Binary scores, and scores of labels, above it are positive.
    """
    truth, scores = _squeezed(y_true), _squeezed(y_score)
    if task == Task.BINARY:
        return _accuracy(truth, _positive(scores) > threshold)
    if task != Task.MULTILABEL:
        return _accuracy(truth, np.argmax(scores, axis=-1))
    total: Any = 0
    for number in range(truth.shape[1]):
        total += _accuracy(truth[:, number], scores[:, number] > threshold)
    return total / truth.shape[1]


def _accuracy(truth: NDArray[Any], chosen: Any) -> Any:
    if truth.ndim == 1 and len(truth) and truth.dtype.kind in "iub" and np.shape(chosen) == truth.shape:
        return float(np.mean(truth == chosen))  # scikit-learn's result, without its checks
    from sklearn.metrics import accuracy_score

    return accuracy_score(truth, chosen)


def _squeezed(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # a tensor, possibly with gradients
        values = values.detach()
    return np.asarray(values).squeeze()


def _positive(scores: NDArray[Any]) -> NDArray[Any]:
    if scores.ndim not in (1, 2):
        raise AssertionError(f"scores: found shape {scores.shape}, expected one or two columns")
    return scores[:, -1] if scores.ndim == 2 else scores


def _lines(*columns: NDArray[Any]) -> list[str]:
    """Rows of a CSV file as written by pandas: numbers in their shortest form, nothing for a NaN."""
    rows = zip(*columns, strict=True)
    return [",".join("" if value != value else str(value) for value in row) for row in rows]


class Evaluator:
    """Evaluates scores against the labels of a split.

    Parameters
    ----------
    flag, split, size, root
        As for a dataset.
    """

    def __init__(
        self, flag: str, split: str, size: int | None = None, root: str | os.PathLike[str] | None = DEFAULT_ROOT
    ) -> None:
        self.flag, self.split = flag, split
        self.size: Any = SIZES[0] if size in (None, SIZES[0]) else size
        self.size_flag = size_suffix(self.size)
        self.root = _files.checked_root(root)
        place = _files.Place(flag, self.size, Path(self.root).absolute())
        labels = place.labels(split if split in SPLITS else SPLITS[0])  # reports a missing file first
        self.info = INFO[self.flag]
        if split not in SPLITS:
            raise ValueError(f"split: found {split!r}, expected {' or '.join(SPLITS)}")
        self.labels = labels

    def evaluate(
        self, y_score: Any, save_folder: str | os.PathLike[str] | None = None, run: Any = None
    ) -> Metrics:
        """Compute AUC and ACC; if a folder is given, write the scores to a result file."""
        scores = np.asarray(y_score)
        if len(scores) != len(self.labels):
            raise AssertionError(f"scores: found {len(scores)} rows, expected {len(self.labels)}")
        task = self.info["task"]
        metrics = Metrics(getAUC(self.labels, scores, task), getACC(self.labels, scores, task))
        if save_folder is not None:
            table = scores[:, None] if scores.ndim == 1 else scores
            path = os.path.join(save_folder, self.get_standard_evaluation_filename(metrics, run))
            text = "".join(f"{line}\n" for line in _lines(np.arange(len(table)), *table.T))
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(text)
        return metrics

    def get_standard_evaluation_filename(self, metrics: Any, run: Any = None) -> str:
        """The name of a result file."""
        figures = "_".join(f"[{name}]{value:.3f}" for name, value in zip(metrics._fields, metrics, strict=False))
        return f"{self.flag}{self.size_flag}_{self.split}_{figures}@{time.time() if run is None else run}.csv"

    def get_dummy_prediction(self) -> NDArray[np.float64]:
        """Random scores from NumPy's global generator; in multi-class tasks as many columns as the largest label."""
        if self.info["task"] not in (Task.MULTICLASS, Task.ORDINAL):
            return np.random.rand(*self.labels.shape)  # noqa: NPY002 - as medmnist draws
        dummy = np.random.rand(len(self.labels), self.labels.max())  # noqa: NPY002
        scores: NDArray[np.float64] = dummy / dummy.sum(axis=-1, keepdims=True)
        return scores

    @classmethod
    def parse_and_evaluate(
        cls, path: str | os.PathLike[str], run: str | None = None, root: str | os.PathLike[str] | None = None
    ) -> Metrics:
        """Score a result file described by its name; the scores are written again with the results in the name.

        Parameters
        ----------
        path : path
            ``{flag}{_size}_{split}...@{run}.csv``, each row a number and the scores.
        run : str, optional
            Replaces the run in the name.
        root : path, optional
            As for a dataset; medmnist has no such argument.
        """
        folder, name = os.path.split(path)
        flag, *rest = name.split("_")
        first, second, *_ = (*rest, "", "")
        split, size = _split_named(first), None
        if not split:
            split, size = _split_named(second), first
        if not split:
            raise ValueError(f"{name}: has no split after the flag; expected {' or '.join(SPLITS)}")
        if run is None:
            if "@" not in name:
                raise AssertionError(f"{name}: has no run after @")
            run = name.split("@")[-1].split(".")[0]
        more: Any = {} if root is None else {"root": root}  # subclasses may not accept it
        metrics = cls(flag, split, size=size, **more).evaluate(_scores_in(path), folder, run)  # type: ignore[arg-type]
        print(metrics)
        return metrics


def _split_named(word: str) -> str | None:
    return next((split for split in SPLITS if word.startswith(split)), None)


def _scores_in(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The scores of a file, in the order of the numbers at the start of its rows."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    rows.sort(key=lambda row: float(row[0]))
    cells = [row[1:] for row in rows]
    if {cell for row in cells for cell in row} <= {"True", "False"}:
        return np.array([[cell == "True" for cell in row] for row in cells])
    if all(_WHOLE.fullmatch(cell) for row in cells for cell in row):
        return np.array(cells).astype(np.int64)
    return np.array([[float(cell or "nan") for cell in row] for row in cells])


def save_results(y_true: NDArray[Any], y_score: NDArray[Any], outputpath: str | os.PathLike[str]) -> None:
    """Write labels and scores side by side with a header: the layout of 2020."""
    truth, scores = np.asarray(y_true), np.asarray(y_score)
    names = ["id", *(f"true_{i}" for i in range(truth.shape[1])), *(f"score_{i}" for i in range(scores.shape[1]))]
    lines = _lines(np.arange(len(scores)), *truth.T, *scores.T)
    with open(outputpath, "w", encoding="utf-8-sig", newline="") as file:
        file.writelines(f"{line}\n" for line in [",".join(names), *lines])
