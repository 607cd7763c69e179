"""What a finished run leaves: a result file of predictions for each split, and ``result.json``, written last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk.datasets import edition_flag
from mmtk.errors import MmtkError
from mmtk.scoring import Metrics, evaluate, write_predictions
from mmtk.store import Split, Store
from mmtk.training import checkpoints


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes
    ----------
    path : its folder
    metrics : AUC and ACC of the best epoch, by split
    images : number of images, by split
    best_epoch : the epoch with the best validation AUC, from 1
    epochs : how many were trained
    reused : the run was finished before and has been left alone
    """

    path: Path
    metrics: dict[str, Metrics]
    images: dict[str, int]
    best_epoch: int
    epochs: int
    reused: bool


def check_scorable(split: Split) -> None:
    """Refuse a split whose AUC is not defined before time is spent on it.

    Raises
    ------
    ScoreError
        If a class is missing in it.
    """
    try:
        evaluate(split.labels, np.zeros((len(split), len(split.info.classes))), split.info.task)
    except MmtkError as error:
        what = f"{split.store_path} {split.name} {error.what}"
        raise type(error)(what, expected=error.expected, found=error.found, remedy=error.remedy) from None


def write_result(
    out: Path, store: Store, run: str, scores: Mapping[str, NDArray[Any]], *, best_epoch: int = 0, epochs: int = 0
) -> RunResult:
    """Score predictions of every split; write the result files, then the result.

    Parameters
    ----------
    out : path
        Folder of the run.
    store : Store
    run : str
        Its name in the result files.
    scores : mapping of split to (n, k) array
        Rows in the order of the split.
    best_epoch, epochs : int
        0 for what is not trained by epochs.

    Raises
    ------
    ScoreError
        If predictions cannot be scored.
    """
    info = store.info
    flag = edition_flag(info.flag, info.edition)
    splits: dict[str, dict[str, Any]] = {}
    for split in store.splits:
        metrics = evaluate(split.labels, scores[split.name], info.task)
        file = write_predictions(out, flag, info.size, split.name, scores[split.name], metrics, run)
        splits[split.name] = {"images": len(split), "auc": metrics.auc, "acc": metrics.acc, "file": file.name}
    result = {"best_epoch": best_epoch, "epochs": epochs, "synthetic": info.synthetic, "splits": splits}
    checkpoints.write_text(out / checkpoints.RESULT, json.dumps(result, indent=2) + "\n")
    return _result(out, result, reused=False)


def read_result(out: str | Path) -> RunResult:
    """The result of a finished run.

    Raises
    ------
    MmtkError
        If the run is not finished, or its result is damaged.
    """
    path = Path(out) / checkpoints.RESULT
    if not path.is_file():
        raise MmtkError(path, expected="a finished run", found="no result", remedy="give the same command again")
    return _result(Path(out), checkpoints.read_json(path), reused=True)


def _result(out: Path, result: dict[str, Any], *, reused: bool) -> RunResult:
    splits = result["splits"]
    return RunResult(
        path=out,
        metrics={name: Metrics(values["auc"], values["acc"]) for name, values in splits.items()},
        images={name: values["images"] for name, values in splits.items()},
        best_epoch=result["best_epoch"],
        epochs=result["epochs"],
        reused=reused,
    )
