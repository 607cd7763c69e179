"""The result of a finished run: a file of predictions for each split, and ``result.json``, written last."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from mmtk.datasets import edition_flag
from mmtk.datasets.base import SPLITS, Task
from mmtk.datasets.marks import marks_of
from mmtk.display import facts_table, rows_table
from mmtk.errors import MmtkError, ScoreError
from mmtk.runs import jsonfiles
from mmtk.runs.epochs import Share
from mmtk.runs.folder import LOG, RESULT
from mmtk.scoring import Metrics, as_facts, evaluate, format_figure, write_predictions
from mmtk.store import Split, Store
from mmtk.values import typed


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Attributes
    ----------
    path : Path
        The run's folder.
    metrics : dict of str to Metrics
        AUC and ACC of the best epoch, by split. An AUC is NaN if a partial store lacks a class; both are NaN for a
        split without predictions.
    images : dict of str to int
        Number of images with predictions, by split.
    best_epoch : int
        The epoch with the best validation AUC (lowest validation loss if that is undefined), counted from 1; 0 without
        epochs.
    epochs : int
        Number of epochs trained.
    reused : bool
        Whether the run was already finished, so that nothing was done.
    files : mapping of str to str
        Name of the result file, by split; imported predictions may have only that of the test images.
    synthetic : bool
        Whether the store's images are synthetic.
    seconds, budget : float or None
        Seconds spent (on its epochs for a network) and the time budget; None if unknown.

    Examples
    --------
    >>> from mmtk.runs import read_result
    >>> result = read_result("runs/resnet18_28_seed0")
    >>> result.best_epoch, result.epochs, result.files["test"]
    (100, 100, 'breastmnist_test_[AUC]...@resnet18_28_seed0.csv')
    """

    path: Path
    metrics: dict[str, Metrics]
    images: dict[str, int]
    best_epoch: int
    epochs: int
    reused: bool
    files: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    seconds: float | None = None
    budget: float | None = None

    def _repr_html_(self) -> str:
        rows = [
            (name, self.images[name], *map(format_figure, metrics)) for name, metrics in self.metrics.items()
        ]
        return facts_table(self.path.name or str(self.path), {
            "scores": rows_table(("split", "images", "AUC", "ACC"), rows),
            "epoch": f"{self.best_epoch} of {self.epochs}" if self.epochs else "",
            "seconds": "" if self.seconds is None else f"{self.seconds:.1f}",
            "marks": " ".join(marks_of(self.synthetic, partial=False)), "folder": self.path,
        })


def check_scorable(split: Split) -> None:
    """Raise if a split cannot be scored, before time is spent on it.

    Raises
    ------
    ScoreError
        If the split is empty, or lacks a class although its store is not partial.
    """
    what = f"{split.store_path} {split.name}"
    if not len(split):
        raise ScoreError(what, "contains no images", remedy="build the store from more source data")
    scores = np.zeros((len(split), len(split.info.classes)))
    try:
        evaluate(split.labels, scores, split.info.task, allow_undefined=split.info.partial)
    except MmtkError as error:
        raise error.within(what) from None


def write_result(
    out: Path, store: Store, run: str, scores: Mapping[str, NDArray[Any]], *, best_epoch: int = 0, epochs: int = 0,
    seconds: float | None = None, budget: float | None = None,
) -> RunResult:
    """Score predictions; write the result files, then ``result.json``.

    Parameters
    ----------
    out : Path
        Folder of the run.
    store : Store
    run : str
        Its name in the result files.
    scores : mapping of str to (n, k) float array
        By split, rows in the order of the split; splits other than test are optional.
    best_epoch, epochs : int
        0 for a method without epochs.
    seconds, budget : float, optional
        Seconds spent and the time budget.

    Returns
    -------
    RunResult

    Raises
    ------
    ScoreError
        If the predictions cannot be scored.
    """
    info = store.info
    flag = edition_flag(info.flag, info.edition)
    splits: dict[str, dict[str, Any]] = {}
    for split in (split for split in store.splits if split.name in scores):
        _check_shape(run, split, np.shape(scores[split.name]))
        metrics = evaluate(split.labels, scores[split.name], info.task, allow_undefined=info.partial)
        file = write_predictions(out, flag, info.size, split.name, scores[split.name], metrics, run)
        splits[split.name] = {"images": len(split), **as_facts(metrics._asdict()), "file": file.name}
    result: dict[str, Any] = {
        "best_epoch": best_epoch, "epochs": epochs, "synthetic": info.synthetic, "splits": splits,
        **({} if seconds is None else {"seconds": seconds}), **({} if budget is None else {"budget": budget}),
    }
    result["checksum"] = _checksum(_written(out, result, reused=False))
    jsonfiles.write_object(out / RESULT, result)
    return _result(out, result, reused=False)


def _check_shape(run: str, split: Split, shape: tuple[int, ...]) -> None:
    """Raise if scores do not have the split's shape, an error that would otherwise be attributed to the labels."""
    info = split.info
    columns = {len(info.classes), 1} if info.task == Task.BINARY else {len(info.classes)}
    if len(shape) == 1 and 1 in columns:
        shape = (*shape, 1)
    if len(shape) != 2 or shape[0] != len(split) or shape[1] not in columns:
        expected = f"({len(split)}, {len(info.classes)}), a row per image and a column per class or label"
        raise ScoreError(f"{run}: scores of {split.name}", found=f"shape {shape}", expected=expected)


def read_result(out: str | Path) -> RunResult:
    """Read the result of a finished run.

    Parameters
    ----------
    out : str or path
        The run's folder.

    Returns
    -------
    RunResult

    Raises
    ------
    MmtkError
        If the run is not finished, or its result is damaged.

    Examples
    --------
    >>> from mmtk.runs import read_result
    >>> result = read_result("runs/resnet18_28_seed0")
    >>> result.metrics["test"].auc > 0.5, result.reused
    (True, True)
    """
    path = Path(out) / RESULT
    if not path.exists():
        raise MmtkError(path, "does not exist: the run is not finished", remedy="repeat the command that started it")
    return _result(Path(out), jsonfiles.read_object(path), reused=True)


@dataclass(frozen=True)
class _SplitValues:
    images: Annotated[int, Meta(ge=0)]
    auc: Share | None
    acc: Share
    file: str


@dataclass(frozen=True)
class _Values:
    best_epoch: Annotated[int, Meta(ge=0)]
    epochs: Annotated[int, Meta(ge=0)]
    synthetic: bool
    splits: dict[str, _SplitValues]
    checksum: str = ""
    seconds: Annotated[float, Meta(ge=0)] | None = None
    budget: Annotated[float, Meta(gt=0)] | None = None


def _result(out: Path, result: dict[str, Any], *, reused: bool) -> RunResult:
    """A run's result, with the seconds from its log if it has none."""
    written = _written(out, result, reused=reused)
    return written if written.seconds is not None else replace(written, seconds=_trained_seconds(out))


def _written(out: Path, result: dict[str, Any], *, reused: bool) -> RunResult:
    """The values of a ``result.json``."""
    path, remedy = out / RESULT, jsonfiles.REMOVE_FOLDER
    values = typed(path, result, _Values, remedy)
    if not {"test"} <= set(values.splits) <= set(SPLITS):
        raise MmtkError(path, "lacks the split test, or has splits other than train, val and test", remedy=remedy)
    splits = {name: values.splits[name] for name in SPLITS if name in values.splits}
    nothing = dict.fromkeys(SPLITS, Metrics(math.nan, math.nan))
    metrics = nothing | {
        name: Metrics(math.nan if split.auc is None else split.auc, split.acc) for name, split in splits.items()
    }
    images = dict.fromkeys(SPLITS, 0) | {name: split.images for name, split in splits.items()}
    files = {name: Path(split.file).name for name, split in splits.items()}  # only the name, never another folder
    if not all(file.isprintable() for file in files.values()):
        raise MmtkError(path, "a file name contains control characters", remedy=remedy)
    read = RunResult(
        out, metrics, images, values.best_epoch, values.epochs, reused, files, values.synthetic, values.seconds,
        values.budget,
    )
    checksum = _checksum(read)
    if set(result) - {field.name for field in fields(_Values)} or result.get("checksum", checksum) != checksum:
        raise MmtkError(path, "was changed after it was written: its checksum does not match", remedy=remedy)
    return read


def _trained_seconds(out: Path) -> float | None:
    """Seconds of all epochs in a network's log, validation included; None if unknown."""
    try:
        lines = (out / LOG).read_text(encoding="utf-8").splitlines()
        total = sum(float(jsonfiles.parse(line)["seconds"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return round(total, 3) if lines and 0 <= total < math.inf else None


def _checksum(result: RunResult) -> str:
    """SHA-256 of everything that cannot be checked otherwise; test figures are recomputed from the predictions.

    Figures count to five decimals, since the last digits may differ between machines.
    """
    splits = [
        f"{name} {result.images[name]} {figures.auc:.5f} {figures.acc:.5f}"
        for name, figures in result.metrics.items() if name != "test" and name in result.files
    ]
    lines = [f"{result.best_epoch} {result.epochs} {result.synthetic}", *sorted(splits)]
    if result.seconds is not None or result.budget is not None:
        lines.append(f"{result.seconds} {result.budget}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
