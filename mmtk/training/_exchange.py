"""The files that mmtk and a command exchange: images, labels and task in, scores out."""

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
_CELL, _SLACK = 64, 1 << 20  # bytes that a score may take at most, and what else a file may
_GPUS = ("/dev/nvidiactl", "/dev/dxg")


def write_inputs(folder: Path, store: Store) -> None:
    """Write ``train.npz``, ``val.npz`` and ``test.npz``, the last without labels; equal files are left as they are.

    Raises
    ------
    StoreError
        If the disk is full or cannot be written.
    """
    for split in store.splits:
        _replace(folder / f"{split.name}.npz", partial(_write_npz, split))


def write_task(folder: Path, job: Job, seconds: float) -> None:
    """Write ``task.json``: the task, and the seconds left for it.

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
    """The device there is, found without torch, which may be missing and takes seconds to import."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
    return "cuda" if seen and any(map(os.path.exists, _GPUS)) else "cpu"


def _replace(final: Path, write: Callable[[IO[bytes]], None]) -> None:
    with writing(final) as temporary:
        with temporary.open("wb") as file:
            write(file)
        with suppress(OSError):
            if stat.S_ISREG(final.lstat().st_mode) and filecmp.cmp(temporary, final, shallow=False):
                return
        publish(temporary, final)


def _write_npz(split: Split, file: IO[bytes]) -> None:
    """Write images, and labels where there are any, as `numpy.savez` does, a block of rows at a time."""
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
    """Remove the scores that lie in a folder.

    Raises
    ------
    OSError
        If the system cannot.
    """
    for split in SPLITS:
        for path in _places(folder, split):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def read_scores(folder: Path, store: Store, how: str) -> dict[str, NDArray[Any]]:
    """The scores of the three splits in a folder.

    Parameters
    ----------
    folder : path
    store : Store
    how : str
        How the command ended that should have left them, for errors.

    Raises
    ------
    ScoreError
        If those of a split are missing or malformed.
    OSError
        If the system cannot read one, though it is there.
    """
    scores = {}
    for split in store.splits:
        places = _places(folder, split.name)
        path = next((place for place in places if os.path.lexists(place)), None)
        if path is None:
            expected = f"scores there, or in {places[1].name}"
            raise ScoreError(places[0], expected=expected, found=f"none at {how}")
        _check_file(path, len(split), len(split.info.classes))
        scores[split.name] = read_outside(path, store, split.name)
    return scores


def _check_file(path: Path, rows: int, columns: int) -> None:
    """Refuse what leads elsewhere, never ends, or is too large for what it should hold."""
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}
        raise ScoreError(path, expected="a file", found=kinds.get(stat.S_IFMT(facts.st_mode), "something else"))
    most = _SLACK + _CELL * rows * (2 * columns + 2)
    if facts.st_size > most:
        expected = f"at most {most} bytes for {rows} x {columns} scores"
        raise ScoreError(path, expected=expected, found=f"{facts.st_size} bytes")
