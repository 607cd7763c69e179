"""Finished runs as they lie in a folder: what each was, what it scored, and its test predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import store
from mmtk.datasets import get_dataset, list_datasets
from mmtk.datasets.base import Dataset, Task
from mmtk.errors import MmtkError, is_of_machine
from mmtk.scoring import Metrics, evaluate, evaluate_file, read_predictions
from mmtk.training.checkpoints import CONFIG, LOG, RESULT
from mmtk.training.epochs import figures_of
from mmtk.training.evaluation import check_figures
from mmtk.training.jsonfiles import AGAIN, field, parse, read_object, read_text
from mmtk.training.results import RunResult, read_result

_MODELS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
_APART = ("seed", "store", "device", "made_with")  # what does not tell one set-up from another


@dataclass(frozen=True)
class Setup:
    """How runs were made, whatever their dataset and seed.

    Attributes
    ----------
    values : tuple of (str, value)
        All that the configurations say, by dotted names.
    title : str
    shortened : str
        "2 of 100 epochs" where there were fewer than the protocol has.
    """

    values: tuple[tuple[str, Any], ...]
    title: str
    shortened: str = ""


@dataclass(frozen=True, eq=False)
class Tested:
    """Test predictions with what they should have been; `images` is None where no store shows them."""

    labels: NDArray[Any]
    scores: NDArray[np.float64]
    subjects: NDArray[Any] | None
    task: str
    classes: tuple[str, ...]
    images: store.Images | None


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes
    ----------
    folder : its folder below that of all runs
    result : figures and number of images of each split
    log : a line an epoch, empty for what is not trained by epochs
    tested : Tested or None
        None where neither a store nor the prediction file tells the labels.
    """

    folder: str
    dataset: Dataset
    size: int
    setup: Setup
    seed: int
    result: RunResult
    synthetic: bool
    partial: bool
    content: str
    device: str
    made_with: tuple[tuple[str, str], ...]
    log: tuple[dict[str, Any], ...]
    tested: Tested | None

    @property
    def test(self) -> Metrics:
        return self.result.metrics["test"]

    @property
    def marks(self) -> tuple[str, ...]:
        """Why its images are not those of the paper, if so."""
        found = tuple(word for word, on in (("synthetic", self.synthetic), ("partial", self.partial)) if on)
        other = self.result.images["test"] != self.dataset.counts["2020"].test
        return found or (("other test images",) if other else ())


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
        In the order of the paper's datasets, then by set-up and seed.
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
    folders = sorted(path.parent for path in base.rglob(RESULT))
    if not folders:
        raise MmtkError(base, expected="finished runs", found="none", remedy="mmtk decathlon or mmtk train makes some")
    unfinished = [_name(path.parent, base) for path in sorted(base.rglob(CONFIG)) if path.parent not in set(folders)]
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
    order = {dataset.flag: place for place, dataset in enumerate(list_datasets())}
    setups = {setup: place for place, setup in enumerate(setups_of(found))}
    return sorted(found, key=lambda r: (order[r.dataset.flag], setups[r.setup], r.seed)), unfinished


def setups_of(runs: Iterable[Run]) -> list[Setup]:
    """The set-ups of runs: those with a network first, by title."""
    return sorted({run.setup for run in runs}, key=lambda setup: ("method" in dict(setup.values), setup.title))


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
    """The run with the best validation AUC, or ACC where that is undefined, the first of equals."""

    def merit(run: Run) -> tuple[float, float]:
        val = run.result.metrics["val"]
        return (-1.0, val.acc) if np.isnan(val.auc) else (val.auc, 0.0)

    return max(runs, key=merit)


def store_path(stores: str | Path, flag: str, size: int) -> Path:
    """Where the store of a dataset and size lies."""
    return Path(stores) / f"{flag}_{size}.h5"


# ------------------------------------------------------------------------------ reading


def _name(folder: Path, base: Path) -> str:
    return folder.relative_to(base).as_posix()


def _of_system(error: OSError, folder: Path) -> MmtkError:
    """An error of the system, told as it is."""
    return MmtkError(f"{error.filename or folder}: {error.strerror or error}")


def _read(folder: Path, base: Path, stores: str | Path | None, digests: dict[Path, str]) -> Run:
    where = folder / CONFIG
    if not where.exists():
        raise MmtkError(where, expected="the configuration of a run", found="none", remedy=AGAIN)
    config, result = read_object(where), read_result(folder)
    try:
        about = field(config, "store", "a table")
        dataset, size = get_dataset(field(about, "flag", "text")), field(about, "size", "a whole number")
        setup, seed = _setup(config, size), field(config, "seed", "a whole number")
        made = field(config, "made_with", "a table") if "made_with" in config else {}
        made_with = tuple((str(k), str(v)) for k, v in made.items() if v is not None)
        run = Run(
            _name(folder, base), dataset, size, setup, seed, result, result.synthetic,
            bool(about.get("partial", False)), str(about.get("content", "")), str(config.get("device", "")), made_with,
            tuple(_log(folder / LOG)), None,
        )
    except (ValueError, RecursionError) as error:
        if isinstance(error, MmtkError):
            raise
        reason = str(error) if isinstance(error, ValueError) else "values nested too deeply"
        raise MmtkError(where, expected="the configuration of a run", found=reason, remedy=AGAIN) from None
    return _scored(run, folder / result.files["test"], stores, digests)


def _log(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for number, line in enumerate(read_text(path, "figures of epochs").splitlines(), 1):
        try:
            yield figures_of(parse(line))
        except ValueError as error:
            what, expected = f"{path} line {number}", "figures of an epoch"
            raise MmtkError(what, expected=expected, found=str(error), remedy=AGAIN) from None


def _setup(config: dict[str, Any], size: int) -> Setup:
    values = dict(_flat({name: value for name, value in config.items() if name not in _APART}))
    values["store.size"] = size
    if "method" in config:
        # seconds, or a share of what the paper gave
        budget = f", {field(config, 'budget', 'a number'):g} s" if "budget" in config else ""
        budget += f", {field(config, 'share', 'a number'):.3g} of the paper's time" if "share" in config else ""
        return Setup(tuple(sorted(values.items())), f"{field(config, 'method', 'text')}{budget}")
    name = field(config, "model", "text")
    epochs = usual = field(config, "epochs", "a whole number")
    if isinstance(config.get("protocol"), dict):
        protocol = field(config["protocol"], "name", "text")
        usual = field(config["protocol"], "epochs", "a whole number")
    else:
        protocol = field(config, "protocol", "text")
    resolution = field(config, "resolution", "a whole number") if "resolution" in config else size
    title = f"{_MODELS.get(name, name)} ({resolution}), {protocol}"
    return Setup(tuple(sorted(values.items())), title, f"{epochs} of {usual} epochs" if epochs < usual else "")


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value) if isinstance(value, list) else value


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
        first = seen.setdefault((run.dataset.flag, run.setup, run.seed), run)
        if first is not run:
            found = f"the run of {first.folder} again, of the same store, set-up and seed"
            raise MmtkError(base / run.folder, expected="each run once", found=found, remedy="move one of them away")
        kin = seen.setdefault((run.dataset.flag, run.size), run)
        if run.content and kin.content and run.content != kin.content:
            found = f"one on another {run.dataset.flag} store than {kin.folder}"
            remedy = "give a folder in which the runs of a dataset are of one store"
            raise MmtkError(base / run.folder, expected="runs on the same images", found=found, remedy=remedy)


def _scored(run: Run, file: Path, stores: str | Path | None, digests: dict[Path, str]) -> Run:
    """Add the test predictions; check that they are those the result was made from."""
    path = store_path(stores, run.dataset.flag, run.size) if stores is not None else None
    predictions = read_predictions(file)
    if (predictions.flag, predictions.size, predictions.split) != (run.dataset.flag, run.size, "test"):
        found = f"{predictions.flag} {predictions.size} {predictions.split}"
        raise MmtkError(file, expected=f"predictions of {run.dataset.flag} {run.size} test", found=found)
    images = run.result.images["test"]
    if len(predictions.scores) != images:
        raise MmtkError(file, expected=f"{images} rows, as in {RESULT}", found=str(len(predictions.scores)))
    if path is None or not path.exists():
        if predictions.labels is None:
            return run
        dataset = run.dataset
        tested = Tested(predictions.labels, predictions.scores, None, dataset.task, dataset.classes, None)
        _check_own(file, tested, run)
        return replace(run, tested=tested)
    opened = store.open(path)
    if run.content:
        if path not in digests:
            digests[path] = opened.content_digest()
        if digests[path] != run.content:
            remedy = "give --stores the folder of the stores that were trained on"
            raise MmtkError(
                file.with_name(CONFIG), expected=f"the images of {path}", found="a run on other images", remedy=remedy
            )
    scored = evaluate_file(file, stores or "")
    check_figures(file, scored.metrics, run.test)
    shown = None if scored.own_order else opened.test.images
    tested = Tested(scored.labels, predictions.scores, scored.subjects, opened.info.task, opened.info.classes, shown)
    return replace(run, tested=tested, synthetic=opened.info.synthetic, partial=opened.info.partial)


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
