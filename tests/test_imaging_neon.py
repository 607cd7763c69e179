"""The NEON path, cross-compiled and run by an emulator of 64-bit Arm, gives the pixels of the slow reference.

It needs no Python for that machine: ``tests/neon/resize.c`` reads cases and writes pixels.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtk.imaging import FILTERS
from mmtk.imaging._resizer import coefficients
from tests import pictures, reference

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
ROOT = Path(__file__).resolve().parents[1]
SIDES = st.one_of(st.integers(1, 8), st.integers(1, 80), st.integers(1, 400))
NOISE, EXTREMES = ("noise", 0), ("extremes", 1)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    for tool, package in ((COMPILER, "gcc-aarch64-linux-gnu"), (EMULATOR, "qemu-user")):
        if not shutil.which(tool):
            pytest.skip(f"no {tool} on this machine (Debian: {package}), so NEON cannot be tested")
    built = tmp_path_factory.mktemp("neon") / "resize"
    sources = [ROOT / "tests/neon/resize.c"]
    sources += [ROOT / f"src_ext/resize_{part}.c" for part in ("plain", "bands", "neon")]
    wrapped = [f"-Wl,--wrap={name}" for name in ("malloc", "calloc", "aligned_alloc", "free")]
    subprocess.run(
        [COMPILER, "-O3", "-std=c11", "-Wall", "-Wextra", "-Werror", "-static", "-fsanitize=undefined",
         "-fsanitize-undefined-trap-on-error", *wrapped, f"-I{ROOT / 'src_ext'}", *sources, "-o", built], check=True,
    )
    return built


def run(program, path, cases):
    """The pixels that the path makes of each (image, size, filter)."""
    data, shapes = [], []
    for image, size, filter in cases:
        (height, width), channels = image.shape[:2], image.shape[2] if image.ndim == 3 else 1
        passes = [coefficients(n, m, filter) if n != m else () for n, m in ((width, size[1]), (height, size[0]))]
        taps = [tables[1].shape[1] if tables else 0 for tables in passes]
        stride = image.strides[0] if height > 1 else width * channels
        data.append(np.array([channels, height, width, stride, *size, *taps], np.int32).tobytes())
        data += [table.tobytes() for tables in passes for table in tables]
        whole = image.base if image.base is not None else image
        start = image.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        data.append(whole.tobytes()[start : start + (height - 1) * stride + width * channels])
        shapes.append((*size, *image.shape[2:]))
    done = subprocess.run([EMULATOR, program, path], input=b"".join(data), stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0
    pixels, results = np.frombuffer(done.stdout, np.uint8), []
    for shape in shapes:
        results.append(pixels[: np.prod(shape)].reshape(shape))
        pixels = pixels[np.prod(shape) :]
    assert not pixels.size
    return results


@st.composite
def drawn(draw):
    shape = draw(st.tuples(SIDES, SIDES))
    channels = draw(st.sampled_from([(), (3,)]))
    content = draw(st.sampled_from(["noise", "extremes", "white"])), draw(st.integers(0, 1000))
    image = pictures.picture((*shape, *channels), *content)
    if draw(st.booleans()):  # a part of it, as it lies
        top, left = (draw(st.integers(0, n - 1)) for n in shape)
        image = image[top:, left:]
    return image, draw(st.tuples(SIDES, SIDES)), draw(st.sampled_from(FILTERS[1:]))


def named(shape, size, filter, content=NOISE):
    return pictures.picture(shape, *content), size, filter


NARROW = [  # rows that end anywhere in a vector, with a horizontal pass and without
    named((9, start or width, *channels), (5, width), "bilinear")
    for width in range(1, 36) for start in (0, 40) for channels in ((), (3,))
]


@pytest.mark.parametrize("path", ["neon", "plain"])
@settings(max_examples=30)
@given(st.lists(drawn(), min_size=1, max_size=8))
@example([named((1024, 1024), (224, 224), "bilinear"), named((1024, 1000, 3), (28, 28), "bilinear")])
@example([named((28, 28), (224, 224), "bilinear"), named((28, 28, 3), (224, 224), "bicubic", EXTREMES)])
@example([named((450, 600, 3), (450, 224), "box"), named((450, 600, 3), (64, 600), "lanczos", EXTREMES)])
@example([named((1, 3000), (3000, 1), "lanczos", EXTREMES), named((3000, 1, 3), (1, 300), "box", EXTREMES)])
@example([named((40, 15), (7, 15), "bilinear"), named((40, 5, 3), (90, 5), "bicubic"), named((4, 4), (4, 4), "box")])
@example(NARROW)
def test_neon_equals_the_reference(program, path, cases):
    for (image, size, filter), pixels in zip(cases, run(program, path, cases), strict=True):
        np.testing.assert_array_equal(pixels, reference.resize(image, size, filter), f"{image.shape} {size} {filter}")
