"""The JPEG round trip without a file, against the slow reference, and the reference against libjpeg itself."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtk.imaging import round_trip
from tests import reference
from tests.pictures import picture

SIDES = st.integers(1, 70)


def through_a_file(image, quality):
    colour = image.ndim == 3
    how = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    _, data = cv2.imencode(".jpg", image[..., ::-1] if colour else image, how)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
    return decoded[..., ::-1] if colour else decoded


@settings(max_examples=300)
@given(
    SIDES, SIDES, st.sampled_from([(), (3,)]), st.sampled_from(["noise", "extremes", "soft"]), st.integers(0, 999),
    st.one_of(st.just(75), st.integers(1, 100)),
)
@example(28, 28, (), "noise", 0, 75)
@example(28, 28, (3,), "noise", 0, 75)
@example(224, 224, (3,), "soft", 1, 75)
@example(1, 1, (3,), "noise", 0, 1)
@example(5, 4, (3,), "noise", 0, 100)
@example(33, 6, (3,), "extremes", 0, 1)
def test_the_round_trip_is_the_references_and_libjpegs(height, width, channels, kind, seed, quality):
    image = picture((height, width, *channels), kind, seed)
    kept = image.copy()
    found = round_trip(image, quality=quality)
    np.testing.assert_array_equal(found, reference.jpeg_round_trip(image, quality))
    np.testing.assert_array_equal(found, through_a_file(image, quality))
    np.testing.assert_array_equal(image, kept)
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, image)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_without_the_extension_opencv_gives_the_same(monkeypatch, channels):
    images = [picture((h, w, *channels), "soft", h) for h, w in ((28, 28), (17, 41), (1, 9), (64, 2))]
    expected = [round_trip(image) for image in images]
    monkeypatch.setitem(sys.modules, "mmtk._native", None)
    for image, wanted in zip(images, expected, strict=True):
        np.testing.assert_array_equal(round_trip(image), wanted)


def test_any_memory_layout_gives_the_same():
    image = picture((40, 30, 3), "soft", 0)
    expected = round_trip(image)
    read_only = image.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(image), image[::-1].copy()[::-1], read_only):
        np.testing.assert_array_equal(round_trip(same), expected)


def test_several_images_at_once_and_wrong_arguments_of_the_kernel():
    native = pytest.importorskip("mmtk._native")
    images = np.stack([picture((19, 23, 3), "noise", seed) for seed in range(5)])
    expected = np.stack([round_trip(image, quality=90) for image in images])
    native.jpeg_round_trip(images, 90)
    np.testing.assert_array_equal(images, expected)
    native.jpeg_round_trip(images[:0], 90)
    for wrong in (
        images[0, 0, 0], images[0, 0], np.zeros((2, 3, 4, 1), np.uint8), np.zeros((1, 3, 4), np.int8),
        np.zeros((1, 0, 4), np.uint8), np.zeros((1, 4, 0, 3), np.uint8), np.zeros((1, 1, 70_000), np.uint8),
    ):
        with pytest.raises(ValueError, match="images: expected"):
            native.jpeg_round_trip(wrong, 90)
    for quality in (0, 101, -1):
        with pytest.raises(ValueError, match="a quality from 1 to 100"):
            native.jpeg_round_trip(images, quality)
    with pytest.raises((BufferError, ValueError)):
        native.jpeg_round_trip(np.frombuffer(bytes(64), np.uint8).reshape(1, 8, 8), 90)
    with pytest.raises(TypeError):
        native.jpeg_round_trip(images)
