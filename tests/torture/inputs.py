"""What all mutants and faults start from: small phantoms, stores, official-looking files and runs, made once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from mmtk import store
from mmtk.builder import build
from mmtk.builder.journal import Journal
from mmtk.phantom import write_phantom
from tests.small_runs import write_small_run
from tests.small_stores import write_small_store
from tests.torture.children import run_child
from tests.torture.own import draw_organs, draw_own
from tests.torture.stores import make_stores

_WIDTH = 48  # pixels: of that size a build takes as long as its system calls


def make_inputs(folder: Path) -> None:
    """Fill a folder with all inputs.

    ``sources``, ``own`` and ``organs`` (DICOM, and volumes with masks, each with its dataset file), ``bad`` (one image
    is damaged), ``stores``, ``npz``, ``half`` (a build that was killed), ``runs``,
    ``kinds`` (stores of every kind), and ``other`` (files of other content that are to be replaced).
    """
    sources = folder / "sources"
    write_phantom("breastmnist", sources, 0.001)
    for path in sources.rglob("*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        small = cv2.resize(image, (_WIDTH, _WIDTH * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(path), small)
    shutil.copytree(sources, folder / "bad")
    damaged = sorted(path for path in (folder / "bad").rglob("*.png") if "mask" not in path.name)[3]
    damaged.write_bytes(damaged.read_bytes()[:-40])
    draw_own(folder / "own")
    draw_organs(folder / "organs")
    (made,) = _built(folder, folder / "stores")
    store.export_npz(store.open(made), folder / "npz")
    half = folder / "half"
    end = run_child(lambda: _killed(lambda: _built(folder, half)), 60)
    assert end.status == 0, end.text
    _empty_rows(next(half.rglob("*.h5")), store.open(made).counts)
    for number, seed in enumerate((0, 1)):
        write_small_run(made, folder / "runs" / f"run{number}", seed=seed, epochs=3)
    (folder / "kinds").mkdir()
    make_stores(folder / "kinds")
    _make_others(folder)


def _built(folder: Path, out: Path) -> list[Path]:
    results = build("breastmnist", sources=folder / "sources", out=out, allow_partial=True, workers=1)
    return [result.path for result in results]


def _killed(action: Callable[[], object]) -> int:
    """Build until the journal is told what is done; it keeps the first two units, those of train."""
    note = Journal.note

    def last(self: Journal, done: list[int]) -> None:
        note(self, done[:2])
        os._exit(0)

    Journal.note = last  # type: ignore[method-assign]
    action()
    return 1


def _empty_rows(skeleton: Path, counts: dict[str, int]) -> None:
    """Take away the pixels of val and test, as if they had not been written yet."""
    layout = store.read_layout(skeleton)
    with skeleton.open("r+b") as file:
        for split in ("val", "test"):
            file.seek(layout.image_offset(split, 0))
            file.write(bytes(counts[split] * layout.row_bytes))


def _make_others(folder: Path) -> None:
    """Files that stand under the names of what a command writes, and are not that."""
    other = write_small_store(folder / "other" / "store" / "breastmnist_28.h5", size=28, synthetic=True, partial=True)
    opened = store.open(other)
    store.export_npz(opened, folder / "other" / "npz")
    store.export_png(opened, folder / "other" / "png")
    info = replace(opened.info, plan_hash="another")
    arrays = {split.name: (255 - np.asarray(split.images), split.labels, split.records) for split in opened.splits}
    again = store.write_store(folder / "other" / "again" / "breastmnist_28.h5", info, arrays)
    store.compress(store.open(again), folder / "other" / "packed", "gzip")
    for name in ("m.png", "m.csv", "a.csv"):
        (folder / "other" / "files").mkdir(exist_ok=True)
        (folder / "other" / "files" / name).write_bytes(b"another\n")
