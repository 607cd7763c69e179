"""Rows picked out by the C kernel: the bits of NumPy and torch, and no row outside the images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.loader._gather import _gather_plain, gather

KINDS = (np.uint8, np.float32, np.uint16)


def both(images, rows, kind):
    """What the kernel in use and the one without a compiler write."""
    shape = (len(rows), *images.shape[1:])
    found, plain = np.full(shape, 7, kind), np.full(shape, 9, kind)
    gather(images, rows, found)
    _gather_plain(images, rows, plain)
    return found, plain


@settings(max_examples=150)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.data())
def test_rows_in_any_order_are_those_of_numpy(n, height, width, channels, data) -> None:
    images = np.random.default_rng(n).integers(0, 256, (n, height, width, channels)).astype(np.uint8)
    rows = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=30)), np.int64)
    for kind in KINDS:
        found, plain = both(images, rows, kind)
        np.testing.assert_array_equal(found, plain)
        if kind == np.uint8:
            np.testing.assert_array_equal(found, images[rows])


def test_every_value_is_normalised_as_torch_does_it() -> None:
    torch = pytest.importorskip("torch")
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=0)
    wanted = (torch.from_numpy(images).to(torch.float32) / 255 - 0.5) / 0.5
    rows = np.array([2, 0], np.int64)
    exact, _ = both(images, rows, np.float32)
    assert exact.tobytes() == wanted[[2, 0]].numpy().tobytes()
    halves, _ = both(images, rows, np.uint16)
    assert torch.equal(torch.from_numpy(halves).view(torch.bfloat16), wanted[[2, 0]].to(torch.bfloat16))


IMAGES = np.zeros((5, 4, 3), np.uint8)
ROWS = np.array([0, 4], np.int64)
OUT = np.zeros((2, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "rows", "out", "error", "said"),
    [
        (IMAGES, ROWS + 1, OUT, IndexError, r"rows\[1\]: expected 0 to 4"),
        (IMAGES, ROWS - 1, OUT, IndexError, r"rows\[0\]: expected 0 to 4"),
        (IMAGES, ROWS[:1], OUT, ValueError, "an int64 for each row"),
        (IMAGES, ROWS.astype(np.int32), OUT, ValueError, "an int64 for each row"),
        (IMAGES, ROWS.reshape(1, 2), OUT, ValueError, "an int64 for each row"),
        (IMAGES.astype(np.int8), ROWS, OUT, ValueError, "expected uint8"),
        (IMAGES, ROWS, OUT.astype(np.float64), ValueError, "expected uint8"),
        (IMAGES, ROWS, np.zeros((2, 4, 4), np.uint8), ValueError, "as many"),
        (IMAGES[:0], ROWS, OUT, IndexError, r"expected 0 to -1"),
        (IMAGES[:, ::2], ROWS, OUT[:, ::2].copy(), (ValueError, BufferError), "contiguous"),
        (IMAGES, ROWS, np.zeros((2, 4, 6), np.uint8)[..., ::2], (ValueError, BufferError), "contiguous"),
    ],
)
def test_wrong_arguments_are_refused(images, rows, out, error, said) -> None:
    native = pytest.importorskip("mmtk._native")
    with pytest.raises(error, match=said):
        native.gather(images, rows, out)
    assert not out.any()


@pytest.mark.parametrize("pick", [gather, _gather_plain])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_outside_and_memory_that_overlaps_are_refused_with_and_without_a_compiler(pick, kind) -> None:
    for rows, wrong in ((ROWS + 1, 1), (ROWS - 1, 0)):
        with pytest.raises(IndexError, match=rf"rows\[{wrong}\]: expected 0 to 4"):
            pick(IMAGES, rows, OUT.astype(kind))
    memory = np.zeros(4096, np.uint8)
    images, rows = memory[:60].reshape(5, 4, 3), memory[64:80].view(np.int64)
    for start in (56, 64):
        out = memory[start : start + 24 * np.dtype(kind).itemsize].view(kind).reshape(2, 4, 3)
        with pytest.raises(ValueError, match="a memory of its own"):
            pick(images, rows, out)
