"""Zoom of a CT box to OrganMNIST's grid: ours beside scipy and beside three matrix products, one thread each.

What to expect of a box of 200 x 180 x 60, to 70 x 63 x 150. scipy takes 13 M steps of recursions, two for each voxel
and axis, and for each of 0.66 M outputs sums 64 terms of three products: 169 M operations more, none in a vector. An
axis at a time, recursions are 6 M and sums 7 M, fourteen times fewer, and with AVX2 four of them share a vector: 14 to
56 times as fast, or more, as nothing looks up where a term lies. The memory moved, 4 MB in, 2 MB of planes out and in
again and 1 MB out, takes less than a third of that. Matrices that filter and sample at once take 136, 53 and 40 M
products for y, x and z, 17 times as many as ours, at the full speed of a BLAS with AVX-512: 2 to 4 times slower.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from threadpoolctl import threadpool_limits

from mmtk.imaging import kernels_in_use, zoom

FACTORS = (0.7031 / 2, 0.7031 / 2, 2.5)
BOXES = [(200, 180, 60), (90, 80, 40)]
IDS = ["x".join(map(str, box)) for box in BOXES]


def _box(shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth organs in noise, voxels side by side along x as in a file."""
    rng = np.random.default_rng(0)
    volume = ndimage.gaussian_filter(rng.normal(0, 3000, shape[::-1]), 3) + rng.normal(0, 20, shape[::-1])
    return volume.astype(np.int16).T


def _matrix(n: int, u: int) -> np.ndarray:
    """What an axis makes of each unit vector, filter and samples in one."""
    return ndimage.zoom(np.eye(n), (1, u / n), order=3).T


def _products(volume: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    x, y, z = matrices
    slabs = x @ (y @ volume.T.astype(np.float64)).transpose(0, 2, 1)  # (z, x, y), as ours
    grid = (z @ slabs.reshape(len(slabs), -1)).reshape(-1, *slabs.shape[1:])
    return np.clip(np.rint(grid), -(2**15), 2**15 - 1).astype(np.int16).transpose(1, 2, 0)


@pytest.mark.parametrize("shape", BOXES, ids=IDS)
@pytest.mark.parametrize("who", ["avx2", "plain", "scipy", "three matrix products"])
def test_zoom(benchmark, monkeypatch, who, shape):
    volume = _box(shape)
    size = tuple(round(n * factor) for n, factor in zip(shape, FACTORS, strict=True))
    benchmark.group = f"zoom {'x'.join(map(str, shape))} to {'x'.join(map(str, size))}"
    if who == "scipy":
        got = benchmark(ndimage.zoom, volume, FACTORS, order=3)
    elif who == "three matrix products":
        with threadpool_limits(1, user_api="blas"):
            got = benchmark(_products, volume, [_matrix(n, u) for n, u in zip(shape, size, strict=True)])
    else:
        if who not in pytest.importorskip("mmtk._native").paths:
            pytest.skip(f"this machine has no {who}")
        monkeypatch.setenv("MMTK_KERNELS", who)
        assert kernels_in_use() == who
        got = benchmark(zoom, volume, size)
    # equal but for halves in the products, which their own rounding turns
    assert np.abs(got.astype(np.int32) - zoom(volume, size)).max() <= (who == "three matrix products")
