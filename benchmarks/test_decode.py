"""Decode: ours, with every check, beside peers that forgive, one thread each, grouped by file.

Real files where they are, else soft blots with a little noise, which compress about as X-rays do.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mmtk.imaging import probe, read_image

# what it is, where it lies among the real files, whether it is read in colour
KINDS = {
    "png grey 1024": ("chestxray14/images/*.png", False),
    "png rgb to grey": ("busi/Dataset_BUSI_with_GT/*/benign (?).png", False),
    "jpeg grey": ("kermany-cxr/chest_xray/*/*/*.jpeg", False),
    "jpeg rgb 600x450": ("ham10000/HAM10000_images_part_1/*.jpg", True),
    "tiff rgb 224": ("nct-crc/*/*/*.tif", True),
}


@pytest.fixture(scope="module")
def files(request, tmp_path_factory) -> dict[str, Path]:
    try:
        sources = request.getfixturevalue("real_data") / "sources"
        return {kind: sorted(sources.glob(pattern))[0] for kind, (pattern, _) in KINDS.items()}
    except pytest.skip.Exception:
        folder = tmp_path_factory.mktemp("decode")
        return {kind: _synthetic(folder, kind, colour) for kind, (_, colour) in KINDS.items()}


def _synthetic(folder: Path, kind: str, colour: bool) -> Path:
    rng = np.random.default_rng(0)
    shape = (224, 224, 3) if "224" in kind else (450, 600, 3) if "rgb" in kind else (1024, 1024)
    coarse = rng.integers(0, 256, (shape[0] // 50 + 1, shape[1] // 50 + 1, *shape[2:]), dtype=np.uint8)
    soft = cv2.resize(coarse, shape[1::-1], interpolation=cv2.INTER_CUBIC)
    path = folder / f"{kind}.{kind[:4].strip()}"
    pixels = soft + rng.integers(0, 4, shape, dtype=np.uint8) // 2
    if path.suffix == ".tiff":
        Image.fromarray(pixels).save(path, compression="packbits")
    else:
        cv2.imwrite(str(path), pixels)
    return path


def _imagecodecs(data: bytes) -> np.ndarray:
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    return {b"\x89P": codecs.png_decode, b"\xff\xd8": codecs.jpeg8_decode}[data[:2]](data)


def _decoder(who: str, path: Path, colour: bool) -> Callable[[], Any]:
    if who == "opencv":
        return lambda: cv2.imread(str(path), cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    if who == "pillow":
        return lambda: np.asarray(Image.open(path).convert("RGB" if colour else "L"))
    if who == "simplejpeg":
        simplejpeg = pytest.importorskip("simplejpeg")
        return lambda: simplejpeg.decode_jpeg(path.read_bytes(), "RGB" if colour else "GRAY")
    if who == "imagecodecs":
        return lambda: _imagecodecs(path.read_bytes())
    if who == "mmtk header only":
        return lambda: probe(path)
    return lambda: read_image(path, colour)


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("who", ["mmtk", "opencv", "pillow", "imagecodecs", "simplejpeg", "mmtk header only"])
def test_decode(benchmark, files, kind, who):
    benchmark.group = "decode " + kind
    path, colour = files[kind], KINDS[kind][1]
    start = BytesIO(path.read_bytes()).read(2)
    if (who == "simplejpeg" and start != b"\xff\xd8") or (who == "imagecodecs" and "tiff" in kind):
        pytest.skip(f"{who} does not read {kind}")
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    benchmark(_decoder(who, path, colour))
    cv2.setNumThreads(threads)
