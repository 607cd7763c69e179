"""Whole builds beside the straightforward pipeline, and beside nothing but decoding the same files.

The straightforward pipeline is what one writes first: PIL opens and converts, torchvision's CenterCrop and Resize,
h5py writes; in one process, and with a pool of two.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from benchmarks.repeated import repeated
from mmtk.builder import build, make_plan
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import find_source
from mmtk.imaging import read_image
from mmtk.phantom import write_phantom
from tests.peers import torchvision

CYCLES = 3
REAL = {"chestmnist": 60, "breastmnist": 15, "pneumoniamnist": 60, "dermamnist": 20, "octmnist": 200, "pathmnist": 1200}
PHANTOMS = ("breastmnist", "pneumoniamnist", "dermamnist")
WAYS = ("mmtk, 2 workers", "mmtk, 1 worker", "its decoder alone, 2 threads", "straightforward", "straightforward, 2")


@pytest.fixture(scope="module")
def source(request, tmp_path_factory):
    """A dataset, the folder of its source and its images, once for all ways."""
    kind, flag = request.param
    out = tmp_path_factory.mktemp("sources")
    if kind == "real":
        dataset, root = repeated(flag, request.getfixturevalue("real_data") / "sources", REAL[flag], out)
    else:
        dataset, root = get_dataset(flag), out
        write_phantom(flag, out, scale=0.05)
    listing = find_source(root, dataset)
    plan = make_plan(dataset, listing, allow_partial=True)
    files = [Path(listing.path(row.record.file)) for split in plan.rows.values() for row in split]
    return dataset, root, files


def one(path: Path, mode: str) -> np.ndarray:
    transforms = torchvision().transforms
    with Image.open(path) as opened:
        image = opened.convert(mode)
    return np.asarray(transforms.Resize(28)(transforms.CenterCrop(min(image.size))(image)))


def straightforward(files: list[Path], mode: str, out: Path, processes: int) -> None:
    work = partial(one, mode=mode)
    if processes == 1:
        images = [work(path) for path in files]
    else:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            images = pool.map(work, files, chunksize=16)
    with h5py.File(out, "w") as file:
        file["images"] = np.stack(images)


def decode(files: list[Path], colour: bool) -> None:
    def some(block: list[Path]) -> None:
        for path in block:
            read_image(path, colour)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(some, [files[at : at + 16] for at in range(0, len(files), 16)]))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "source", [*(("real", flag) for flag in REAL), *(("phantom", flag) for flag in PHANTOMS)], indirect=True,
    ids=lambda source: " ".join(source),
)
def test_build(benchmark, source, request, tmp_path: Path, way: str) -> None:
    dataset, root, files = source
    benchmark.group = f"build {' '.join(request.node.callspec.params['source'])}, {len(files)} images"
    rounds = iter(range(100))
    if way.startswith("mmtk"):
        def once() -> None:
            build(dataset, sources=root, out=tmp_path / str(next(rounds)), workers=int(way[6]), allow_partial=True)
    elif way.startswith("its"):
        def once() -> None:
            decode(files, dataset.channels == 3)
    else:
        mode = "L" if dataset.channels == 1 else "RGB"

        def once() -> None:
            straightforward(files, mode, tmp_path / f"{next(rounds)}.h5", 2 if way.endswith("2") else 1)

    benchmark.pedantic(once, rounds=1, warmup_rounds=0)
