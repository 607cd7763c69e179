"""Resize: ours beside Pillow and OpenCV, one thread each, grouped by geometry.

Pillow does the same arithmetic, OpenCV's INTER_AREA is the nearest thing it has. Read the ratios, not the milliseconds.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtk.imaging import kernels_in_use, resize

GEOMETRIES = [
    ((1024, 1024), (28, 28)), ((1024, 1024), (224, 224)), ((1024, 1024, 3), (28, 28)), ((1024, 1024, 3), (224, 224)),
    ((450, 600, 3), (28, 28)), ((28, 28), (224, 224)),
]
IDS = ["x".join(map(str, shape)) + f" to {size[0]}" for shape, size in GEOMETRIES]


def _picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("shape", "size"), GEOMETRIES, ids=IDS)
@pytest.mark.parametrize("who", ["avx2", "plain", "numba", "pillow", "opencv area"])
def test_resize(benchmark, monkeypatch, who, shape, size):
    benchmark.group = "resize " + IDS[GEOMETRIES.index((shape, size))]
    image = _picture(shape)
    if who == "pillow":
        picture = Image.fromarray(image)
        benchmark(picture.resize, size[::-1], Image.Resampling.BILINEAR)
    elif who == "opencv area":
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        benchmark(cv2.resize, image, size[::-1], interpolation=cv2.INTER_AREA)
        cv2.setNumThreads(threads)
    else:
        if who != "numba" and who not in pytest.importorskip("mmtk._native").paths:
            pytest.skip(f"this machine has no {who}")
        monkeypatch.setenv("MMTK_KERNELS", who)
        assert kernels_in_use() == who
        benchmark(resize, image, size)
