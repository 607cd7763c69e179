"""Predictions that were made elsewhere, by whatever method, as runs beside those that mmtk makes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmtk import __version__, store
from mmtk.datasets.official import SIZES
from mmtk.errors import ArgumentError, MmtkError, ScoreError, StoreError
from mmtk.files import publish_folder, write_text, writing
from mmtk.runs.config import RunConfig, StoreFacts
from mmtk.runs.folder import CONFIG, alone
from mmtk.runs.jsonfiles import read_object
from mmtk.runs.results import RunResult, read_result, write_result
from mmtk.scoring import read_outside, read_predictions, told_in

Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class _Place:
    """What a file has predictions of."""

    flag: str
    size: int
    split: str


@dataclass(frozen=True)
class _Entered:
    """A run to be."""

    opened: store.Store
    config: RunConfig
    scores: Scores
    folder: Path
    name: str


def enter(
    files: Sequence[str | Path], method: str, out: str | Path, stores: str | Path, *, flag: str | None = None,
    size: int | None = None, split: str | None = None, seed: int = 0, force: bool = False,
) -> list[RunResult]:
    """Make runs of predictions in files: all of them, or none where something is wrong with one.

    Parameters
    ----------
    files : sequence of path
        As `read_outside` reads them. Their names tell dataset, size and split as MedMNIST's do, without a size 28 px;
        those of test images are needed, others may lack.
    method : str
        Its title in tables.
    out, stores : path
        Folder of the runs, ``{flag}_{size}/{method}_seed{seed}``, and of the stores.
    flag, size, split : optional
        Instead of what the name of a single file tells.
    seed : int
        To tell several runs of the method apart.
    force : bool
        Replace other predictions of the same method, dataset, size and seed.

    Returns
    -------
    list of RunResult
        In the order of the files; ``reused`` where the same were entered before.

    Raises
    ------
    ArgumentError
        If the method has no name that can stand in those of files, or options are given for several files.
    ScoreError
        If a file is not told what it is of, does not fit its store, or the test images' lacks.
    StoreError
        If other predictions are there, or a store is not.
    OSError
        If the system cannot read a file, though it is there.
    """
    slug = re.sub(r"[^\w.-]+", "-", method.strip()).strip("-.").lower()
    if not slug or not method.isprintable():
        raise ArgumentError("method", expected="a title with letters or digits", found=repr(method))
    if len(files) > 1 and (flag or split or size):
        raise ArgumentError("flag, size and split", expected="one file", found=f"{len(files)} files")
    groups: dict[tuple[str, int], dict[str, Path]] = defaultdict(dict)
    for path in map(Path, files):
        place = _place_of(path, stores, flag, size, split)
        first = groups[place.flag, place.size].setdefault(place.split, path)
        if first is not path:
            found = f"{place.flag} {place.size} px {place.split} again, as in {first}"
            raise ScoreError(path, expected="each split once", found=found)
    entered = []
    for (known, edge), paths in groups.items():
        if "test" not in paths:
            path = next(iter(paths.values()))
            raise ScoreError(path, expected=f"predictions of the test images of {known} too", found="none")
        opened = store.open(store.store_path(stores, known, edge))
        store.expect_whole(opened.path)
        scores = {name: read_outside(paths[name], opened, name) for name in store.SPLITS if name in paths}
        config = RunConfig(
            {"method": method.strip(), "entered": True}, seed, StoreFacts.of(opened),
            made_with={"entered by": f"mmtk {__version__}"},
        )
        folder = Path(out) / f"{known}_{edge}" / f"{slug}_seed{seed}"
        entered.append(_Entered(opened, config, scores, folder, f"{slug}_{edge}_seed{seed}"))
    there = [_before(run, force) for run in entered]
    results = []
    for run, before in zip(entered, there, strict=True):
        results.append(before or _write(run))
    return results


def _place_of(
    path: Path, stores: str | Path, flag: str | None, size: int | None, split: str | None
) -> _Place:
    """What a file is of: as options say, else as its name does."""
    named, edge, splits = told_in(path.name, stores)
    if flag is None and not named:
        raise ScoreError(path, expected="a name that tells the dataset", found="none", remedy="give --flag")
    if split is None and len(splits) != 1:
        found = " and ".join(sorted(splits)) or "none"
        raise ScoreError(path, expected="a name that tells the split", found=found, remedy="give --split")
    return _Place(flag or named, size or edge or SIZES[0], split or splits.pop())


def _before(run: _Entered, force: bool) -> RunResult | None:
    """The run as it was entered before; None if there is none, or it is to be replaced."""
    if not run.folder.exists():
        return None
    config = read_object(run.folder / CONFIG) if (run.folder / CONFIG).exists() else {}
    if config.get("entered") is not True:
        remedy = "choose another --out or --method"
        raise StoreError(run.folder, expected="predictions that were entered", found="something else", remedy=remedy)
    try:
        before = read_result(run.folder)
        difference = run.config.difference(config)
        if not difference and _is_same(run, before):
            return before
        found = f"those of another run, with {difference[0]} {difference[2]}" if difference else "others"
    except MmtkError as error:
        found = f"others ({error})"
    if not force:
        remedy = "add --force to replace them, or give another --method or --seed"
        raise StoreError(run.folder, expected="the same predictions or none", found=found, remedy=remedy)
    return None


def _is_same(run: _Entered, before: RunResult) -> bool:
    if set(before.files) != set(run.scores):
        return False
    stores = run.opened.path.parent
    known = {name: read_predictions(before.path / file, stores).scores for name, file in before.files.items()}
    return all(np.array_equal(known[name], scores) for name, scores in run.scores.items())


def _write(run: _Entered) -> RunResult:
    """Write the run beside its folder, which it then becomes."""
    with writing(run.folder, folder=True) as temporary:
        write_text(temporary / CONFIG, run.config.to_json())
        write_result(temporary, run.opened, run.name, run.scores)
        if run.folder.exists():
            with alone(run.folder):
                publish_folder(temporary, run.folder)
        else:
            publish_folder(temporary, run.folder)
    return replace(read_result(run.folder), reused=False)
