"""Mutants of stores: refused by `open`, reported by `verify`, or of the same content."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.random import Generator

from mmtk import store
from tests.small_stores import MULTILABEL, small_info, write_small_store
from tests.torture.damage import damaged
from tests.torture.edits import edited
from tests.torture.mutants import Attempt, Mutant, Prepare
from tests.torture.tally import REPORTED, SAME, SILENT

KINDS = ("grey", "volumes", "labels", "gzip", "sliced")


def make_stores(folder: Path) -> None:
    """One store of each kind that reads differently."""
    write_small_store(folder / "grey.h5", (20, 6, 9))
    write_small_store(folder / "volumes.h5", (9, 2, 3), size=6, ndim=3)
    write_small_store(folder / "labels.h5", (7, 1, 3), flag="chestmnist", task=MULTILABEL, classes=14, channels=3)
    made = store.compress(store.open(folder / "grey.h5"), folder / "gzip", "gzip")
    made.rename(folder / "gzip.h5")
    made.parent.rmdir()
    opened = store.open(folder / "grey.h5")
    arrays = {}
    for split in opened.splits:
        records = np.zeros(len(split), store.record_dtype(12, 5, sliced=True))
        records["source"], records["plane"], records["slice"] = b"volume-3.nii", b"axial", range(len(split))
        arrays[split.name] = (np.asarray(split.images), split.labels, records)
    info = replace(small_info(seed=3), synthetic=True, partial=True, unchecked=("a", "b"), citation="cited")
    store.write_store(folder / "sliced.h5", info, arrays)


def judge(path: Path, digest: str) -> str:
    """What mmtk says of a store that may be damaged; its errors pass."""
    store.open(path)
    if store.verify(path):
        return REPORTED
    return SAME if store.open(path).content_digest() == digest else SILENT


def byte_mutants(kind: str) -> Prepare:
    """Damage to a store's bytes."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        content, digest = _undisturbed(inputs, kind)
        path = work / "mutant.h5"

        def attempt(number: int, rng: Generator) -> Mutant:
            data, told = damaged(content, rng)
            path.write_bytes(data)
            return Mutant(told, lambda: judge(path, digest))

        return attempt

    return prepare


def edit_mutants(kind: str) -> Prepare:
    """Edits of a store through HDF5."""

    def prepare(inputs: Path, work: Path) -> Attempt:
        content, digest = _undisturbed(inputs, kind)
        path = work / "mutant.h5"

        def attempt(number: int, rng: Generator) -> Mutant:
            path.write_bytes(content)
            return Mutant(edited(path, rng, number), lambda: judge(path, digest))

        return attempt

    return prepare


def _undisturbed(inputs: Path, kind: str) -> tuple[bytes, str]:
    path = inputs / "kinds" / f"{kind}.h5"
    return path.read_bytes(), store.open(path).content_digest()
