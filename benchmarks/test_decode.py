"""Decode: ours, with every check, beside OpenCV's and Pillow's forgiving ways, grouped by file; grey and colour."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtk.imaging import probe, read_image

KINDS = ["png grey 1024", "png rgb 600x450", "jpeg grey 1024", "jpeg rgb 600x450"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Soft blots with a little noise: they compress about as X-rays do."""
    folder = tmp_path_factory.mktemp("decode")
    rng = np.random.default_rng(0)
    paths = {}
    for kind in KINDS:
        format, colour, _ = kind.split()
        shape = (1024, 1024) if colour == "grey" else (450, 600, 3)
        coarse = rng.integers(0, 256, (shape[0] // 50, shape[1] // 50, *shape[2:]), dtype=np.uint8)
        soft = cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC)
        paths[kind] = folder / f"{kind}.{format}"
        cv2.imwrite(str(paths[kind]), soft + rng.integers(0, 4, shape, dtype=np.uint8) // 2)
    return paths


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["mmtk", "opencv", "pillow", "mmtk header only"])
def test_decode(benchmark, files, kind, who):
    benchmark.group = "decode " + kind
    path, colour = files[kind], "rgb" in kind
    if who == "mmtk":
        benchmark(read_image, path, colour)
    elif who == "opencv":
        benchmark(cv2.imread, str(path), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    elif who == "pillow":
        benchmark(lambda: np.asarray(Image.open(path).convert("RGB" if colour else "L")))
    else:
        benchmark(probe, path)
