"""Whole builds beside the straightforward pipeline: PIL opens and resizes, torchvision's centre crop, h5py writes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from mmtk.builder import build, make_plan
from mmtk.datasets import get_dataset
from mmtk.datasets.listing import find_source
from mmtk.phantom import write_phantom

FLAGS = ("breastmnist", "pneumoniamnist", "dermamnist")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sources")
    for flag in FLAGS:
        write_phantom(flag, out, scale=0.01)
    return out


def straightforward(files: list[Path], mode: str, out: Path) -> None:
    images = []
    for path in files:
        with Image.open(path) as opened:
            image = opened.convert(mode)
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        small = image.crop((left, top, left + side, top + side)).resize((28, 28), Image.Resampling.BILINEAR)
        images.append(np.asarray(small))
    with h5py.File(out, "w") as file:
        file["images"] = np.stack(images)


@pytest.mark.parametrize("way", ["mmtk, 1 worker", "mmtk, 2 workers", "straightforward"])
@pytest.mark.parametrize("flag", FLAGS)
def test_build(benchmark, sources: Path, tmp_path: Path, flag: str, way: str) -> None:
    benchmark.group = f"build of {flag}"
    dataset = get_dataset(flag)
    listing = find_source(sources, dataset)
    rows = [row for split in make_plan(dataset, listing).rows.values() for row in split]
    benchmark.extra_info["images"] = len(rows)
    if way == "straightforward":
        files = [listing.path(row.record.file) for row in rows]
        mode = "L" if dataset.channels == 1 else "RGB"
        benchmark.pedantic(straightforward, (files, mode, tmp_path / "a.h5"), rounds=3, warmup_rounds=1)
        return
    rounds = iter(range(100))

    def once() -> None:
        build(flag, sources=sources, out=tmp_path / str(next(rounds)), workers=int(way[6]))

    benchmark.pedantic(once, rounds=3, warmup_rounds=1)
