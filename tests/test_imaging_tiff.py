"""TIFF strips unpacked in C or Numba: against what was packed, against OpenCV, and against damage."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtk.errors import ImageError
from mmtk.imaging import _numba_kernels, read_image

PLAIN, PACKBITS = 1, 32773


def packed(data: bytes, draw) -> bytes:
    """PackBits as any encoder may write it: runs and literals of drawn lengths, with no-ops between them."""
    out, at = bytearray(), 0
    while at < len(data):
        most = min(128, len(data) - at)
        run = 1
        while run < most and data[at + run] == data[at]:
            run += 1
        if draw(2) == 0:
            out.append(128)
        if run > 1 and draw(4):
            out += bytes([257 - run, data[at]])
            at += run
        else:
            count = 1 + draw(most)
            out += bytes([count - 1]) + data[at : at + count]
            at += count
    return bytes(out)


def slow_unpack(content: bytes) -> bytes | None:
    """PackBits as the specification words it; None where it ends inside a run."""
    out, rest = bytearray(), list(content)
    while rest:
        n = rest.pop(0)
        n = n - 256 if n > 127 else n
        if n == -128:
            continue
        taken = rest[: n + 1] if n >= 0 else rest[:1]
        if len(taken) < (n + 1 if n >= 0 else 1):
            return None
        del rest[: len(taken)]
        out += bytes(taken) * (1 if n >= 0 else 1 - n)
    return bytes(out)


def tiff(pixels, rows, packing=PLAIN, order="<", strips=None, more=(), draw=lambda n: n - 1):
    """A TIFF file of strips of `rows` rows; `more` are further tags with one short each."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if strips is None:
        strips = [pixels[y : y + rows].tobytes() for y in range(0, height, rows)]
        strips = [packed(strip, draw) if packing == PACKBITS else strip for strip in strips]
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    body = b"".join(strips)
    tags = [
        (256, 3, [width]), (257, 4, [height]), (258, 3, [8] * channels), (259, 3, [packing]),
        (262, 3, [1 if channels == 1 else 2]), (273, 4, offsets), (277, 3, [channels]), (278, 3, [rows]),
        (279, 4, list(map(len, strips))), *((tag, 3, [value]) for tag, value in more),
    ]
    entries, extra = b"", b""
    extra_at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, kind, values in sorted(tags):
        data = struct.pack(f"{order}{len(values)}{'HI'[kind - 3]}", *values)
        if len(data) > 4:
            data, extra = struct.pack(order + "I", extra_at + len(extra)), extra + data
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4) + extra
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body)) + body + directory


def picture(height, width, channels, seed=0):
    """Flat patches and noise, so that there are runs and literals."""
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels == 1 else (height, width, 3)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    return np.where(rng.random(shape) < 0.7, np.uint8(seed % 256), noise)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(16, 60), st.integers(16, 60), st.sampled_from([1, 3]), st.integers(1, 70),
    st.sampled_from([PLAIN, PACKBITS]), st.sampled_from("<>"), st.integers(0, 999),
)
def test_what_was_packed_comes_back_and_opencv_agrees(tmp_path_factory, h, w, channels, rows, packing, order, seed):
    pixels = picture(h, w, channels, seed)
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    path.write_bytes(tiff(pixels, min(rows, h), packing, order, draw=lambda n: int(rng.integers(n))))
    np.testing.assert_array_equal(read_image(path, channels == 3), pixels)
    theirs = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(theirs, pixels if channels == 3 else np.dstack([pixels] * 3))
    flag = cv2.IMREAD_GRAYSCALE if channels == 3 else cv2.IMREAD_COLOR
    converted = cv2.imread(str(path), flag)
    np.testing.assert_array_equal(read_image(path, channels == 1), converted)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(1, 400))
@example(b"\1ab\xfec", 5)
@example(b"\1ab\xfec", 4)
@example(b"\1ab\xfe", 2)
def test_any_bytes_unpack_as_the_specification_says(content, room):
    native = pytest.importorskip("mmtk._native")
    whole = slow_unpack(content)
    span = np.array([[0, len(content)]])
    for kernel, data in (
        (native.unpack_strips, content), (_numba_kernels.unpack_strips, np.frombuffer(content, np.uint8)),
    ):
        target = np.full(room + 8, 7, np.uint8)
        found = -1 if whole is None else len(whole)
        assert kernel(data, span, room, target[:room]) == ((1, 0) if found == room else (0, found))
        assert (target[room:] == 7).all()
        if whole is not None and len(whole) <= room:
            assert target[: len(whole)].tobytes() == whole


@pytest.mark.parametrize(
    ("spans", "step", "room"),
    [
        ([[0, 5]], 4, 4), ([[-1, 2]], 4, 4), ([[0, -1]], 4, 4), ([[5, 0]], 4, 4), ([[2**62, 2**62]], 4, 4),
        ([[0, 1], [1, 1]], 4, 4), ([[0, 4]], 0, 4), ([[0, 4]], -4, 4), ([[0, 4]], 4, 0), ([], 4, 4),
    ],
)
def test_spans_outside_their_buffers_are_refused(spans, step, room):
    native = pytest.importorskip("mmtk._native")
    table = np.array(spans, np.int64).reshape(-1, 2)
    with pytest.raises(ValueError, match="spans: expected"):
        native.unpack_strips(b"\3abc", table, step, np.empty(room, np.uint8))


def test_what_needs_libtiff_is_left_to_opencv(tmp_path):
    pixels = picture(20, 30, 1)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(pixels, 20, more=[(266, 2)]))  # bits of each byte from the lowest on
    turned = np.packbits(np.unpackbits(pixels[..., None], axis=2), axis=2, bitorder="little")[..., 0]
    np.testing.assert_array_equal(read_image(path, False), turned)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda strips: strips[:-1], "1 strips for 20 rows"),
        (lambda strips: [strips[0], strips[1] + b"\0\1"], "a strip of 301 bytes where 300 belong"),
        (lambda strips: [strips[0], b"\x81\1" * 2], "a strip of 256 bytes where 300 belong"),
        (lambda strips: [strips[0], strips[1] + b"\5"], "a strip that ends inside a run"),
        (lambda strips: [strips[0], b""], "a strip of 0 bytes where 300 belong"),
    ],
)
def test_damaged_strips_are_refused(tmp_path, monkeypatch, change, match):
    pixels = picture(20, 30, 1)
    path = tmp_path / "a.tif"
    strips = [packed(pixels[y : y + 10].tobytes(), lambda n: n - 1) for y in (0, 10)]
    path.write_bytes(tiff(pixels, 10, PACKBITS, strips=change(strips)))
    with pytest.raises(ImageError, match=match):
        read_image(path, False)
    monkeypatch.setitem(__import__("sys").modules, "mmtk._native", None)
    with pytest.raises(ImageError, match=match):
        read_image(path, False)


def test_a_strip_outside_the_file_is_refused(tmp_path):
    pixels = picture(20, 30, 1)
    data = bytearray(tiff(pixels, 20))
    at = data.index(struct.pack("<HHI", 279, 4, 1)) + 8
    data[at : at + 4] = struct.pack("<I", len(data))
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="a file cut off after"):
        read_image(path, False)


def test_the_real_tiles_are_what_opencv_reads(real_data):
    files = sorted((real_data / "sources" / "nct-crc").rglob("*.tif"))
    assert files
    for path in files:
        np.testing.assert_array_equal(read_image(path, True), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
