"""Finished runs as they lie in a folder: what each was, what it scored, and its test predictions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmtk import store
from mmtk.datasets import get_dataset, list_datasets
from mmtk.datasets.base import SPLITS, Dataset
from mmtk.errors import MmtkError
from mmtk.scoring import Metrics, evaluate_file, read_predictions
from mmtk.training.checkpoints import CONFIG, LOG, RESULT, read_json
from mmtk.training.results import RunResult, read_result

_MODELS = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}
_APART = ("seed", "store", "device", "made_with")  # what does not tell one set-up from another
_EXACT = 1e-6


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


def find_runs(runs: str | Path, stores: str | Path | None = None) -> tuple[list[Run], list[str]]:
    """Read every finished run below a folder, and name those that are not finished.

    Parameters
    ----------
    runs : path
    stores : path, optional
        Folder of stores; runs of those that are there are scored anew.

    Returns
    -------
    runs : list of Run
        In the order of the paper's datasets, then by set-up and seed.
    unfinished : list of str

    Raises
    ------
    MmtkError
        If there is no finished run, one is damaged, one is there twice, or a store holds other images than a run's.
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
    found = _titled([_read(folder, base, stores, digests) for folder in folders])
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
    """The run with the best validation AUC, the first of equals."""
    return max(runs, key=lambda run: run.result.metrics["val"].auc)


def store_path(stores: str | Path, flag: str, size: int) -> Path:
    """Where the store of a dataset and size lies."""
    return Path(stores) / f"{flag}_{size}.h5"


# ------------------------------------------------------------------------------ reading


def _name(folder: Path, base: Path) -> str:
    return folder.relative_to(base).as_posix()


def _read(folder: Path, base: Path, stores: str | Path | None, digests: dict[Path, str]) -> Run:
    where = folder / CONFIG
    if not where.is_file():
        raise MmtkError(where, expected="the configuration of a run", found="none", remedy="remove the run's folder")
    config, result, files, synthetic = read_json(where), *_result(folder)
    try:
        about = config["store"]
        dataset, size = get_dataset(about["flag"]), int(about["size"])
        setup, seed = _setup(config, size), int(config["seed"])
        made_with = tuple((str(k), str(v)) for k, v in config.get("made_with", {}).items() if v is not None)
        run = Run(
            _name(folder, base), dataset, size, setup, seed, result, synthetic,
            bool(about.get("partial", False)), str(about.get("content", "")), str(config.get("device", "")), made_with,
            tuple(_log(folder / LOG)), None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, MmtkError):
            raise
        raise MmtkError(where, expected="the configuration of a run", found=_reason(error)) from None
    return _scored(run, folder / files["test"], stores, digests)


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)


def _result(folder: Path) -> tuple[RunResult, dict[str, str], bool]:
    """The result, the prediction file of each split, and whether the images are synthetic."""
    where = folder / RESULT
    raw = read_json(where)
    try:
        result = read_result(folder)
        files = {name: Path(str(raw["splits"][name]["file"])).name for name in SPLITS}
        figures = [value for metrics in result.metrics.values() for value in metrics]
        whole = [*result.images.values(), result.best_epoch, result.epochs]
        if set(result.metrics) != set(SPLITS) or not all(isinstance(n, int) and n >= 0 for n in whole):
            raise ValueError("other splits or counts")
        if not all(0 <= value <= 1 for value in figures):
            raise ValueError("figures outside 0 to 1")
        return result, files, bool(raw["synthetic"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, MmtkError):
            raise
        raise MmtkError(
            where, expected="the result of a run", found=_reason(error), remedy="remove the run's folder"
        ) from None


def _log(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    names = ("epoch", "train_loss", "val_loss", "val_auc", "val_acc")
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            values = json.loads(line)
            yield {name: float(values[name]) for name in names}
        except (KeyError, TypeError, ValueError) as error:
            raise MmtkError(f"{path} line {number}", expected="figures of an epoch", found=_reason(error)) from None


def _setup(config: dict[str, Any], size: int) -> Setup:
    values = dict(_flat({name: value for name, value in config.items() if name not in _APART}))
    values["store.size"] = size
    protocol = config.get("protocol")
    name = protocol["name"] if isinstance(protocol, dict) else protocol
    if "method" in config:
        # seconds, or a share of what the paper gave
        budget = f", {config['budget']:g} s" if "budget" in config else ""
        budget += f", {config['share']:.3g} of the paper's time" if "share" in config else ""
        return Setup(tuple(sorted(values.items())), f"{config['method']}{budget}")
    model = _MODELS.get(config["model"], str(config["model"]))
    title = f"{model} ({config.get('resolution') or size}), {name}"
    usual = protocol["epochs"] if isinstance(protocol, dict) else config["epochs"]
    shortened = f"{config['epochs']} of {usual} epochs" if config["epochs"] < usual else ""
    return Setup(tuple(sorted(values.items())), title, shortened)


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
        task, classes = run.dataset.task, run.dataset.classes
        return replace(run, tested=Tested(predictions.labels, predictions.scores, None, task, classes, None))
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
    if max(abs(a - b) for a, b in zip(scored.metrics, run.test, strict=True)) > _EXACT:
        found, named = ("AUC {:.3f} ACC {:.3f}".format(*metrics) for metrics in (scored.metrics, run.test))
        raise MmtkError(file, expected=f"{named}, as in {RESULT}", found=found, remedy="remove the run's folder")
    shown = None if scored.own_order else opened.test.images
    tested = Tested(scored.labels, predictions.scores, scored.subjects, opened.info.task, opened.info.classes, shown)
    return replace(run, tested=tested, synthetic=opened.info.synthetic, partial=opened.info.partial)
