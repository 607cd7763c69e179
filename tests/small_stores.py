"""Small stores of random images, for tests of what reads stores."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mmtk import store
from mmtk.datasets import get_dataset

MULTILABEL = "multi-label, binary-class"


def small_info(
    flag="breastmnist", *, task="binary-class", classes=2, channels=1, size=8, seed=0, synthetic=False, partial=False,
    ndim=2,
) -> store.StoreInfo:
    """Facts of a store of noise."""
    return store.StoreInfo(
        flag=flag, title=flag, modality="noise", task=task, classes=tuple(map(str, range(classes))), channels=channels,
        size=size, edition="2020", pixels="official", split="official", membership="none", recipe="[]", recipe_hash="",
        licence="none", citation="", source="", plan_hash=str(seed), synthetic=synthetic, partial=partial,
        unchecked=(), mmtk_version="0", ndim=ndim,
    )


def write_small_store(
    path: Path, counts=(20, 6, 9), *, flag="breastmnist", task="binary-class", classes=2, channels=1, size=8, seed=0,
    synthetic=False, partial=False, ndim=2,
) -> Path:
    """Write a store whose images and labels come from `seed`; every class occurs where there are images enough."""
    rng = np.random.default_rng(seed)
    info = small_info(
        flag, task=task, classes=classes, channels=channels, size=size, seed=seed, synthetic=synthetic, partial=partial,
        ndim=ndim,
    )
    arrays = {}
    for name, n in zip(store.SPLITS, counts, strict=True):
        images = rng.integers(0, 256, (n, *info.row_shape), np.uint8)
        columns = [rng.permutation(n) % (2 if task == MULTILABEL else classes) for _ in range(info.labels)]
        labels = np.stack(columns, axis=1).astype(np.uint8)
        arrays[name] = (images, labels, np.zeros(n, store.record_dtype(1, 1)))
    path.parent.mkdir(parents=True, exist_ok=True)
    return store.write_store(path, info, arrays)


def store_of(
    folder: Path, images: np.ndarray, labels, *, flag="breastmnist", names=None, subjects=None, cuts: Sequence[int] = ()
) -> store.Store:
    """A store of these images, all of them train or cut into three; sources are s0, s1, ..."""
    dataset, n = get_dataset(flag), len(images)
    info = replace(
        small_info(flag, task=dataset.task.value, channels=dataset.channels, size=images.shape[1], ndim=dataset.ndim),
        classes=dataset.classes,
    )
    records = np.zeros(n, store.record_dtype(40, 8))
    records["source"] = [name.encode() for name in names or [f"s{row}" for row in range(n)]]
    records["subject"] = [subject.encode() for subject in subjects or [""] * n]
    path = folder / f"{flag}_{info.size}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (images, np.asarray(labels, np.uint8).reshape(n, dataset.labels), records)
    arrays = zip(*(np.split(array, cuts or [n, n]) for array in rows), strict=True)
    return store.open(store.write_store(path, info, dict(zip(store.SPLITS, arrays, strict=True))))


def make_arrays(flag="breastmnist", counts=(12, 4, 5), size=8, seed=0) -> dict[str, np.ndarray]:
    """The six arrays of a MedMNIST file, random."""
    dataset, rng = get_dataset(flag), np.random.default_rng(seed)
    row = (size,) * dataset.ndim if dataset.channels == 1 else (size, size, 3)
    top = 2 if dataset.labels > 1 else len(dataset.classes)
    arrays = {}
    for split, n in zip(store.SPLITS, counts, strict=True):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, *row), np.uint8)
        arrays[f"{split}_labels"] = rng.integers(0, top, (n, dataset.labels), np.uint8)
    return arrays


def write_lacking_store(path: Path, splits: Sequence[str], counts=(20, 6, 9), *, partial=True, **kind) -> Path:
    """Write a store without its second class, or value of a label, in some splits."""
    opened = store.open(write_small_store(path, counts, partial=partial, **kind))
    arrays = {}
    for split in opened.splits:
        labels = split.labels.copy()
        if split.name in splits:
            labels[labels == 1] = 0
        arrays[split.name] = split.images, labels, split.records
    return store.write_store(path, opened.info, arrays)


def mark_npz(path: Path, words="PARTIAL") -> Path:
    """Mark an ``.npz`` as `export_npz` does, so that any counts will do."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = words.encode()
    return path


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """Of all that lies in a folder, by name."""
    return {path.name: digest_of(path) for path in folder.iterdir()}
