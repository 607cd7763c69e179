"""The table of `make bench-gpu` counts what it says it counts."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from benchmarks import gpu  # noqa: E402


def test_operations_of_a_step_are_three_times_those_of_the_layers():
    """A forward pass of this ResNet-18 at 28 px is 0.457 billion multiplications, by hand: the sum over its layers."""
    edges, widths = (28, 14, 7, 4), (64, 128, 256, 512)
    first = 28**2 * 9 * 64
    forward = first + 4 * 28**2 * 9 * 64 * 64 + 512 * 2
    for edge, width in zip(edges[1:], widths[1:], strict=True):
        forward += edge**2 * width * (9 * width // 2 + 3 * 9 * width + width // 2)  # and the shortcut of 1x1
    # backward costs twice as much, but the image itself needs no gradient
    assert gpu.flops_an_image(28) == 2 * (3 * forward - first)


def test_one_batch_comes_as_often_as_an_epoch_has_batches(tmp_path):
    opened = gpu.noise(tmp_path, 28, 300)
    batches = gpu.OneBatch(opened.train, gpu.BATCH)
    images = [images for images, _ in batches]
    assert len(images) == len(batches) == 3
    assert all(one is images[0] for one in images)


def test_a_share_is_of_what_the_chip_can_do():
    chip = gpu.Chip("some", "cuda", 100.0, 200.0)
    told = "   50 TFLOP/s, 50.0% of a matrix product's 100"
    assert gpu.shares(50e12, chip) == f"{told}, 25.0% of the maker's 200"
    assert gpu.shares(50e12, gpu.Chip("some", "cpu", 100.0, None)) == told
