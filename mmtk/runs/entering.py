"""Import predictions made with other tools as runs, alongside those that mmtk makes."""

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
from mmtk.runs.folder import CONFIG, lock_folder
from mmtk.runs.jsonfiles import read_object
from mmtk.runs.results import RunResult, read_result, write_result
from mmtk.scoring import parse_file_name, read_outside, read_predictions

Scores = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class _Place:
    """The images that a file has predictions of."""

    flag: str
    size: int
    split: str


@dataclass(frozen=True)
class _Entered:
    """A run to be written."""

    opened: store.Store
    config: RunConfig
    scores: Scores
    folder: Path
    name: str


def enter(
    files: Sequence[str | Path], method: str, out: str | Path, stores: str | Path, *, flag: str | None = None,
    size: int | None = None, split: str | None = None, seed: int = 0, force: bool = False,
) -> list[RunResult]:
    """Import predictions from files as runs: all of them, or none if one is invalid.

    Parameters
    ----------
    files : sequence of str or path
        Read by `read_outside`. Their names contain dataset, size (28 px by default) and split, as MedMNIST's do. Those
        of test images are required, others optional.
    method : str
        The method's title in tables.
    out : str or path
        Folder of the runs; each becomes ``{flag}_{size}/{method}_seed{seed}``.
    stores : str or path
        Folder of the stores.
    flag, size, split : optional
        Used instead of the file name, for a single file.
    seed : int
        Distinguishes several runs of the method.
    force : bool
        Replace other predictions of the same method, dataset, size and seed.

    Returns
    -------
    list of RunResult
        In the order of the files; ``reused`` is True if the same predictions were imported before.

    Raises
    ------
    ArgumentError
        If the method's title cannot be part of a file name, or `flag`, `size` or `split` is given for several files.
    ScoreError
        If a file's dataset or split is unknown, it does not match its store, or predictions of test images are missing.
    StoreError
        If the run's folder holds other predictions, or a store does not exist.
    OSError
        If a file exists but the system cannot read it.

    Examples
    --------
    >>> import mmtk, numpy as np
    >>> from mmtk.runs import enter
    >>> store = mmtk.open("stores/breastmnist_28.h5")
    >>> np.save("breastmnist_test.npy", np.linspace(0, 1, len(store.test)))
    >>> (result,) = enter(["breastmnist_test.npy"], "My method", "runs", "stores")
    >>> result.path.as_posix(), result.reused
    ('runs/breastmnist_28/my-method_seed0', False)
    """
    slug = re.sub(r"[^\w.-]+", "-", method.strip()).strip("-.").lower()
    if not slug or not method.isprintable():
        raise ArgumentError("method", found=repr(method), expected="a title with letters or digits")
    if len(files) > 1 and (flag or split or size):
        problem = "flag, size and split apply to a single file"
        raise ArgumentError("arguments", problem, found=f"{len(files)} files", remedy="rename the files instead")
    groups: dict[tuple[str, int], dict[str, Path]] = defaultdict(dict)
    for path in map(Path, files):
        place = _place_of(path, stores, flag, size, split)
        first = groups[place.flag, place.size].setdefault(place.split, path)
        if first is not path:
            problem = f"holds {place.flag} {place.size} px {place.split}, as {first} does"
            raise ScoreError(path, problem, remedy="pass only one file per split")
    entered = []
    for (known, edge), paths in groups.items():
        if "test" not in paths:
            path = next(iter(paths.values()))
            raise ScoreError(path, f"predictions of the test images of {known} are missing", remedy="include them")
        opened = store.open(store.store_path(stores, known, edge))
        store.expect_whole(opened.path)
        scores = {name: read_outside(paths[name], opened, name) for name in store.SPLITS if name in paths}
        config = RunConfig(
            {"method": method.strip(), "entered": True}, seed, StoreFacts.of(opened),
            made_with={"entered by": f"mmtk {__version__}"},
        )
        folder = Path(out) / f"{known}_{edge}" / f"{slug}_seed{seed}"
        entered.append(_Entered(opened, config, scores, folder, f"{slug}_{edge}_seed{seed}"))
    earlier = [_earlier_result(run, force) for run in entered]  # before anything is written
    return [result or _write(run) for run, result in zip(entered, earlier, strict=True)]


def _place_of(
    path: Path, stores: str | Path, flag: str | None, size: int | None, split: str | None
) -> _Place:
    """The images that a file has predictions of, from the options or else its name."""
    named, edge, splits = parse_file_name(path.name, stores)
    if flag is None and not named:
        raise ScoreError(path, "its name contains no known dataset", remedy="use --flag")
    if split is None and len(splits) != 1:
        problem = f"its name contains {' and '.join(sorted(splits)) or 'no split'}"
        raise ScoreError(path, problem, remedy="use --split")
    return _Place(flag or named, size or edge or SIZES[0], split or splits.pop())


def _earlier_result(run: _Entered, force: bool) -> RunResult | None:
    """The same run imported earlier; None if there is none, or it is to be replaced."""
    if not run.folder.exists():
        return None
    config = read_object(run.folder / CONFIG) if (run.folder / CONFIG).exists() else {}
    if config.get("entered") is not True:
        problem, remedy = "already exists and holds no imported predictions", "choose another --out or --method"
        raise StoreError(run.folder, problem, remedy=remedy)
    reason = ""
    try:
        result = read_result(run.folder)
        difference = run.config.difference(config)
        if not difference and _is_same(run, result):
            return result
        reason = f", of another run with {difference[0]} {difference[2]}" if difference else ""
    except MmtkError as error:
        reason = f" ({error})"
    if not force:
        remedy = "use --force to replace them, or choose another --method or --seed"
        raise StoreError(run.folder, f"already holds other predictions{reason}", remedy=remedy)
    return None


def _is_same(run: _Entered, earlier: RunResult) -> bool:
    if set(earlier.files) != set(run.scores):
        return False
    stores = run.opened.path.parent
    known = {name: read_predictions(earlier.path / file, stores).scores for name, file in earlier.files.items()}
    return all(np.array_equal(known[name], scores) for name, scores in run.scores.items())


def _write(run: _Entered) -> RunResult:
    """Write the run to a temporary folder, then rename it."""
    with writing(run.folder, folder=True) as temporary:
        write_text(temporary / CONFIG, run.config.to_json())
        write_result(temporary, run.opened, run.name, run.scores)
        if run.folder.exists():
            with lock_folder(run.folder):
                publish_folder(temporary, run.folder)
        else:
            publish_folder(temporary, run.folder)
    return replace(read_result(run.folder), reused=False)
