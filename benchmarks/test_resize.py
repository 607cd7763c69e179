"""Resize: ours beside its peers, one thread each, grouped by geometry. Read the ratios, not the milliseconds.

Pillow and torchvision on PIL images do the same arithmetic; torchvision on tensors and OpenCV's INTER_AREA are the
nearest things their libraries have, scikit-image blurs with a Gaussian first.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtk.imaging import kernels_in_use, resize, resize_each
from tests import peers

GEOMETRIES = [
    ((1024, 1024), (28, 28)), ((1024, 1024), (224, 224)), ((1024, 1024, 3), (28, 28)), ((1024, 1024, 3), (224, 224)),
    ((450, 600, 3), (28, 28)), ((1736, 1824, 3), (28, 28)), ((28, 28), (224, 224)),
]
IDS = ["x".join(map(str, shape)) + f" to {size[0]}" for shape, size in GEOMETRIES]
OURS = ["vnni", "avx2", "neon", "plain", "numba"]


def _picture(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def _force(monkeypatch, kernel: str) -> None:
    if kernel != "numba" and kernel not in pytest.importorskip("mmtk._native").paths:
        pytest.skip(f"this machine has no {kernel}")
    monkeypatch.setenv("MMTK_KERNELS", kernel)
    assert kernels_in_use() == kernel


@pytest.fixture
def one_thread():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.mark.parametrize(("shape", "size"), GEOMETRIES, ids=IDS)
@pytest.mark.parametrize(
    "who", [*OURS, "pillow", "torchvision, PIL", "torchvision, tensor", "opencv area", "scikit-image"]
)
def test_resize(benchmark, monkeypatch, one_thread, who, shape, size):
    benchmark.group = "resize " + IDS[GEOMETRIES.index((shape, size))]
    image = _picture(shape)
    if who == "pillow":
        picture = Image.fromarray(image)
        benchmark(picture.resize, size[::-1], Image.Resampling.BILINEAR)
    elif who.startswith("torchvision"):
        functional = peers.torchvision().transforms.functional
        torch = pytest.importorskip("torch")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        source = Image.fromarray(image) if "PIL" in who else torch.from_numpy(np.atleast_3d(image)).permute(2, 0, 1)
        benchmark(functional.resize, source, list(size), antialias=True)
        torch.set_num_threads(threads)
    elif who == "opencv area":
        benchmark(cv2.resize, image, size[::-1], interpolation=cv2.INTER_AREA)
    elif who == "scikit-image":
        transform = pytest.importorskip("skimage.transform", reason="scikit-image is not installed")
        benchmark.pedantic(
            transform.resize, (image, size), {"anti_aliasing": True, "preserve_range": True}, rounds=1, warmup_rounds=0
        )
    else:
        _force(monkeypatch, who)
        benchmark(resize, image, size)


@pytest.mark.parametrize("shape", [(1024, 1024), (1024, 1024, 3)], ids=["grey", "RGB"])
@pytest.mark.parametrize("way", ["mmtk, one call", "one call a size"])
def test_several_sizes(benchmark, shape, way):
    benchmark.group = f"resize {'x'.join(map(str, shape))} to 28, 64, 128 and 224"
    image, sizes = _picture(shape), [(size, size) for size in (28, 64, 128, 224)]
    if way == "mmtk, one call":
        benchmark(resize_each, image, sizes)
    else:
        benchmark(lambda: [resize(image, size) for size in sizes])
