"""Finished runs as they lie in a folder: what each was, what it scored, and its test predictions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import store
from mmtk.datasets import TEN, find_dataset, get_dataset
from mmtk.datasets.base import Dataset, Task
from mmtk.errors import MmtkError, is_of_machine
from mmtk.files import is_temporary
from mmtk.runs.config import RunConfig, Setup
from mmtk.runs.epochs import figures_of
from mmtk.runs.evaluation import check_figures, check_predictions, score_tests
from mmtk.runs.folder import CONFIG, LOG, RESULT, WORK
from mmtk.runs.jsonfiles import AGAIN, parse, read_text
from mmtk.runs.results import RunResult, read_result
from mmtk.runs.sets import table_order
from mmtk.scoring import Metrics, evaluate, read_predictions


@dataclass(frozen=True, eq=False)
class Tested:
    """Test predictions with what they should have been; `images`, of `ndim`, is None where no store shows them."""

    labels: NDArray[Any]
    scores: NDArray[np.float64]
    subjects: NDArray[Any] | None
    task: str
    classes: tuple[str, ...]
    images: store.Images | None
    ndim: int = 2


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : its folder below that of all runs
    dataset : Dataset or StoreInfo
        One of the ten as mmtk knows it, another as its store tells, or else as it is registered.
    setup : Setup
        Titles of set-ups that would share one tell also what tells them apart.
    result : figures and number of images of each split
    log : a line an epoch, empty for what is not trained by epochs
    tested : Tested or None
        None where neither a store nor the prediction file tells the labels.
    """

    folder: str
    dataset: Dataset | store.StoreInfo
    config: RunConfig
    setup: Setup
    result: RunResult
    log: tuple[dict[str, Any], ...]
    tested: Tested | None
    synthetic: bool
    partial: bool
    unpublished: bool = False

    @property
    def test(self) -> Metrics:
        return self.result.metrics["test"]

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def made_with(self) -> tuple[tuple[str, str], ...]:
        """Versions and machine, what is not known left out."""
        return tuple((str(name), str(value)) for name, value in self.config.made_with.items() if value is not None)

    @property
    def marks(self) -> tuple[str, ...]:
        """Why its images are not those of the paper, if so."""
        marks = {"synthetic": self.synthetic, "partial": self.partial, "unpublished": self.unpublished}
        found = tuple(mark for mark, holds in marks.items() if holds)
        flag = self.dataset.flag
        other = flag in TEN and self.result.images["test"] != get_dataset(flag).counts["2020"].test
        return found or (("other test images",) if other else ())


def _is_own(folder: Path, base: Path) -> bool:
    """Whether a folder below `base` is what a command keeps while it works, and not a run."""
    inside = (folder, *folder.parents)[: len(folder.relative_to(base).parts)]
    return any(place.name == WORK and (place.parent / CONFIG).exists() for place in inside)


def find_runs(
    runs: str | Path, stores: str | Path | None = None, refused: Callable[[MmtkError], None] | None = None
) -> tuple[list[Run], list[str]]:
    """Read every finished run below a folder, and name those that are not finished.

    Parameters
    ----------
    runs : path
    stores : path, optional
        Folder of stores; runs of those that are there are scored anew.
    refused : callable, optional
        Told why a run is left out that cannot be read, is damaged, or does not fit its store.

    Returns
    -------
    runs : list of Run
        In the order of the paper's datasets, then of those that MedMNIST added, others after them by flag; then by
        set-up and seed.
    unfinished : list of str

    Raises
    ------
    MmtkError
        If there is no finished run that can be shown, or one is there twice; without `refused` also instead of
        leaving one out.
    """
    base = Path(runs)
    if not base.is_dir():
        raise MmtkError(base, expected="a folder of runs", found="none")
    if stores is not None and not Path(stores).is_dir():
        raise MmtkError(stores, expected="a folder of stores", found="none")
    folders = sorted(
        path.parent for path in base.rglob(RESULT) if not (is_temporary(path.parent) or _is_own(path.parent, base))
    )
    if not folders:
        raise MmtkError(base, expected="finished runs", found="none", remedy="mmtk decathlon or mmtk train makes some")
    unfinished = [
        _name(path.parent, base) for path in sorted(base.rglob(CONFIG))
        if path.parent not in set(folders) and not _is_own(path.parent, base)
    ]
    digests: dict[Path, str] = {}
    whole, bad = [], []
    for folder in folders:
        try:
            whole.append(_read(folder, base, stores, digests))
        except (MmtkError, OSError) as error:
            # the run may be whole, and a page without it would be wrong
            if isinstance(error, OSError) and is_of_machine(error):
                raise _of_system(error, folder) from None
            bad.append(error if isinstance(error, MmtkError) else _of_system(error, folder))
    if bad and not (whole and refused):
        raise bad[0]
    if refused:
        for left_out in bad:
            refused(left_out)
    found = _titled(whole)
    _check_distinct(base, found)
    setups = {setup: place for place, setup in enumerate(setups_of(found))}

    def place(run: Run) -> tuple[int, str, int, int]:
        return *table_order(run.dataset.flag), setups[run.setup], run.seed

    return sorted(found, key=place), unfinished


def setups_of(runs: Iterable[Run]) -> list[Setup]:
    """The set-ups of runs: those with a network first, by title."""
    return sorted({run.setup for run in runs}, key=lambda setup: (not setup.is_network, setup.title))


def by_flag(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of each dataset, in the order they come."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.dataset.flag].append(run)
    return dict(groups)


def by_setup(runs: Iterable[Run]) -> dict[Setup, list[Run]]:
    """Runs of each set-up, in the order they come."""
    groups: dict[Setup, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.setup].append(run)
    return dict(groups)


def foremost(runs: Iterable[Run]) -> Run:
    """The run with the best validation AUC, or ACC where that is undefined, the first of equals.

    Those without validation figures come last.
    """

    def merit(run: Run) -> tuple[float, float]:
        val = run.result.metrics["val"]
        if np.isnan(val.acc):
            return -2.0, 0.0
        return (-1.0, val.acc) if np.isnan(val.auc) else (val.auc, 0.0)

    return max(runs, key=merit)


# ------------------------------------------------------------------------------ reading


def _name(folder: Path, base: Path) -> str:
    return folder.relative_to(base).as_posix()


def _of_system(error: OSError, folder: Path) -> MmtkError:
    """An error of the system, told as it is."""
    return MmtkError(f"{error.filename or folder}: {error.strerror or error}")


def _read(folder: Path, base: Path, stores: str | Path | None, digests: dict[Path, str]) -> Run:
    config = RunConfig.read(folder / CONFIG)
    result, about = read_result(folder), config.store
    path = None if stores is None else store.store_path(stores, about.flag, about.size)
    opened = store.open(path) if path is not None and path.exists() else None
    dataset = opened.info if opened and about.flag not in TEN else find_dataset(about.flag)
    if dataset is None:
        remedy = "give --stores the folder with its store, which tells what it is"
        raise MmtkError(folder / CONFIG, expected="a dataset that mmtk knows", found=about.flag, remedy=remedy)
    run = Run(
        _name(folder, base), dataset, config, config.setup, result, tuple(_log(folder / LOG)), None, result.synthetic,
        about.partial, about.unpublished,
    )
    return _unscored(run) if opened is None else _scored(run, opened, digests)


def _log(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for number, line in enumerate(read_text(path, "figures of epochs").splitlines(), 1):
        what = f"{path} line {number}"
        try:
            values = parse(line)
        except ValueError as error:
            raise MmtkError(what, expected="figures of an epoch", found=str(error), remedy=AGAIN) from None
        yield figures_of(what, values)


def _titled(runs: list[Run]) -> list[Run]:
    """Add to the titles of set-ups that would share one what tells them apart."""
    same: dict[str, set[Setup]] = defaultdict(set)
    for run in runs:
        same[run.setup.title].add(run.setup)

    def title(setup: Setup) -> str:
        others = [dict(other.values) for other in same[setup.title]]
        mine = dict(setup.values)
        names = sorted({name for other in others for name in other})
        apart = [name for name in names if len({str(other.get(name)) for other in others}) > 1]
        return ", ".join([setup.title, *(f"{name} {mine.get(name)}" for name in apart)])

    return [replace(run, setup=replace(run.setup, title=title(run.setup))) for run in runs]


def _check_distinct(base: Path, runs: list[Run]) -> None:
    seen: dict[Any, Run] = {}
    for run in runs:
        mine = run.config.store
        kin = seen.setdefault((run.dataset.flag, mine.size), run)
        theirs = kin.config.store
        if mine.content and theirs.content and mine.content != theirs.content:
            found = f"one on another {run.dataset.flag} store than {kin.folder}"
            remedy = "give a folder in which the runs of a dataset are of one store"
            raise MmtkError(base / run.folder, expected="runs on the same images", found=found, remedy=remedy)
        first = seen.setdefault((run.dataset.flag, run.setup, run.seed), run)
        if first is not run:
            found = f"the run of {first.folder} again, of the same store, set-up and seed"
            raise MmtkError(base / run.folder, expected="each run once", found=found, remedy="move one of them away")


def _scored(run: Run, opened: store.Store, digests: dict[Path, str]) -> Run:
    """Add the test predictions and what they should have been, by the store that was trained on."""
    content, path = run.config.store.content, opened.path
    if content:
        if path not in digests:
            digests[path] = opened.content_digest()
        if digests[path] != content:
            remedy = "give --stores the folder of the stores that were trained on"
            where = run.result.path / CONFIG
            raise MmtkError(where, expected=f"the images of {path}", found="a run on other images", remedy=remedy)
    info = opened.info
    scored = score_tests(run.result, info.flag, info.size, path.parent)
    images = None if scored.own_order else opened.test.images
    scores, subjects = scored.predictions.scores, scored.subjects
    tested = Tested(scored.labels, scores, subjects, info.task, info.classes, images, info.ndim)
    return replace(run, tested=tested, synthetic=info.synthetic, partial=info.partial, unpublished=info.unpublished)


def _unscored(run: Run) -> Run:
    """Add the test predictions where their file tells the true labels, since no store is there."""
    result, dataset = run.result, run.dataset
    file = result.path / result.files["test"]
    predictions = read_predictions(file)
    check_predictions(file, predictions, dataset.flag, run.config.store.size, result)
    if predictions.labels is None:
        return run
    tested = Tested(predictions.labels, predictions.scores, None, dataset.task, dataset.classes, None)
    _check_own(file, tested, run)
    return replace(run, tested=tested)


def _check_own(file: Path, tested: Tested, run: Run) -> None:
    """Check predictions by the labels in their own file, where there is no store."""
    columns, classes = tested.scores.shape[1], len(tested.classes)
    if columns != classes and (columns, tested.task) != (1, Task.BINARY):
        raise MmtkError(file, expected=f"{classes} scores in a row", found=str(columns))
    try:
        metrics = evaluate(tested.labels, tested.scores, tested.task, allow_undefined=run.partial)
    except MmtkError as error:
        raise MmtkError(f"{file}: {error.what}", expected=error.expected, found=error.found) from None
    check_figures(file, metrics, run.test)
