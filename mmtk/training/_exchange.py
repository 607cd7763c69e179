"""The files exchanged between mmtk and a command: images, labels and task in, scores out."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mmtk.errors import ScoreError
from mmtk.files import publish, write_text, writing
from mmtk.scoring import read_outside
from mmtk.store import SPLITS, Split, Store, blocks
from mmtk.training.methods import Job

VERSION = 1
_ENDINGS = (".npy", ".csv")
_CELL, _OVERHEAD = 64, 1 << 20  # bytes: the most that a score, and everything else in a file, may take
_GPUS = ("/dev/nvidiactl", "/dev/dxg")


def write_inputs(folder: Path, store: Store) -> None:
    """Write ``train.npz``, ``val.npz`` and ``test.npz``, the last without labels; equal files are not replaced.

    Raises
    ------
    StoreError
        If the disk is full or cannot be written.
    """
    for split in store.splits:
        _replace(folder / f"{split.name}.npz", partial(_write_npz, split))


def write_task(folder: Path, job: Job, seconds: float) -> None:
    """Write ``task.json``: the task and the remaining seconds.

    Raises
    ------
    StoreError
        If the disk is full or cannot be written.
    """
    info = job.store.info
    task = {
        "version": VERSION, "dataset": info.flag, "title": info.title, "task": str(info.task),
        "classes": list(info.classes), "shape": list(info.row_shape), "images": job.store.counts,
        "budget": round(seconds, 3), "seed": job.seed, "device": job.device or _device(),
    }
    write_text(folder / "task.json", json.dumps(task, indent=2) + "\n")


def _device() -> str:
    """The available device, determined without torch, which may be missing and takes seconds to import."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
    return "cuda" if visible and any(map(os.path.exists, _GPUS)) else "cpu"


def _replace(final: Path, write: Callable[[IO[bytes]], None]) -> None:
    with writing(final) as temporary:
        with temporary.open("wb") as file:
            write(file)
        with suppress(OSError):
            if stat.S_ISREG(final.lstat().st_mode) and filecmp.cmp(temporary, final, shallow=False):
                return
        publish(temporary, final)


def _write_npz(split: Split, file: IO[bytes]) -> None:
    """Write images, and labels if there are any, as `numpy.savez` does, a block of rows at a time."""
    with zipfile.ZipFile(file, "w") as archive:
        for name in (name for name in ("images", "labels") if name in split.arrays):
            array = getattr(split, name)
            facts = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, facts)
                for block in blocks(array):
                    member.write(np.ascontiguousarray(block).data)


def _places(folder: Path, split: str) -> list[Path]:
    return [folder / f"scores_{split}{ending}" for ending in _ENDINGS]


def remove_scores(folder: Path) -> None:
    """Remove the scores in a folder.

    Raises
    ------
    OSError
        If the system cannot remove them.
    """
    for split in SPLITS:
        for path in _places(folder, split):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def read_scores(folder: Path, store: Store, how: str) -> dict[str, NDArray[Any]]:
    """Read the scores of the three splits in a folder.

    Parameters
    ----------
    folder : Path
    store : Store
    how : str
        How the command that should have written them ended, for errors.

    Raises
    ------
    ScoreError
        If the scores of a split are missing or malformed.
    OSError
        If a file exists but the system cannot read it.
    """
    scores = {}
    for split in store.splits:
        places = _places(folder, split.name)
        path = next((place for place in places if os.path.lexists(place)), None)
        if path is None:
            raise ScoreError(places[0], f"was not written, nor was {places[1].name}: {how}")
        _check_file(path, len(split), len(split.info.classes))
        scores[split.name] = read_outside(path, store, split.name)
    return scores


def _check_file(path: Path, rows: int, columns: int) -> None:
    """Raise if a file is a link, is not a regular file, or is too large for the scores it should hold."""
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
        raise ScoreError(path, found=kinds.get(stat.S_IFMT(facts.st_mode), "a special file"), expected="a regular file")
    most = _OVERHEAD + _CELL * rows * (2 * columns + 2)
    if facts.st_size > most:
        expected = f"at most {most} for {rows} x {columns} scores"
        raise ScoreError(path, found=f"{facts.st_size} bytes", expected=expected)
