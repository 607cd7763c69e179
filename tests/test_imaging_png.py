"""PNG rows undone in C: against a slow reference for every filter and kind, against OpenCV, and against damage."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmtk.errors import ImageError
from mmtk.imaging import read_image
from tests import pictures, reference
from tests.pictures import END, chunk

native = pytest.importorskip("mmtk._native")
KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour type for a number of channels


def filtered(pixels, filters):
    """Rows of an image (h, w, c), each behind its filter's number, as an encoder writes them."""
    height, width, channels = pixels.shape
    out = bytearray()
    for y in range(height):
        out.append(filters[y])
        for x in range(width):
            for c in range(channels):
                left = int(pixels[y, x - 1, c]) if x else 0
                up = int(pixels[y - 1, x, c]) if y else 0
                corner = int(pixels[y - 1, x - 1, c]) if x and y else 0
                out.append((int(pixels[y, x, c]) - pictures.guess(filters[y], left, up, corner)) % 256)
    return bytes(out)


def luma(pixels):
    return reference.grey(pixels[..., :3]) if pixels.shape[2] > 2 else pixels[..., 0]


def png(pixels, filters, rows=None, more=b"", cuts=1):
    """A PNG file, its pixels in `cuts` IDAT chunks."""
    height, width, channels = pixels.shape
    packed = zlib.compress(filtered(pixels, filters) if rows is None else rows)
    step = -(-len(packed) // cuts)
    parts = b"".join(chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
    return pictures.png(width, height, KINDS[channels], more, parts, END)


drawn = st.tuples(
    st.integers(1, 24), st.integers(1, 24), st.integers(1, 4), st.integers(0, 9), st.sampled_from([2, 256])
)


@settings(max_examples=300)
@given(drawn, st.data())
def test_every_filter_and_kind_equals_the_reference(picture, data) -> None:
    height, width, channels, seed, levels = picture
    pixels = np.random.default_rng(seed).integers(0, levels, (height, width, channels)).astype(np.uint8)
    filters = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    grey = np.empty((height, width), np.uint8)
    native.unfilter_grey(filtered(pixels, filters), grey, channels)
    np.testing.assert_array_equal(grey, luma(pixels))


@pytest.mark.parametrize("channels", KINDS)
@pytest.mark.parametrize("filter", range(5))
def test_files_read_as_the_reference_and_opencv_read_them(tmp_path: Path, channels: int, filter: int) -> None:
    pixels = np.random.default_rng(filter).integers(0, 256, (31, 45, channels)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels, [filter] * 30 + [4], more=chunk(b"tEXt", b"Title\0x"), cuts=3))
    found = read_image(path, False)
    np.testing.assert_array_equal(found, luma(pixels))
    np.testing.assert_array_equal(found, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


def test_a_gamma_is_left_to_libpng(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(pixels, [1] * 20, more=chunk(b"gAMA", struct.pack(">I", 45455))))
    found = read_image(path, False)
    np.testing.assert_array_equal(found, cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    assert not np.array_equal(found, luma(pixels))


PIXELS = np.random.default_rng(0).integers(0, 256, (20, 20, 1)).astype(np.uint8)
ROWS = filtered(PIXELS, [4] * 20)


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (ROWS[:21] + b"\5" + ROWS[22:], "row 1 has an unknown filter"),
        (ROWS[:21] + b"\xff" + ROWS[22:], "row 1 has an unknown filter"),
        (ROWS[:-1], "419 bytes, not 420"),
        (ROWS[:100], "100 bytes, not 420"),
        (b"", "0 bytes, not 420"),
        (ROWS + b"\0", "do not decompress"),
        (ROWS * 1000, "do not decompress"),
    ],
)
def test_rows_that_are_not_those_of_the_header_are_refused(tmp_path: Path, rows: bytes, found: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(PIXELS, [], rows))
    with pytest.raises(ImageError, match=found) as caught:
        read_image(path, False)
    assert "\n" not in str(caught.value)


@settings(max_examples=200)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_of_the_packed_pixels_passes(tmp_path: Path, at: int, flip: int) -> None:
    """With the chunk's checksum made good, as by an attacker: Adler's sum over the pixels still tells."""
    whole = zlib.compress(ROWS)
    packed = bytearray(whole)
    packed[at % len(packed)] ^= flip
    path = tmp_path / "a.png"
    path.write_bytes(pictures.png(20, 20, 0, chunk(b"IDAT", bytes(packed)), END))
    try:
        found = read_image(path, False)
    except ImageError:
        return
    np.testing.assert_array_equal(found, PIXELS[..., 0])  # a flag of the stream's header that changes nothing


@pytest.mark.parametrize(
    ("raw", "dst", "channels", "error"),
    [
        (b"\0" * 20, np.zeros((4, 4), np.uint8), 2, "raw: expected a filter byte"),
        (b"\0" * 20, np.zeros((4, 4), np.int8), 1, "dst: expected uint8"),
        (b"\0" * 20, np.zeros((4, 4, 1), np.uint8), 1, "dst: expected uint8"),
        (b"\0" * 20, np.zeros((4, 4), np.uint8), 0, "channels: 1 to 4"),
        (b"\0" * 24, np.zeros((4, 4), np.uint8), 5, "channels: 1 to 4"),
        (b"", np.zeros((0, 4), np.uint8), 1, "dst: expected uint8"),
        (b"", np.zeros((4, 0), np.uint8), 1, "dst: expected uint8"),
    ],
)
def test_wrong_arguments_are_refused(raw, dst, channels, error) -> None:
    with pytest.raises(ValueError, match=error):
        native.unfilter_grey(raw, dst, channels)


def test_real_pngs_read_as_opencv_reads_them(real_data: Path) -> None:
    wanted = {"busi": "*).png", "chestxray14": "*.png"}  # masks have one bit
    for name, pattern in wanted.items():
        paths = [*(real_data / "sources" / name).rglob(pattern)]
        assert paths
        for path in paths:
            np.testing.assert_array_equal(read_image(path, False), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
