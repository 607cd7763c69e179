"""From a file to its pixels: a store beside MedMNIST's .npz and beside reading the same store through h5py.

One round opens the file and touches every training pixel (``all``), or 128 random images of the training split
(``some``). Files lie in the page cache. The images are noise, which deflate stores as it is: real ones take an .npz
longer. Read the ratios within a group.
"""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from mmtk import store
from tests.small_stores import write_small_store

COUNTS = {"28 grey": (20_000, 28, 1), "224 rgb": (300, 224, 3)}


def mapped(paths, rows):
    images = store.open(paths[0]).train.images
    return images.sum() if rows is None else images[rows].sum()


def npz(paths, rows):
    with np.load(paths[1]) as archive:
        images = archive["train_images"]
    return images.sum() if rows is None else images[rows].sum()


def through_h5py(paths, rows):
    with h5py.File(paths[0]) as file:
        images = file["train/images"]
        return (images[()] if rows is None else images[np.sort(rows)]).sum()


@pytest.fixture(scope="module", params=COUNTS)
def paths(request, tmp_path_factory):
    n, size, channels = COUNTS[request.param]
    folder = tmp_path_factory.mktemp("bench")
    path = write_small_store(folder / "a.h5", (n, 2, 2), channels=channels, size=size)
    return path, store.export_npz(store.open(path), folder), request.param


@pytest.mark.parametrize("way", [mapped, npz, through_h5py])
@pytest.mark.parametrize("what", ["all", "some"])
def test_open_and_read(benchmark, paths, what, way):
    n = COUNTS[paths[2]][0]
    rows = None if what == "all" else np.random.default_rng(0).choice(n, 128, replace=False)
    expected = mapped(paths, rows)
    benchmark.group = f"{paths[2]}, {what}"
    assert benchmark(way, paths, rows) == expected


def opened(path):
    return len(store.open(path).train)


def labels_through_h5py(path):
    with h5py.File(path) as file:
        return [len(file[f"{split}/{name}"][()]) for split in store.SPLITS for name in ("labels", "records")][0]


@pytest.mark.parametrize("way", [opened, labels_through_h5py])
def test_open(benchmark, paths, way):
    """Open alone, with its checks, beside h5py's reading of labels and records."""
    benchmark.group = f"{paths[2]}, open"
    assert benchmark(way, paths[0]) == COUNTS[paths[2]][0]


def verified(path):
    return store.verify(path) == []


def all_through_h5py(path):
    with h5py.File(path) as file:
        return all(file[f"{split}/images"][()].nbytes for split in store.SPLITS)


@pytest.mark.parametrize("way", [verified, all_through_h5py])
def test_verify(benchmark, paths, way):
    """All checksums, beside h5py's reading of all images."""
    benchmark.group = f"{paths[2]}, verify"
    assert benchmark(way, paths[0])
