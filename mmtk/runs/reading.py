"""Read the finished runs in a folder: configuration, results and test predictions of each."""

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
from mmtk.runs.jsonfiles import REMOVE_FOLDER, parse, read_text
from mmtk.runs.results import RunResult, read_result
from mmtk.runs.sets import table_order
from mmtk.scoring import Metrics, evaluate, read_predictions


@dataclass(frozen=True, eq=False)
class LabelledPredictions:
    """Test predictions with their true labels; `images`, of dimension `ndim`, is None without a store."""

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
    folder : str
        The run's folder, relative to that of all runs.
    dataset : Dataset or StoreInfo
        The registered dataset for the paper's ten; for others the store's facts, or without a store the registered one.
    config : RunConfig
    setup : Setup
        Set-ups whose titles would be equal have their differences added.
    result : RunResult
        Figures and number of images of each split.
    log : tuple of dict
        One per epoch, with its figures; empty if the method has no epochs.
    predictions : LabelledPredictions or None
        Test predictions; None if neither a store nor the prediction file has the labels.
    synthetic, partial, unpublished : bool
        Marks of the store.

    Examples
    --------
    >>> from mmtk.runs import find_runs
    >>> run = find_runs("runs", "stores")[0][0]
    >>> run.folder, run.dataset.flag, run.seed, run.marks
    ('resnet18_28_seed0', 'breastmnist', 0, ('synthetic',))
    """

    folder: str
    dataset: Dataset | store.StoreInfo
    config: RunConfig
    setup: Setup
    result: RunResult
    log: tuple[dict[str, Any], ...]
    predictions: LabelledPredictions | None
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
        """Versions and machine, without unknown values."""
        return tuple((str(name), str(value)) for name, value in self.config.made_with.items() if value is not None)

    @property
    def marks(self) -> tuple[str, ...]:
        """Why its images are not those of the paper; empty if they are."""
        flags = {"synthetic": self.synthetic, "partial": self.partial, "unpublished": self.unpublished}
        marks = tuple(mark for mark, is_set in flags.items() if is_set)
        flag = self.dataset.flag
        other = flag in TEN and self.result.images["test"] != get_dataset(flag).counts["2020"].test
        return marks or (("other test images",) if other else ())


def _is_own(folder: Path, base: Path) -> bool:
    """Whether a folder below `base` is inside the working folder of a command, so not a run."""
    inside = (folder, *folder.parents)[: len(folder.relative_to(base).parts)]
    return any(place.name == WORK and (place.parent / CONFIG).exists() for place in inside)


def find_runs(
    runs: str | Path, stores: str | Path | None = None, refused: Callable[[MmtkError], None] | None = None
) -> tuple[list[Run], list[str]]:
    """Read every finished run below a folder, and list the unfinished ones.

    Parameters
    ----------
    runs : str or path
        Folder of the runs, at any depth.
    stores : str or path, optional
        Folder of stores; runs whose store is in it are scored again.
    refused : callable, optional
        Called with the error of each run that is skipped because it cannot be read, is damaged, or does not match its
        store.

    Returns
    -------
    runs : list of Run
        By dataset (the paper's ten, those that MedMNIST added later, then others by flag), set-up and seed.
    unfinished : list of str
        Folders of unfinished runs, relative to `runs`.

    Raises
    ------
    MmtkError
        If there is no valid finished run, or one exists twice; without `refused` also if a run would be skipped.

    Examples
    --------
    >>> from mmtk.runs import find_runs
    >>> runs, unfinished = find_runs("runs", "stores")
    >>> [run.setup.title for run in runs], unfinished
    (['ResNet-18 (28), isbi21', 'ResNet-50 (28), isbi21'], [])
    """
    base = Path(runs)
    if not base.is_dir():
        raise MmtkError(base, "is not a folder of runs" if base.exists() else "the folder of runs does not exist")
    if stores is not None and not Path(stores).is_dir():
        problem = "is not a folder of stores" if Path(stores).exists() else "the folder of stores does not exist"
        raise MmtkError(stores, problem)
    folders = sorted(
        path.parent for path in base.rglob(RESULT) if not (is_temporary(path.parent) or _is_own(path.parent, base))
    )
    if not folders:
        raise MmtkError(base, "contains no finished run", remedy="make some with mmtk decathlon or mmtk train")
    unfinished = [
        _name(path.parent, base) for path in sorted(base.rglob(CONFIG))
        if path.parent not in set(folders) and not _is_own(path.parent, base)
    ]
    digests: dict[Path, str] = {}
    valid: list[Run] = []
    bad: list[MmtkError] = []
    for folder in folders:
        try:
            valid.append(_read(folder, base, stores, digests))
        except (MmtkError, OSError) as error:
            # the run may be intact, and a page without it would be wrong
            if isinstance(error, OSError) and is_of_machine(error):
                raise _of_system(error, folder) from None
            bad.append(error if isinstance(error, MmtkError) else _of_system(error, folder))
    if bad and not (valid and refused):
        raise bad[0]
    if refused:
        for skipped in bad:
            refused(skipped)
    titled = _titled(valid)
    _check_distinct(base, titled)
    setups = {setup: place for place, setup in enumerate(setups_of(titled))}

    def place(run: Run) -> tuple[int, str, int, int]:
        return *table_order(run.dataset.flag), setups[run.setup], run.seed

    return sorted(titled, key=place), unfinished


def setups_of(runs: Iterable[Run]) -> list[Setup]:
    """Return the set-ups of runs: networks first, then by title."""
    return sorted({run.setup for run in runs}, key=lambda setup: (not setup.is_network, setup.title))


def by_flag(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by dataset, in their order."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.dataset.flag].append(run)
    return dict(groups)


def by_setup(runs: Iterable[Run]) -> dict[Setup, list[Run]]:
    """Group runs by set-up, in their order."""
    groups: dict[Setup, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.setup].append(run)
    return dict(groups)


def best_run(runs: Iterable[Run]) -> Run:
    """Return the run with the best validation AUC, or ACC if that is undefined, the first in case of ties.

    Runs without validation figures rank last.
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
    """Convert a system error."""
    return MmtkError(f"{error.filename or folder}: {error.strerror or error}")


def _read(folder: Path, base: Path, stores: str | Path | None, digests: dict[Path, str]) -> Run:
    config = RunConfig.read(folder / CONFIG)
    result, about = read_result(folder), config.store
    path = None if stores is None else store.store_path(stores, about.flag, about.size)
    opened = store.open(path) if path is not None and path.exists() else None
    dataset = opened.info if opened and about.flag not in TEN else find_dataset(about.flag)
    if dataset is None:
        problem, remedy = f"the dataset {about.flag} is unknown", "use --stores to name the folder with its store"
        raise MmtkError(folder / CONFIG, problem, remedy=remedy)
    run = Run(
        _name(folder, base), dataset, config, config.setup, result, tuple(_log(folder / LOG)), None, result.synthetic,
        about.partial, about.unpublished,
    )
    return _unscored(run) if opened is None else _scored(run, opened, digests)


def _log(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for number, line in enumerate(read_text(path).splitlines(), 1):
        what = f"{path} line {number}"
        try:
            values = parse(line)
        except ValueError as error:
            raise MmtkError(what, f"is not valid JSON: {error}", remedy=REMOVE_FOLDER) from None
        yield figures_of(what, values)


def _titled(runs: list[Run]) -> list[Run]:
    """Add their differences to the titles of set-ups that would otherwise be equal."""
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
        sibling = seen.setdefault((run.dataset.flag, mine.size), run)
        theirs = sibling.config.store
        if mine.content and theirs.content and mine.content != theirs.content:
            problem = f"was made from another {run.dataset.flag} store than {sibling.folder}"
            remedy = "use a folder in which all runs of a dataset are from one store"
            raise MmtkError(base / run.folder, problem, remedy=remedy)
        first = seen.setdefault((run.dataset.flag, run.setup, run.seed), run)
        if first is not run:
            problem = f"is a duplicate of {first.folder}: same store, set-up and seed"
            raise MmtkError(base / run.folder, problem, remedy="move one of them elsewhere")


def _scored(run: Run, opened: store.Store, digests: dict[Path, str]) -> Run:
    """Add the test predictions with true labels from the store that the run was made from."""
    content, path = run.config.store.content, opened.path
    if content:
        if path not in digests:
            digests[path] = opened.content_digest()
        if digests[path] != content:
            problem = f"the run was made from other images than those of {path}"
            remedy = "use --stores to name the folder of the stores it was made from"
            raise MmtkError(run.result.path / CONFIG, problem, remedy=remedy)
    info = opened.info
    scored = score_tests(run.result, info.flag, info.size, path.parent)
    images = None if scored.own_order else opened.test.images
    scores, subjects = scored.predictions.scores, scored.subjects
    predictions = LabelledPredictions(scored.labels, scores, subjects, info.task, info.classes, images, info.ndim)
    return replace(
        run, predictions=predictions, synthetic=info.synthetic, partial=info.partial, unpublished=info.unpublished
    )


def _unscored(run: Run) -> Run:
    """Add the test predictions without a store, if their file has the true labels."""
    result, dataset = run.result, run.dataset
    path = result.path / result.files["test"]
    file = read_predictions(path)
    check_predictions(path, file, dataset.flag, run.config.store.size, result)
    if file.labels is None:
        return run
    predictions = LabelledPredictions(file.labels, file.scores, None, dataset.task, dataset.classes, None)
    _check_own(path, predictions, run)
    return replace(run, predictions=predictions)


def _check_own(file: Path, predictions: LabelledPredictions, run: Run) -> None:
    """Check predictions against the labels in their own file, without a store."""
    columns, classes = predictions.scores.shape[1], len(predictions.classes)
    if columns != classes and (columns, predictions.task) != (1, Task.BINARY):
        raise MmtkError(file, found=f"{columns} scores per row", expected=str(classes))
    try:
        metrics = evaluate(predictions.labels, predictions.scores, predictions.task, allow_undefined=run.partial)
    except MmtkError as error:
        raise error.within(file) from None
    check_figures(file, metrics, run.test)
