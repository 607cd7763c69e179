"""CT windowing, against the reference to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmtk.errors import ArgumentError
from mmtk.imaging import hu_window
from tests import reference
from tests.commands import run_python

ALL_INT16 = np.arange(-(2**15), 2**15, dtype=np.int16)
WINDOWS = st.tuples(st.floats(-3000, 3000), st.floats(1e-3, 8000))


@pytest.mark.parametrize(("level", "width"), [(50, 400), (40, 400), (-600, 1500), (0, 1), (0.25, 2.5), (40, 65536)])
def test_every_int16_value(level, width):
    got = hu_window(ALL_INT16, level, width)
    np.testing.assert_array_equal(got, reference.hu_window(ALL_INT16, level, width))
    np.testing.assert_array_equal(hu_window(ALL_INT16.astype(np.float32), level, width), got)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
                  elements=st.floats(width=32, allow_nan=False)), WINDOWS)
def test_any_float32_volume_and_window(volume, window):
    got = hu_window(volume, *window)
    assert got.dtype == np.uint8
    assert got.shape == volume.shape
    np.testing.assert_array_equal(got, reference.hu_window(volume, *window))


def test_the_default_is_the_soft_tissue_window():
    hu = np.array([-3000, -150, -149, 50, 249, 250, 3000], np.int16)
    assert hu_window(hu).tolist() == [0, 0, 1, 128, 254, 255, 255]
    assert hu_window(np.array([-np.inf, np.inf], np.float32)).tolist() == [0, 255]


def test_rounded_down_it_is_the_window_of_organmnist():
    expected = 17 * (np.clip(ALL_INT16.astype(int), -200, 250) + 200) // 30
    for units in (ALL_INT16, ALL_INT16.astype(np.float32)):
        np.testing.assert_array_equal(hu_window(units, 25, 450, "down"), expected)


@pytest.mark.parametrize("window", [(0, 1), (40, 400), (25, 450), (-600, 1500), (50, 7)])
def test_rounded_down_every_whole_window_is_exact(window):
    level, width = window
    twice = 2 * ALL_INT16.astype(int) - 2 * level + width  # of the distance from the lower end
    expected = np.clip(twice, 0, 2 * width) * 255 // (2 * width)
    np.testing.assert_array_equal(hu_window(ALL_INT16, level, width, "down"), expected)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_the_result_lies_in_memory_as_the_volume_does(order):
    volume = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    turned = volume.transpose(order)
    found = hu_window(turned)
    np.testing.assert_array_equal(found, hu_window(volume).transpose(order))
    assert np.argsort(found.strides).tolist() == np.argsort(turned.strides).tolist()
    backwards = turned[::-1, ::2, ::-1]
    np.testing.assert_array_equal(hu_window(backwards), hu_window(volume).transpose(order)[::-1, ::2, ::-1])


def test_any_layout_and_byte_order():
    volume = np.random.default_rng(0).integers(-1000, 1000, (6, 7, 8)).astype(np.int16)
    expected = hu_window(volume)
    frozen = volume.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(volume), volume.astype(">i2"), frozen, volume[::-1].copy()[::-1]):
        np.testing.assert_array_equal(hu_window(same), expected)
    np.testing.assert_array_equal(hu_window(volume[::2, 1:, ::-1]), expected[::2, 1:, ::-1])


@pytest.mark.parametrize("window", [(1e308, 400), (-1.7e308, 1.7e308), (0, 1e-308), (0, 1e308)])
@pytest.mark.parametrize("rounding", ["nearest", "down"])
def test_the_widest_windows_overflow_in_silence(window, rounding):
    got = hu_window(ALL_INT16, *window, rounding)
    np.testing.assert_array_equal(got, hu_window(ALL_INT16.astype(np.float32), *window, rounding))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 70_000), (70_000, 3), (65_536,), (65_537,), (3, 5, 5000)])
def test_more_than_a_block_and_nothing(shape):
    volume = np.random.default_rng(0).integers(-1000, 1000, shape, np.int16)
    expected = reference.hu_window(volume, 50, 400)
    np.testing.assert_array_equal(hu_window(volume), expected)
    np.testing.assert_array_equal(hu_window(volume.T), expected.T)


def test_whole_units_do_without_the_compiler():
    code = "import sys, numpy, mmtk; mmtk.imaging.hu_window(numpy.zeros(9, 'i2')); sys.exit('numba' in sys.modules)"
    run_python("-c", code, code=0)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((ALL_INT16.astype(np.int32),), "volume: found int32"),
        ((ALL_INT16.astype(np.float64),), "found float64"),
        ((ALL_INT16.astype(np.uint16),), "found uint16"),
        ((np.array([1, np.nan], np.float32),), "volume: contains NaN; replace NaN"),
        ((ALL_INT16, 50, 0), "a width above 0"),
        ((ALL_INT16, 50, -1), "a width above 0"),
        ((ALL_INT16, np.nan, 400), "a finite level"),
        ((ALL_INT16, 50, np.inf), "a finite level"),
        ((ALL_INT16, 50, 400, "up"), "nearest or down"),
    ],
)
def test_bad_volumes_and_windows_are_refused(arguments, match):
    with pytest.raises(ArgumentError, match=match):
        hu_window(*arguments)
