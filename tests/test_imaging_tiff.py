"""TIFF strips unpacked in C or Numba: against what was packed, against OpenCV, and against damage."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmtk.errors import ImageError
from mmtk.imaging import Header, _numba_kernels, probe, probe_page, probe_values, read_image, read_values
from tests import pictures

PLAIN, PACKBITS = 1, 32773
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 9: "i"}


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


def tiff(pixels, rows, packing=PLAIN, order="<", strips=None, more=(), draw=lambda n: n - 1, change=None):
    """A TIFF file of strips of `rows` rows; `more` are further tags with one short each.

    `change` gives the type and the values of other tags, or None for one that is to be left out.
    """
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if strips is None:
        strips = [pixels[y : y + rows].tobytes() for y in range(0, height, rows)]
        strips = [packed(strip, draw) if packing == PACKBITS else strip for strip in strips]
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    body = b"".join(strips)
    tags = [
        (256, 3, [width]), (257, 4, [height]), (258, 3, [8] * channels), (259, 3, [packing]),
        (262, 3, [2 if channels == 3 else 1]), (273, 4, offsets), (277, 3, [channels]), (278, 3, [rows]),
        (279, 4, list(map(len, strips))), *((tag, 3, [value]) for tag, value in more),
    ]
    changed = change or {}
    tags = [tag for tag in tags if tag[0] not in changed]
    tags += [(tag, *facts) for tag, facts in changed.items() if facts is not None]
    entries, extra = b"", b""
    extra_at = 8 + len(body) + 2 + 12 * len(tags) + 4
    for tag, kind, values in sorted(tags):
        data = struct.pack(f"{order}{len(values)}{TYPES[kind]}", *values)
        if len(data) > 4:
            data, extra = struct.pack(order + "I", extra_at + len(extra)), extra + data
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + data.ljust(4, b"\0")
    directory = struct.pack(order + "H", len(tags)) + entries + bytes(4) + extra
    return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body)) + body + directory


def picture(height, width, channels, seed=0):
    """Flat patches and noise, so that there are runs and literals."""
    return pictures.picture((height, width) if channels == 1 else (height, width, 3), "patches", seed)


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


GREY, RGB = picture(20, 30, 1), picture(20, 30, 3, seed=5)
MIRRORED = np.packbits(np.unpackbits(GREY[..., None], axis=2), axis=2, bitorder="little")[..., 0]


def pages():
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "TIFF", save_all=True, append_images=[Image.fromarray(~GREY)])
    return stream.getvalue()


READ = {  # what OpenCV and Pillow read, and no other; see mmtk/imaging/READINGS.md
    "0 is white": (tiff(GREY, 20, change={262: (3, [0])}), ~GREY),
    "bits from the lowest on": (tiff(MIRRORED, 20, change={266: (3, [2])}), GREY),
    "packed bits from the lowest on": (
        tiff(GREY, 20, PACKBITS, change={266: (3, [2])}, strips=[np.packbits(
            np.unpackbits(np.frombuffer(packed(GREY.tobytes(), lambda n: n - 1), np.uint8)[:, None], axis=1), axis=1,
            bitorder="little",
        ).tobytes()]), GREY,
    ),
    "more rows in a strip than there are": (tiff(GREY, 20, change={278: (4, [1000])}), GREY),
    "all rows in a strip": (tiff(GREY, 20, change={278: (4, [2**32 - 1])}), GREY),
    "no rows": (tiff(GREY, 20, change={278: None}), GREY),
    "one strip without its length": (tiff(GREY, 20, change={279: None}), GREY),
    "RGB without the length of its strip": (tiff(RGB, 20, change={279: None}), RGB),
    "a place of 16 bits": (tiff(GREY, 20, change={273: (3, [8])}), GREY),
    "grey in planes": (tiff(GREY, 20, change={284: (3, [2])}), GREY),
    "orientation 0": (tiff(GREY, 20, change={274: (3, [0])}), GREY),
    "orientation 9": (tiff(GREY, 20, change={274: (3, [9])}), GREY),
    "orientation 1 as LONG": (tiff(GREY, 20, change={274: (4, [1])}), GREY),
    "bits given once": (tiff(RGB, 20, change={258: (3, [8])}), RGB),
    "whole numbers given once": (tiff(RGB, 20, change={339: (3, [1])}), RGB),
    "a colour profile": (tiff(GREY, 20, change={34675: (1, [0] * 200)}), GREY),
    "a smaller copy": (tiff(GREY, 20, change={254: (4, [1])}), GREY),
    "least and largest sample": (tiff(GREY, 20, change={280: (3, [50]), 281: (3, [100])}), GREY),
    "two pages": (pages(), GREY),
}


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("second", ["same", "smaller", "a small copy", "a mask", "larger"])
def test_a_second_page_of_own_data_may_be_a_small_copy_alone(tmp_path: Path, second: str, colour: bool) -> None:
    def at(height: int, width: int) -> Image.Image:
        return Image.fromarray(picture(height, width, 3 if colour else 1, seed=height))

    size = {"smaller": (18, 20), "larger": (40, 30)}.get(second, (20, 30))
    kind = {"a small copy": 1, "a mask": 4}.get(second, 0)
    path = tmp_path / "a.tif"
    at(20, 30).save(path, save_all=True, append_images=[at(*size)])
    data = bytearray(path.read_bytes())
    if kind:  # a type for the second directory, in the place of a tag that does not matter
        start = struct.unpack("<I", data[4:8])[0]
        start = struct.unpack_from("<I", data, start + 2 + 12 * struct.unpack_from("<H", data, start)[0])[0]
        struct.pack_into("<HHII", data, start + 2, 254, 4, 1, kind)
        path.write_bytes(data)
    assert probe(path) == Header("tiff", 20, 30, 3 if colour else 1)  # as in the official sets
    looks = [probe_page] if colour else [probe_page, probe_values, read_values]
    for look in looks:
        if second in ("same", "larger"):
            with pytest.raises(ImageError, match="a TIFF with several pages; save the page"):
                look(path)
        else:
            look(path)


REFUSED = {
    "no photometric": (tiff(GREY, 20, change={262: None}), "found no photometric interpretation,"),
    "palette": (tiff(GREY, 20, change={262: (3, [3])}), r"found photometric 3 \(a palette\),"),
    "YCbCr": (tiff(RGB, 20, change={262: (3, [6])}), r"photometric 6 \(YCbCr\)"),
    "CIELab": (tiff(RGB, 20, change={262: (3, [8])}), r"photometric 8 \(CIELab\)"),
    "grey as RGB": (tiff(GREY, 20, change={262: (3, [2])}), "photometric 2,"),
    "RGB as grey": (tiff(RGB, 20, change={262: (3, [1])}), "photometric 1,"),
    "alpha": (tiff(np.dstack([RGB, GREY]), 20, change={262: (3, [2]), 338: (3, [2])}), "found 4 channels,"),
    "grey and alpha": (tiff(np.dstack([GREY, GREY]), 20), "found 2 channels,"),
    "extra of three": (tiff(RGB, 20, change={338: (3, [0])}), "an extra channel"),
    "extra of one": (tiff(GREY, 20, change={338: (3, [0])}), "an extra channel"),
    "rows 0": (tiff(GREY, 20, change={278: (4, [0])}), "strips without rows"),
    "two strips and no rows": (tiff(GREY, 10, change={278: None}), "2 strips do not cover 20 rows"),
    "two strips without lengths": (tiff(GREY, 10, change={279: None}), "no strips"),
    "packed without a length": (tiff(GREY, 20, PACKBITS, change={279: None}), "no strips"),
    "length 0": (tiff(GREY, 20, change={279: (4, [0])}), "has 0 bytes, not 600"),
    "short": (tiff(GREY, 20, change={279: (4, [590])}), "has 590 bytes, not 600"),
    "long": (tiff(GREY, 20, change={279: (4, [610])}), "has 610 bytes, not 600"),
    "bits in no order": (tiff(GREY, 20, change={266: (3, [3])}), "an unknown fill order"),
    "signed": (tiff(GREY, 20, change={339: (3, [2])}), "signed samples"),
    "floating": (tiff(GREY, 20, change={339: (3, [3])}), "floating samples"),
    "undefined": (tiff(GREY, 20, change={339: (3, [4])}), "undefined samples"),
    "one channel signed": (tiff(RGB, 20, change={339: (3, [1, 1, 2])}), "signed samples"),
    "predictor": (tiff(GREY, 20, change={317: (3, [2])}), "a predictor without a compression"),
    "packed predictor": (tiff(GREY, 20, PACKBITS, change={317: (3, [2])}), "a predictor without a compression"),
    "one channel of 16 bits": (tiff(RGB, 20, change={258: (3, [8, 8, 16])}), "16 bits"),
    "no bits": (tiff(GREY, 20, change={258: None}), "1 bits"),
    "no channels": (tiff(RGB, 20, change={277: None}), "photometric 2,"),
    "orientation 3": (tiff(GREY, 20, change={274: (3, [3])}), "found orientation 3,"),
    "orientation 6 as BYTE": (tiff(GREY, 20, change={274: (1, [6])}), "found orientation 6,"),
    "orientation 3 as SBYTE": (tiff(GREY, 20, change={274: (6, [3])}), "found an orientation of an invalid type,"),
    "planes": (tiff(RGB, 20, change={284: (3, [2])}), "found planar channels,"),
    "planes 0": (tiff(RGB, 20, change={284: (3, [0])}), "found planar channels,"),
    "tiles": (tiff(GREY, 20, change={322: (3, [32]), 323: (3, [32])}), "found tiles,"),
    "LZW": (tiff(GREY, 20, change={259: (3, [5])}), r"found compression 5 \(LZW\),"),
    "JPEG": (tiff(RGB, 20, change={259: (3, [7])}), r"found compression 7 \(JPEG\),"),
    "width of an odd type": (tiff(GREY, 20, change={256: (9, [30])}), "no valid width and height"),
    "depth": (tiff(GREY, 20, change={32997: (4, [2])}), "an image depth above 1"),
    "a tag twice": (tiff(GREY, 20, more=[(256, 30)]), "tag 256 occurs twice"),
}


@pytest.mark.parametrize("name", READ)
def test_what_others_read_alike_is_read_like_that(tmp_path, name):
    data, pixels = READ[name]
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    colour = pixels.ndim == 3
    np.testing.assert_array_equal(read_image(path, colour), pixels)
    np.testing.assert_array_equal(read_image(path, True), pixels if colour else np.dstack([pixels] * 3))
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image), pixels)
    theirs = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(theirs if colour else theirs[..., 0], pixels)


@pytest.mark.parametrize("name", REFUSED)
def test_what_others_read_differently_is_refused_with_the_reason(tmp_path, name):
    data, reason = REFUSED[name]
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    for colour in (False, True):
        with pytest.raises(ImageError, match=reason):
            read_image(path, colour)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda strips: strips[:-1], "1 strips do not cover 20 rows"),
        (lambda strips: [strips[0], strips[1] + b"\0\1"], "has 301 bytes, not 300"),
        (lambda strips: [strips[0], b"\x81\1" * 2], "has 256 bytes, not 300"),
        (lambda strips: [strips[0], strips[1] + b"\5"], "strip 1 ends inside a run"),
        (lambda strips: [strips[0], b""], "has 0 bytes, not 300"),
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
    with pytest.raises(ImageError, match="cut off after"):
        read_image(path, False)


def test_the_real_tiles_are_what_opencv_reads(real_data):
    files = sorted((real_data / "sources" / "nct-crc").rglob("*.tif"))
    assert files
    for path in files:
        np.testing.assert_array_equal(read_image(path, True), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])
