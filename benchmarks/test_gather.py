"""Random rows of a memory map, one thread: ours beside NumPy, torch and a C loop of memcpy that prefetches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.copying import compile_copy
from mmtk.loader._gather import gather

SHAPES = {"28 grey": (200_000, 28, 28), "224 RGB": (2_000, 224, 224, 3)}
BATCH = {"28 grey": 4096, "224 RGB": 64}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    return compile_copy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def maps(tmp_path_factory) -> dict[str, np.ndarray]:
    folder = tmp_path_factory.mktemp("maps")
    found = {}
    for kind, shape in SHAPES.items():
        path: Path = folder / f"{kind}.bin"
        np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8).tofile(path)
        found[kind] = np.memmap(path, np.uint8, "c", shape=shape)
        assert found[kind].sum() > 0  # in memory from here on
    return found


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize("who", ["mmtk", "C memcpy, prefetching", "numpy", "torch"])
def test_gather(benchmark, maps, copy, kind, who):
    benchmark.group = f"gather {kind}"
    images, count = maps[kind], BATCH[kind]
    out = np.empty((count, *images.shape[1:]), np.uint8)
    rng = np.random.default_rng(1)

    def rows():  # others each time: those of the last round are still in the caches
        return (rng.integers(0, len(images), count),), {}

    if who == "mmtk":
        work = lambda chosen: gather(images, chosen, out)  # noqa: E731
    elif who == "numpy":
        work = lambda chosen: np.take(images, chosen, axis=0, out=out)  # noqa: E731
    elif who == "torch":
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        source, target = torch.from_numpy(images), torch.from_numpy(out)
        work = lambda chosen: torch.index_select(source, 0, torch.from_numpy(chosen), out=target)  # noqa: E731
    else:
        width = images[0].size
        work = lambda chosen: copy(images.ctypes.data, chosen.ctypes.data, count, width, out.ctypes.data)  # noqa: E731
    benchmark.pedantic(work, setup=rows, rounds=100, warmup_rounds=10)
