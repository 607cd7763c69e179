"""What a finished run leaves: a result file of predictions for each split, and ``result.json``, written last."""

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
from mmtk.scoring import Metrics, as_facts, evaluate, shown, write_predictions
from mmtk.store import Split, Store
from mmtk.values import typed


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    path : its folder
    metrics : AUC and ACC of the best epoch, by split; an AUC is NaN where a partial store lacks a class, and both are
        where there are no predictions
    images : number of images with predictions, by split
    best_epoch : the epoch with the best validation AUC, or where that is undefined the lowest loss, from 1
    epochs : how many were trained
    reused : the run was finished before and has been left alone
    files : name of the result file, by split; those made elsewhere may lack all but the test images'
    synthetic : the store's images were
    seconds, budget : float or None
        What a method really spent, a network on its epochs, and what it had; None where that is not known.
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
        rows = [(name, self.images[name], shown(auc), shown(acc)) for name, (auc, acc) in self.metrics.items()]
        return facts_table(self.path.name or str(self.path), {
            "scores": rows_table(("split", "images", "AUC", "ACC"), rows),
            "epoch": f"{self.best_epoch} of {self.epochs}" if self.epochs else "",
            "seconds": "" if self.seconds is None else f"{self.seconds:.1f}",
            "marks": " ".join(marks_of(self.synthetic, partial=False)), "folder": self.path,
        })


def check_scorable(split: Split) -> None:
    """Refuse a split that cannot be scored before time is spent on it.

    Raises
    ------
    ScoreError
        If it is empty, or a class is missing in it though its store is whole.
    """
    if not len(split):
        what, remedy = f"{split.store_path} {split.name}", "build the store from more of the sources"
        raise ScoreError(what, expected="at least one image", found="none", remedy=remedy)
    scores = np.zeros((len(split), len(split.info.classes)))
    try:
        evaluate(split.labels, scores, split.info.task, allow_undefined=split.info.partial)
    except MmtkError as error:
        what = f"{split.store_path} {split.name} {error.what}"
        raise type(error)(what, expected=error.expected, found=error.found, remedy=error.remedy) from None


def write_result(
    out: Path, store: Store, run: str, scores: Mapping[str, NDArray[Any]], *, best_epoch: int = 0, epochs: int = 0,
    seconds: float | None = None, budget: float | None = None,
) -> RunResult:
    """Score predictions; write the result files, then the result.

    Parameters
    ----------
    out : path
        Folder of the run.
    store : Store
    run : str
        Its name in the result files.
    scores : mapping of split to (n, k) array
        Rows in the order of the split; of every split, or of those that are known, test among them.
    best_epoch, epochs : int
        0 for what is not trained by epochs.
    seconds, budget : float, optional
        What a method spent and had.

    Raises
    ------
    ScoreError
        If predictions cannot be scored.
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
    """Refuse scores of another shape than the split's, which else would be blamed on labels."""
    info = split.info
    columns = {len(info.classes), 1} if info.task == Task.BINARY else {len(info.classes)}
    if len(shape) == 1 and 1 in columns:
        shape = (*shape, 1)
    if len(shape) != 2 or shape[0] != len(split) or shape[1] not in columns:
        expected = f"shape ({len(split)}, {len(info.classes)}), an image a row and a class or label a column"
        raise ScoreError(f"{run}: scores of {split.name}", expected=expected, found=f"shape {shape}")


def read_result(out: str | Path) -> RunResult:
    """The result of a finished run.

    Raises
    ------
    MmtkError
        If the run is not finished, or its result is damaged.
    """
    path = Path(out) / RESULT
    if not path.exists():
        raise MmtkError(path, expected="a finished run", found="no result", remedy="give the same command again")
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
    """A run's result with the seconds that its log tells."""
    written = _written(out, result, reused=reused)
    return written if written.seconds is not None else replace(written, seconds=_trained_seconds(out))


def _written(out: Path, result: dict[str, Any], *, reused: bool) -> RunResult:
    """The values of a ``result.json``."""
    path, remedy = out / RESULT, jsonfiles.AGAIN
    values = typed(path, result, _Values, remedy)
    if not {"test"} <= set(values.splits) <= set(SPLITS):
        raise MmtkError(path, expected=f"splits {', '.join(SPLITS)}", found="others", remedy=remedy)
    told = {name: values.splits[name] for name in SPLITS if name in values.splits}
    nothing = dict.fromkeys(SPLITS, Metrics(math.nan, math.nan))
    metrics = nothing | {n: Metrics(math.nan if one.auc is None else one.auc, one.acc) for n, one in told.items()}
    images = dict.fromkeys(SPLITS, 0) | {name: one.images for name, one in told.items()}
    files = {name: Path(one.file).name for name, one in told.items()}  # a name, so that it leads nowhere else
    if not all(file.isprintable() for file in files.values()):
        raise MmtkError(path, expected="names of files", found="control characters", remedy=remedy)
    read = RunResult(
        out, metrics, images, values.best_epoch, values.epochs, reused, files, values.synthetic, values.seconds,
        values.budget,
    )
    checksum = _checksum(read)
    if set(result) - {field.name for field in fields(_Values)} or result.get("checksum", checksum) != checksum:
        expected = "the result of a run"
        raise MmtkError(path, expected=expected, found="other values than were written", remedy=remedy)
    return read


def _trained_seconds(out: Path) -> float | None:
    """Seconds of all epochs by a network's log, validation included; None where it does not tell."""
    try:
        lines = (out / LOG).read_text(encoding="utf-8").splitlines()
        total = sum(float(jsonfiles.parse(line)["seconds"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return round(total, 3) if lines and 0 <= total < math.inf else None


def _checksum(result: RunResult) -> str:
    """SHA-256 of what nothing else proves: figures of test are computed again from the predictions.

    They count to five places, since another machine may compute other last ones.
    """
    splits = [
        f"{name} {result.images[name]} {figures.auc:.5f} {figures.acc:.5f}"
        for name, figures in result.metrics.items() if name != "test" and name in result.files
    ]
    lines = [f"{result.best_epoch} {result.epochs} {result.synthetic}", *sorted(splits)]
    if result.seconds is not None or result.budget is not None:
        lines.append(f"{result.seconds} {result.budget}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
